"""Names of targets before: run folders keep naming a part as it was called when they were made."""

from typing import Any

_MOVED = {
    "evaluation": ("lightning.retraining", ("Retraining",)),
    "control": (
        "lightning.control",
        ("AdaptiveRollback", "CurvatureStopping", "GreedyDecisions", "ProgressiveShrinking"),
    ),
    "callbacks": ("lightning.callbacks", ("CurvatureTracking",)),
    "loggers": ("lightning.loggers", ("MLflow", "TensorBoard", "Wandb")),
    "analyses": ("lightning.analyses", ("Discretization", "Shuffling", "SkipGap", "Spectrum", "Strength")),
}
"""By room: where its public classes stood before."""

ALIASES = {
    f"nas_lightning.{before}.{name}": f"nas_lightning.{room}.{name}"
    for room, (before, names) in _MOVED.items()
    for name in names
}
"""Targets of before and what they are called now."""
_FIRST = {now: before for before, now in ALIASES.items()}


def current(value: Any) -> Any:
    """Return a target, or a whole configuration, with every target under its name of today.

    >>> current("nas_lightning.lightning.retraining.Retraining")
    'nas_lightning.evaluation.Retraining'
    """
    return _renamed(value, ALIASES)


def identity(value: Any) -> Any:
    """Return a configuration with every target under its first name, for hashes that must not change.

    The folder of a sweep's member and `config_hash` in a summary are such hashes: a sweep that was begun before a part
    moved finds its members again, and its runs are averaged with new ones.
    """
    return _renamed(value, _FIRST)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value
