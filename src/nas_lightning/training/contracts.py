"""The base classes of parts by section, and the refusal of parts that do not fit their section or the space."""

import inspect
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from nas_lightning.config.kinds import BUILT_IN, IN_WORDS
from nas_lightning.config.schema import PART_LISTS, PLACES_OF_LISTS
from nas_lightning.core.bilevel import Hypergradient
from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator
from nas_lightning.core.objective import Objective
from nas_lightning.core.part import Part
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.proposer import Proposer
from nas_lightning.core.proxy import Proxy
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import Kind, SearchSpace

KINDS: dict[str, dict[str, type]] = {
    "space": {"nas_lightning.spaces.SearchSpace": SearchSpace},
    "relaxation": {"nas_lightning.relaxations.Relaxation": Relaxation},
    "hypergradient": {"nas_lightning.hypergradients.Hypergradient": Hypergradient},
    "perturbation": {"nas_lightning.perturbations.Perturbation": Perturbation},
    "selector": {"nas_lightning.selectors.Selector": Selector},
    "objective": {"nas_lightning.objectives.Objective": Objective},
    "evaluation": {"nas_lightning.evaluation.Evaluator": Evaluator},
    "regularizer": {"nas_lightning.regularizers.Regularizer": Regularizer},
    "control": {"nas_lightning.control.Control": Control, "lightning.Callback": L.Callback},
    "callbacks": {"lightning.Callback": L.Callback},
    "proxy": {"nas_lightning.proxies.Proxy": Proxy},
    "logger": {"lightning.pytorch.loggers.Logger": Logger},
    "proposer": {"nas_lightning.proposers.Proposer": Proposer},
}
"""Base classes of the parts of each section: callers rely on their neutral members, also in users' parts."""


def check_hooks(path: str, made: Any, kind: type) -> None:
    """Refuse a part whose hook takes fewer arguments than its base class is called with.

    Raises:
        ConfigError: Such a hook.
    """
    if not issubclass(kind, Part):
        return
    for hook, base in vars(kind).items():
        own = getattr(type(made), hook, None)
        if (hook.startswith("_") and hook != "__call__") or not inspect.isfunction(base) or own is base:
            continue
        positional = [p for p in inspect.signature(base).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        if not inspect.isfunction(own):
            continue
        try:
            inspect.signature(own).bind(*positional)
        except TypeError:
            wanted = ", ".join(p.name for p in positional[1:])
            raise ConfigError(f"{path}: {type(made).__name__}.{hook} must take ({wanted})") from None


def kinds_at(path: str) -> dict[str, type]:
    """Return the base classes that a part at a path must have; none for parts that are arguments of parts."""
    if path.rpartition(".")[0] == PLACES_OF_LISTS["proxy"]:
        return KINDS["proxy"]
    if path == "candidates.screen":
        return KINDS["proxy"]
    if path.startswith("candidates."):  # evaluation, proposer
        return KINDS.get(path.partition(".")[2], {})
    group, _, name = path.partition(".")
    named = group in PART_LISTS and name != "" and "." not in name
    return KINDS.get(group, {}) if named or not name else {}


def check_kind(section: str, part: object, kinds: Kind | tuple[Kind, ...], space: SearchSpace) -> None:
    """Refuse a part that is for another kind of data than the space.

    Args:
        section: Its section of the configuration.
        part: The part.
        kinds: Kind of data that it is for, or several.
        space: The space of the run.

    Raises:
        ConfigError: It is for another kind.
    """
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if space.inputs not in kinds:
        wanted, words = BUILT_IN[space.inputs][section], " or ".join(IN_WORDS[kind] for kind in kinds)
        raise ConfigError(
            f"{section}: {type(part).__name__} is for {words}, but space={space.name} reads"
            f" {IN_WORDS[space.inputs]}; use {section}={wanted}, or a space that reads {words},"
            f" space={BUILT_IN[kinds[0]]['space']}"
        )
