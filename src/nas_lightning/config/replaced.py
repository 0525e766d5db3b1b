"""Options whose class a command replaces: `selector._target_=my_package.Mine` leaves the keys of the option behind."""

import re
from collections.abc import Sequence
from typing import Any

from nas_lightning.config.parts import model_of
from nas_lightning.config.schema import PARTS
from nas_lightning.config.sections import LoaderConfig
from nas_lightning.core.errors import ConfigError


def without_leftovers(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return a configuration without the keys of replaced options that the new classes do not take.

    Keys that the command names stay: a mistyped one is refused as ever, and so is a class that cannot be read.

    Args:
        config: The composed configuration, not yet validated.
        words: Overrides of the command.
    """
    named = {re.split("[=@]", word.lstrip("+"))[0] for word in words}
    trusted = tuple(map(str, config.get("trusted") or ()))
    for part in (part for part in PARTS if f"{part}._target_" in named and isinstance(config.get(part), dict)):
        try:
            model = model_of(part, config[part], trusted, LoaderConfig if part == "data" else None)
        except ConfigError:
            continue
        if model.model_config.get("extra") != "allow":
            taken = {"_target_", *model.model_fields}
            left = {k: v for k, v in config[part].items() if k in taken or f"{part}.{k}" in named}
            config = {**config, part: left}
    return config
