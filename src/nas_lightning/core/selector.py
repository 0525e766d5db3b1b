"""The contract of selectors: how a genotype is derived from a trained supernet."""

from dataclasses import dataclass
from typing import Any

from nas_lightning.core.choices import Mixing
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.part import Part
from nas_lightning.core.space import SearchSpace


@dataclass(frozen=True)
class Tuning:
    """The stage of a selector that trains: the search goes on between its decisions.

    Args:
        epochs: Epochs of the stage.
        overrides: Dotted keys of the configuration and their values in this stage.
    """

    epochs: int
    overrides: dict[str, Any]


def tuning_overrides(lr: float, train_arch: bool = True) -> dict[str, Any]:
    """What differs from the search while its supernet is fine-tuned: a constant rate, no warm-ups, no controls.

    Args:
        lr: Learning rate of the weights.
        train_arch: Whether the architecture parameters go on learning.
    """
    overrides: dict[str, Any] = {
        "search.stages": None,
        "search.weights.lr": lr,
        "search.weights.lr_min": 0.0,
        "search.weights.schedule": "constant",
        "search.weights.warmup_epochs": 0,
        "search.weights.restart": False,
        "search.arch.warmup_epochs": 0,
        "control": {},
    }
    if not train_arch:
        overrides["hypergradient"] = {"_target_": "nas_lightning.hypergradients.Nothing"}
    return overrides


class Selector(Part):
    """Derives the genotype that a search ends with.

    A selector writes `__call__`, `select` or both. One that trains returns a `Tuning` from `tuning`: it then has a
    stage of its own after those of the search, and `decide` is called before each of its epochs.

    Attributes:
        needs_supernet: Whether a supernet is trained for it at all.
    """

    key = "selector"
    needs_supernet: bool = True

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype | None:
        """Return the genotype of the strengths alone, noted after every epoch; None if they do not determine it."""
        return None

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype that the search ends with, by default that of the strengths.

        Raises:
            ConfigError: The strengths do not determine it.
        """
        genotype = self(one_shot.space, one_shot.strengths())
        if genotype is None:
            raise ConfigError(f"{self.key}: {type(self).__name__} derives no genotype; give it a method select")
        return genotype

    def tuning(self, space: SearchSpace, search: Any, decisions: Decisions | None = None) -> Tuning | None:
        """Return the stage in which the selector trains, or None.

        Args:
            space: What is searched.
            search: The section `search` of the configuration.
            decisions: What is settled already; None for nothing.
        """
        return None

    def decide(self, one_shot: OneShot, epoch: int) -> bool:
        """Make the decisions that are due before an epoch (from 0) of its stage; return whether there was one."""
        return False

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Return how many batches of `val`, of `number` in all, it evaluates where nothing is settled before."""
        return 0
