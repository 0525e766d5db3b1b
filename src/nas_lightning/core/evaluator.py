"""The contract of evaluators, which measure the quality of a genotype."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from nas_lightning.core.batches import Inputs
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.part import Part
from nas_lightning.core.space import Kind


@dataclass(frozen=True)
class Listed:
    """What a table knows of a genotype.

    Args:
        value: Its value on val after the epochs asked for, in the unit of the metric; that on test where `length` says
            so. None where a partial table lacks it.
        regret: Best value on test in the table minus its own, by which the whole run is judged; None as `value`.
    """

    value: float | None
    regret: float | None


class Evaluator(Part):
    """Evaluator of a genotype.

    Attributes:
        trains_briefly: Its arguments `images` and `epochs` can be set, so that members of `candidates` are compared by
            brief retraining on the search halves.
        pauses: `train_to` can end a training after any epoch and continue it later: levels of a search over a pool.
        looks_up: It trains nothing: a selection from a finished search is evaluated at once.
        inputs: Kind of data that it measures networks on.
    """

    key = "evaluation"
    trains_briefly: bool = False
    pauses: bool = False
    looks_up: bool = False
    inputs: ClassVar[Kind] = "images"

    def check(self, bench: Any) -> None:
        """Refuse an evaluation that is not possible, before anything is written.

        Args:
            bench: The parts of the run.

        Raises:
            ConfigError: The evaluation is not possible.
        """

    def check_genotype(self, genotype: Genotype, bench: Any) -> None:
        """Refuse a given genotype that cannot be evaluated, before anything is written.

        Args:
            genotype: The genotype that the command names.
            bench: The parts of the run.

        Raises:
            ConfigError: It cannot.
        """

    def bare_network(self, genotype: Genotype, bench: Any) -> nn.Module:
        """Build the network that it judges, without auxiliary head; torch's generator draws the weights.

        Raises:
            ConfigError: It judges no network, or sizes and genotype do not fit.
        """
        raise ConfigError(
            f"{self.key}: {type(self).__name__} names no network, which a proxy could score; use another evaluation"
        )

    def unit(self, bench: Any) -> Inputs:
        """Return inputs of the shape that `bare_network` takes: a single image, pair or token."""
        inputs: Inputs = bench.data.unit()
        return inputs

    def check_batch(self, bench: Any) -> None:
        """Refuse data of the run that `bare_network` does not take.

        Raises:
            ConfigError: It takes another shape, or has another number of classes.
        """

    def train_to(self, genotype: Genotype, bench: Any, epochs: int) -> dict[str, Any]:
        """Train up to a number of epochs, of which a later call continues; where the evaluator `pauses`.

        All schedules are those of the whole training, so what is trained in parts is what is trained at once.

        Args:
            genotype: The architecture, the same in every call.
            bench: The parts of a run in whose folder the training is kept.
            epochs: Epochs after which it ends, counted from the start.

        Returns:
            The section `evaluation` of the summary, measured after these epochs.
        """
        raise NotImplementedError

    def length(self, bench: Any, epochs: int | None) -> tuple[int, bool]:
        """Return epochs that a table lists on val, and True where only the test accuracy of these is known.

        Args:
            bench: The parts of the run.
            epochs: Epochs wanted; None is the shortest training that the table lists.

        Raises:
            ConfigError: The evaluator has no table, or the table no such training.
        """
        raise ConfigError(
            f"{self.key}: {type(self).__name__} can judge no candidates of a search over a pool; use one that trains,"
            " for instance evaluation=digits, or a table, evaluation=tabular"
        )

    def images_listed(self, bench: Any, epochs: int) -> int | None:
        """Return the images of an epoch of the trainings of `length`; None where the table does not say."""
        return None

    def listed(self, genotype: Genotype, bench: Any, epochs: int) -> Listed:
        """Return what a table knows of a genotype after a training of `length`."""
        raise NotImplementedError

    def __call__(self, genotype: Genotype, bench: Any) -> dict[str, Any]:
        """Return the section `evaluation` of the summary.

        Raises:
            ConfigError: The genotype does not fit.
            Interrupted: The user stopped it; the folder can be resumed.
        """
        raise NotImplementedError
