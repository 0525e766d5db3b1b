"""Overrides of a plain configuration that is read from a file, with the values that Hydra reads on a new command."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas_lightning.config.compose import as_config_error
from nas_lightning.config.words import as_typed, parses, problem_of
from nas_lightning.core.errors import ConfigError

_ABSENT = object()
_HELD = "value of an override"


def key_of(word: str) -> str:
    """Return the dotted key of an override, without the signs before it.

    >>> key_of("++trainer.max_time=1:00:00:00"), key_of("~trainer.max_time")
    ('trainer.max_time', 'trainer.max_time')
    """
    return word.partition("=")[0].lstrip("+~")


def place_of(word: str) -> str:
    """Return the dotted key at which an override changes the configuration; of an option its package.

    >>> place_of("++search.epochs=2"), place_of("selector=magnitude"), place_of("+method@methods.b=drnas")
    ('search.epochs', 'selector', 'methods.b')
    """
    group, at, package = key_of(word).partition("@")
    return package.rpartition(":")[2] if at else group


def value_of(word: str, config: dict[str, Any] | None = None) -> Any:
    """Return the value of an override, in plain Python.

    Args:
        word: `KEY=VALUE`.
        config: What interpolations in the value refer to.

    Raises:
        ConfigError: It cannot be read, or is several values.
    """
    parsed = _parsed(word)
    return None if parsed.is_delete() else _plain(parsed, word, config or {}, _ABSENT)


def override(config: dict[str, Any], word: str) -> None:
    """Apply an override to a configuration in place: `KEY=VALUE` with or without + signs, or `~KEY`.

    Raises:
        ConfigError: It cannot be read, is several values, or names no key that a section could have.
    """
    parsed = _parsed(word)
    if parsed.value() == "???":
        raise ConfigError(f"{word}: ??? stands for a missing value; give one")
    *path, last = key_of(word).split(".")
    node: Any = config
    for name in path:
        node = node.setdefault(name, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict) or (parsed.is_delete() and last not in node):
        raise ConfigError(f"{word}: there is no such key")
    if parsed.is_delete():
        del node[last]
    else:
        node[last] = _plain(parsed, word, config, node.get(last, _ABSENT))


def _parsed(word: str) -> Override:
    typed = as_typed(word)
    if not parses(typed):
        raise ConfigError(problem_of(word))
    parsed = OverridesParser.create().parse_override(typed)
    if parsed.is_sweep_override():
        raise ConfigError(f"{word}: is several values; give one, a text with a comma in quotes")
    return parsed


def _plain(parsed: Override, word: str, config: dict[str, Any], old: Any) -> Any:
    """Return the value of a parsed override after OmegaConf has merged it with the old one, if there is one."""
    try:
        holder = OmegaConf.create({**config, _HELD: None if old is _ABSENT else old})
        OmegaConf.update(holder, _HELD, parsed.value(), merge=True, force_add=True)
        # Only this key is resolved: other values of a file may hold what looks like an interpolation.
        value = holder[_HELD]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise as_config_error(error, [word]) from error
