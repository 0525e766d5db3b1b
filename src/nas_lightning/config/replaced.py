"""Options whose class a command replaces: `selector._target_=my_package.Mine` leaves the keys of the option behind."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from nas_lightning.config.parts import model_of
from nas_lightning.config.schema import PARTS
from nas_lightning.config.sections import LoaderConfig
from nas_lightning.core.errors import ConfigError

Composed = Callable[[Sequence[str]], dict[str, Any]]
"""Composes the configuration of a command, not yet validated."""


def without_leftovers(config: dict[str, Any], words: Sequence[str], composed: Composed) -> dict[str, Any]:
    """Return a configuration without the keys of replaced options that the new classes do not take.

    Only what the class before takes goes: a mistyped key of the user's files is refused as ever. Keys that the command
    names stay, and so does all where the class is the same or one of the two cannot be read.

    Args:
        config: The composed configuration, not yet validated.
        words: Overrides of the command.
        composed: Composes a command with other overrides, to see the class that an option has of its own.
    """
    named = {_key(word) for word in words}
    for part in (part for part in PARTS if f"{part}._target_" in named and isinstance(config.get(part), dict)):
        before = composed([word for word in words if _key(word) != f"{part}._target_"]).get(part)
        if not isinstance(before, dict) or before.get("_target_") == config[part].get("_target_"):
            continue
        try:
            old, new = (_model(part, section, config) for section in (before, config[part]))
        except ConfigError:
            continue
        if new.model_config.get("extra") == "allow":
            continue
        taken = {"_target_", *new.model_fields}
        gone = set(config[part]) if old.model_config.get("extra") == "allow" else set(old.model_fields)
        left = {k: v for k, v in config[part].items() if k in taken or k not in gone or f"{part}.{k}" in named}
        config = {**config, part: left}
    return config


def _key(word: str) -> str:
    return re.split("[=@]", word.lstrip("+"))[0]


def _model(part: str, section: dict[str, Any], config: dict[str, Any]) -> type[BaseModel]:
    trusted = tuple(map(str, config.get("trusted") or ()))
    return model_of(part, section, trusted, LoaderConfig if part == "data" else None)
