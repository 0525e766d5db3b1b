"""Resolvers of the interpolations in the configuration."""

import hashlib
import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas_lightning.config.aliases import identity
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.layout import log_name


def member_folder(_: str = "", *, _root_: DictConfig) -> str:
    """Return the folder of a sweep's member, a function of its resolved configuration, so that a rerun finds it."""
    return member_name(as_dict(_root_))


def member_name(config: dict[str, Any]) -> str:
    """Return `<method>-<space>-<data>-<seed>-<hash>` of a configuration, only `[A-Za-z0-9_.-]`."""
    data = str(config["data"]["_target_"]).rsplit(".", 1)[-1].lower()
    words = (config["method"], config["space"].get("name", "space"), data, f"seed{config['seed']}")
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(map(str, words)))
    # These keys change neither a member nor its result, so they do not enter its name.
    hashed = {key: value for key, value in config.items() if key not in ("skip_finished", "tags", "sweep_limit")}
    text = json.dumps(identity(hashed), sort_keys=True)
    return f"{slug}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def register_resolvers() -> None:
    """Register the resolvers with OmegaConf; repeated calls are harmless."""
    OmegaConf.register_new_resolver("member_folder", member_folder, replace=True)
    OmegaConf.register_new_resolver("log_name", lambda _="": log_name(), replace=True)
