"""The contract of one-shot models: a trained supernet for selectors, controls and analyses.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.space import SearchSpace

Item = TypeVar("Item")


def untracked(items: Sequence[Item], title: str) -> Iterable[Item]:
    """Return the items, without showing progress."""
    return items


def discard(line: str) -> None:
    """Print nothing."""


BatchNormMode = Literal["eval", "train"]
"""Statistics of batch normalisation: the running ones, or those of the batch; in either case no buffer moves."""


class Measure(Protocol):
    """Measurement of the one-shot model on `val`, without gradients: the same images for all that share an order.

    Raises:
        GenotypeError: The outputs are not finite.
    """

    def __call__(
        self,
        mixing: Mixing,
        active: Active | None = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
        order: str | None = None,
    ) -> float:
        """Return the value on all of `val`, on its first `batches` batches, or on those of a range.

        Indices of a range are taken modulo the number of batches. `order` is the key of a shuffled order of `val` with
        an augmentation of its own; None is the one order that is kept in memory.
        """
        ...


@dataclass(frozen=True)
class OneShot:
    """A trained supernet with its measurements on `val`, as selectors see it.

    Args:
        space: Its search space.
        relaxation: Maps `arch` to mixing weights.
        arch: Architecture parameters by choice, each [R, O].
        seed: The run's seed; a selector keys its own draws by it.
        accuracy: The metric of the objective, negated where smaller is better: larger is better.
        loss: The objective's loss; smaller is better.
        decisions: Decisions made so far; a selector may add to them.
        track: Shows progress over a sequence: track(items, title).
        print_line: Prints a line in the terminal.
        goal: Name, unit and direction of the metric.
    """

    space: SearchSpace
    relaxation: Relaxation
    arch: Tensors
    seed: int
    accuracy: Measure
    loss: Measure | None = None
    decisions: Decisions | None = None
    track: Callable[[Sequence[Any], str], Iterable[Any]] = untracked
    print_line: Callable[[str], None] = discard
    goal: Goal = ACCURACY

    def mean(self) -> Mixing:
        """Return the relaxation's mean with decisions applied, each [R, O]: the mixing weights of the supernet."""
        mean = self.relaxation.mean(self.arch)
        return mean if self.decisions is None else self.decisions.fixed(mean)

    def strengths(self) -> Mixing:
        """Return the strengths that options and edges are compared by, with decisions applied, each [R, O]."""
        strengths = self.relaxation.strengths(self.arch)
        return strengths if self.decisions is None else self.decisions.fixed(strengths)
