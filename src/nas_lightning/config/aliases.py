"""Aliases of moved targets: a run folder keeps the names that targets had when it was made."""

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
"""By package: the former module of its public classes."""

ALIASES = {
    f"nas_lightning.{before}.{name}": f"nas_lightning.{room}.{name}"
    for room, (before, names) in _MOVED.items()
    for name in names
}
"""Current target by former target."""
_FIRST = {now: before for before, now in ALIASES.items()}


def current(value: Any) -> Any:
    """Return a target, or a whole configuration, with every target under its current name.

    >>> current("nas_lightning.lightning.retraining.Retraining")
    'nas_lightning.evaluation.Retraining'
    """
    return _renamed(value, ALIASES)


def identity(value: Any) -> Any:
    """Return a configuration with every target under its first name, for hashes that must not change.

    The folder of a sweep's member and `config_hash` in a summary are such hashes: so a sweep begun before a part moved
    finds its finished members, and its runs are averaged with new ones.
    """
    return _renamed(value, _FIRST)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value
