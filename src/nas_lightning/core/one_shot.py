"""The trained supernet as selectors, controls and analyses see it.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.space import SearchSpace

Item = TypeVar("Item")


def plainly(items: Sequence[Item], title: str) -> Iterable[Item]:
    """The items, without showing progress."""
    return items


def silently(line: str) -> None:
    """Shows nothing."""


BatchNormMode = Literal["eval", "train"]
"""Statistics of batch normalisation: the running ones, or those of the batch; in either case no buffer moves."""


class Measure(Protocol):
    """What the one-shot model does on `val` for any mixing weights: the same images for all of them, no gradients.

    Raises:
        GenotypeError: Its outputs are not numbers.
    """

    def __call__(
        self,
        mixing: Mixing,
        active: Active | None = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
    ) -> float:
        """A number for all of `val`, for its first `batches` batches, or for those of a range (modulo how many)."""
        ...


@dataclass(frozen=True)
class OneShot:
    """A trained supernet as a selector sees it.

    Args:
        space: What was searched.
        relaxation: How `arch` becomes mixing weights.
        arch: Architecture parameters by choice, each [R, O].
        seed: The run's seed; a selector keys its own draws by it.
        accuracy: The metric of the objective; larger is better.
        loss: Its loss; smaller is better.
        decisions: What is settled already; a selector may settle more.
        track: Shows progress over a sequence: track(items, title).
        tell: Shows a line.
    """

    space: SearchSpace
    relaxation: Relaxation
    arch: Tensors
    seed: int
    accuracy: Measure
    loss: Measure | None = None
    decisions: Decisions | None = None
    track: Callable[[Sequence[Any], str], Iterable[Any]] = plainly
    tell: Callable[[str], None] = silently

    def mean(self) -> Mixing:
        """Return the relaxation's mean with what is decided, each [R, O]: what the supernet is run with."""
        mean = self.relaxation.mean(self.arch)
        return mean if self.decisions is None else self.decisions.fixed(mean)

    def strengths(self) -> Mixing:
        """Return by what options and edges are compared, with what is decided, each [R, O]."""
        strengths = self.relaxation.strengths(self.arch)
        return strengths if self.decisions is None else self.decisions.fixed(strengths)
