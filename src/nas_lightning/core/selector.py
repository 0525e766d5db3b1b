"""The contract of selectors, which derive a genotype from a trained supernet."""

from dataclasses import dataclass
from typing import Any

from nas_lightning.core.choices import ChoiceKind, Mixing
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.part import Part
from nas_lightning.core.space import SearchSpace


@dataclass(frozen=True)
class Tuning:
    """The stage of a selector that trains: the search continues between its decisions.

    Args:
        epochs: Epochs of the stage.
        overrides: Dotted keys of the configuration and their values in this stage.
    """

    epochs: int
    overrides: dict[str, Any]


def tuning_overrides(lr: float, train_arch: bool = True) -> dict[str, Any]:
    """Return the overrides for fine-tuning a supernet: a constant rate, no warm-ups, no controls.

    Args:
        lr: Learning rate of the weights.
        train_arch: Train the architecture parameters, too.
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
    """Derivation of the final genotype of a search.

    A selector implements `__call__`, `select` or both. One that trains returns a `Tuning` from `tuning`: it then has a
    stage of its own after those of the search, and `decide` is called before each of its epochs.

    Attributes:
        needs_supernet: False where no supernet has to be trained for it.
        by_strength: Kinds of choices that `select` takes by their strengths, though it decides others otherwise; the
            search must learn them.
        batch_size: Images of `val` per batch that the supernet is measured on; None takes those of the search.
    """

    key = "selector"
    needs_supernet: bool = True
    by_strength: tuple[ChoiceKind, ...] = ()
    batch_size: int | None = None

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype | None:
        """Return the genotype of the strengths alone, recorded after every epoch; None if they do not determine it."""
        return None

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the final genotype of the search, by default that of the strengths.

        Raises:
            ConfigError: The strengths do not determine it.
        """
        genotype = self(one_shot.space, one_shot.strengths())
        if genotype is None:
            raise ConfigError(f"{self.key}: {type(self).__name__} derives no genotype; give it a method select")
        return genotype

    def check(self, space: SearchSpace) -> None:
        """Refuse a space that the selector cannot derive a genotype of, before anything is trained.

        Raises:
            ConfigError: The space does not fit.
        """

    def report(self, space: SearchSpace, genotype: Genotype) -> dict[str, float]:
        """Return further entries of the summary's section `selection` on the genotype that it selected."""
        return {}

    def tuning(self, space: SearchSpace, search: Any, decisions: Decisions | None = None) -> Tuning | None:
        """Return the stage in which the selector trains, or None.

        Args:
            space: The search space.
            search: The section `search` of the configuration.
            decisions: Decisions made so far; None for none.
        """
        return None

    def decide(self, one_shot: OneShot, epoch: int) -> bool:
        """Make the decisions due before an epoch (from 0) of its stage; return True if there was one."""
        return False

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Return the number of batches of `val`, which has `number`, that it evaluates if nothing is decided before."""
        return 0
