"""Aliases of moved targets, and keys of later versions: a run folder keeps the configuration of its time."""

from collections.abc import Mapping
from typing import Any

ALIASES = {
    "nas_lightning.lightning.analyses.Discretization": "nas_lightning.analyses.Discretization",
    "nas_lightning.lightning.analyses.Shuffling": "nas_lightning.analyses.Shuffling",
    "nas_lightning.lightning.analyses.SkipGap": "nas_lightning.analyses.SkipGap",
    "nas_lightning.lightning.analyses.Spectrum": "nas_lightning.analyses.Spectrum",
    "nas_lightning.lightning.analyses.Strength": "nas_lightning.analyses.Strength",
    "nas_lightning.lightning.callbacks.CurvatureTracking": "nas_lightning.callbacks.CurvatureTracking",
    "nas_lightning.lightning.control.AdaptiveRollback": "nas_lightning.control.AdaptiveRollback",
    "nas_lightning.lightning.control.CurvatureStopping": "nas_lightning.control.CurvatureStopping",
    "nas_lightning.lightning.control.GreedyDecisions": "nas_lightning.control.GreedyDecisions",
    "nas_lightning.lightning.control.ProgressiveShrinking": "nas_lightning.control.ProgressiveShrinking",
    "nas_lightning.lightning.loggers.MLflow": "nas_lightning.loggers.MLflow",
    "nas_lightning.lightning.loggers.TensorBoard": "nas_lightning.loggers.TensorBoard",
    "nas_lightning.lightning.loggers.Wandb": "nas_lightning.loggers.Wandb",
    "nas_lightning.lightning.retraining.Retraining": "nas_lightning.evaluation.Retraining",
}
"""Former targets and their present names. Of a class that moves twice the first name comes first."""
_RECIPE: dict[str, Any] = {
    "augment": "standard",
    "cutmix": 0.0,
    "decay": "all",
    "drop_path_schedule": "growing",
    "dropout": 0.0,
    "ema_decay": None,
    "epsilon": None,
    "mixup": 0.0,
    "optimizer": "sgd",
    "rho": None,
    "weights_of": None,
}
LATER_KEYS_OF_RECIPES = {
    f"{part}.{key}": value for part in ("evaluation", "candidates.evaluation") for key, value in _RECIPE.items()
}
"""Those of the recipes of images, of the run and of its candidates; values as a configuration file gives them."""
LATER_KEYS: dict[str, Any] = {
    "callbacks.curvature.images": None,
    "candidates.batch": 4,
    "candidates.initial": 8,
    "candidates.levels": None,
    "candidates.pool": 20,
    "candidates.promote": 0.5,
    "candidates.proposer": None,
    "candidates.screen": None,
    "candidates.screened": 4,
    "candidates.supernet": None,
    "data.background": 255,
    "data.largest_size": 224,
    "data.search_fractions": None,
    "data.search_seed": 0,
    "data.search_split": None,
    "data.skip_unreadable": False,
    "data.split_folders": True,
    "data.white": None,
    **LATER_KEYS_OF_RECIPES,
    "evaluation.draws": 10,
    "evaluation.random_baseline": 0,
    "evaluation.random_folder": "outputs/random_baseline",
    "hypergradient.clip": None,
    "hypergradient.virtual_step": "as_weights",
    "methods": [],
    "perturbation.kinds": ["op"],
    "readings": {},
    "relaxation.anchor_over": "kept",
    "relaxation.end_reached": "in_last",
    "search.arch.batch_norm": "frozen",
    "search.arch.images": "val",
    "search.arch.interval": 1,
    "search.arch.optimizer": "adam",
    "search.dropout": None,
    "search.hidden": None,
    "search.recompute": False,
    "search.stages.fresh": False,
    "search.weights.optimizer": "sgd",
    "selector.batch_size": None,
    "selector.max_macs": None,
    "selector.max_params": None,
    "selector.reshuffle": False,
    "space.network_batch_norm_momentum": 0.003,
}
"""Dotted keys that configurations of earlier versions lack, with the value that does what was done then.

A key of a section in a list is that of each: `search.stages.fresh`.
"""
_FIRST: dict[str, str] = {}
for _former, _now in ALIASES.items():
    _FIRST.setdefault(_now, _former)


def current(value: Any) -> Any:
    """Return a target, or a whole configuration, with every target under its current name.

    >>> current("nas_lightning.lightning.retraining.Retraining")
    'nas_lightning.evaluation.Retraining'
    """
    return _renamed(value, ALIASES)


def identity(value: Any) -> Any:
    """Return a configuration as its first version would have it, for hashes that must not change.

    Every target has its first name, and `LATER_KEYS` at the values of before are left out.

    The folder of a sweep's member and `config_hash` in a summary are such hashes: so a sweep begun before a part moved
    finds its finished members, and its runs are averaged with new ones.
    """
    return _renamed(without_later_keys(value), _FIRST)


def without_later_keys(value: Any, prefix: str = "") -> Any:
    """Return a configuration without `LATER_KEYS` at the values that do what was done before.

    Args:
        value: The configuration, or a part of it.
        prefix: Dotted key of the part, with a dot at its end.
    """
    if isinstance(value, list):
        return [without_later_keys(inner, prefix) for inner in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: without_later_keys(inner, f"{prefix}{key}.")
        for key, inner in value.items()
        if not _is_later(f"{prefix}{key}", inner)
    }


def _is_later(key: str, value: Any) -> bool:
    return key in LATER_KEYS and value == LATER_KEYS[key]


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value
