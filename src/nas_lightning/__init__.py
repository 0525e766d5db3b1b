"""nas_lightning: differentiable neural architecture search as a combination of small parts.

>>> import nas_lightning as nl
>>> cfg = nl.compose(["space=s2", "seed=3"])
>>> nl.build_space(cfg).name
's2'
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_lightning import curvature, hypergradients
    from nas_lightning.api import (
        EvaluationResult,
        SearchResult,
        analyse,
        build_space,
        evaluate,
        export,
        landscape,
        plan,
        predict,
        report,
        resume,
        search,
        select,
    )
    from nas_lightning.config.compose import compose
    from nas_lightning.config.options import list_options
    from nas_lightning.core.errors import ConfigError, DataError, GenotypeError, NasLightningError
    from nas_lightning.core.functional import count_parameters
    from nas_lightning.curvature import EigenvalueStopping
    from nas_lightning.deployment import TrainedNetwork
    from nas_lightning.spaces import Choice, Genotype, genotype

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "ConfigError",
    "DataError",
    "EigenvalueStopping",
    "EvaluationResult",
    "Genotype",
    "GenotypeError",
    "NasLightningError",
    "SearchResult",
    "TrainedNetwork",
    "analyse",
    "build_space",
    "compose",
    "count_parameters",
    "curvature",
    "evaluate",
    "export",
    "genotype",
    "hypergradients",
    "landscape",
    "list_options",
    "plan",
    "predict",
    "report",
    "resume",
    "search",
    "select",
]


_HOMES = {
    "api": (
        *("EvaluationResult", "SearchResult", "analyse", "build_space", "evaluate"),
        *("export", "landscape", "plan", "predict", "report", "resume", "search", "select"),
    ),
    "config.compose": ("compose",),
    "config.options": ("list_options",),
    "core.errors": ("ConfigError", "DataError", "GenotypeError", "NasLightningError"),
    "core.functional": ("count_parameters",),
    "curvature": ("EigenvalueStopping",),
    "deployment": ("TrainedNetwork",),
    "spaces": ("Choice", "Genotype", "genotype"),
}
"""Public names by the module that holds them; a test holds them to the imports above, which type checkers read."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `--help` must not wait for torch and Lightning."""
    if name in ("curvature", "hypergradients"):
        return _imported(name)
    for home, names in _HOMES.items():
        if name in names:
            return getattr(_imported(home), name)
    raise AttributeError(f"module 'nas_lightning' has no attribute '{name}'")


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"nas_lightning.{module}")
    except (ImportError, MemoryError) as error:
        errors = importlib.import_module("nas_lightning.core.errors")
        memory = errors.lack_of_memory(error)
        if memory is None:
            raise
        raise errors.MachineError(memory) from error


def __dir__() -> list[str]:
    return __all__
