"""Compose the further methods of a run, `methods=[NAME, …]`: each as the same command with that method would be.

Only what a method may set is kept of such a configuration, and only where it differs from the run: space, images,
objective and evaluation are those of the run, so that the methods can be compared.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas_lightning.core.errors import ConfigError

METHOD_SECTIONS = (
    *("relaxation", "hypergradient", "perturbation", "selector", "regularizer", "control", "callbacks"),
    *("search", "candidates"),
)
"""Sections that a method may set, beside its space."""
SHARED = ("space", "data", "objective", "evaluation")
"""Sections in which the methods of a command agree."""

Composing = Callable[[Sequence[str]], dict[str, Any]]
"""Words of a command → its configuration as plain dictionaries and lists."""


def with_methods(plain: Mapping[str, Any], words: Sequence[str], space: str | None, compose: Composing) -> Any:
    """Return a configuration with the sections of its further methods in the place of their names.

    Args:
        plain: The configuration; `methods` is a list of names, or holds such sections already.
        words: The words that it was composed of.
        space: The option of the group `space` that was chosen; None where there is none.
        compose: Composes other words.

    Raises:
        ConfigError: A name is that of a reading, or a method cannot be composed on the terms of the run.
    """
    names = plain.get("methods") or []
    if not isinstance(names, list) or not names:  # of another type it is refused with the rest
        return plain
    kept = [word for word in words if not re.match(r"(\+\+?|~)?methods?=", word)]
    if space is not None and not any(word.startswith("space=") for word in kept):
        kept.append(f"space={space}")  # a method may choose another for itself
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == plain["method"]:
            continue
        if name in plain["readings"]:
            raise ConfigError(f"methods={names}: {name} has the name of a reading; name the reading otherwise")
        try:
            other = compose([*kept, f"method={name}", "methods=[]"])
        except ConfigError as error:
            raise ConfigError(f"methods={names}: {error} (in {name})") from error
        differing = [section for section in SHARED if other[section] != plain[section]]
        if differing:
            raise ConfigError(
                f"methods={names}: {name} has a {differing[0]} of its own; compare them in commands of their own,"
                f" method={plain['method']} and method={name}"
            )
        found[name] = {section: other[section] for section in METHOD_SECTIONS if other[section] != plain[section]}
    return {**plain, "methods": found or []}
