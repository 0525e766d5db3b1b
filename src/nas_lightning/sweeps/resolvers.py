"""Interpolations that the configuration uses."""

import hashlib
import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas_lightning.config.aliases import identity
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.layout import log_name


def member_folder(_: str = "", *, _root_: DictConfig) -> str:
    """Folder of a sweep's member: a slug and a hash of its resolved configuration, so that it is found again."""
    config = as_dict(_root_)
    return member_name(config)


def member_name(config: dict[str, Any]) -> str:
    """`<method>-<space>-<data>-<seed>-<hash>`, only `[A-Za-z0-9_.-]`."""
    data = str(config["data"]["_target_"]).rsplit(".", 1)[-1].lower()
    words = (config["method"], config["space"].get("name", "space"), data, f"seed{config['seed']}")
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(map(str, words)))
    # Whether finished members are skipped, how many there are, and how runs are labelled, makes no other member.
    told = {key: value for key, value in config.items() if key not in ("skip_finished", "tags", "sweep_limit")}
    text = json.dumps(identity(told), sort_keys=True)
    return f"{slug}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def register_resolvers() -> None:
    """Make the interpolations known; repeating it does no harm."""
    OmegaConf.register_new_resolver("member_folder", member_folder, replace=True)
    OmegaConf.register_new_resolver("log_name", lambda _="": log_name(), replace=True)
