"""The contract of evaluators, which measure the quality of a genotype."""

from typing import Any, ClassVar

from torch import nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.part import Part
from nas_lightning.core.space import Kind


class Evaluator(Part):
    """Evaluator of a genotype.

    Attributes:
        trains_briefly: Its arguments `images` and `epochs` can be set, so that members of `candidates` are compared by
            brief retraining on the search halves.
        looks_up: It trains nothing: a selection from a finished search is evaluated at once.
        inputs: Kind of data that it measures networks on.
    """

    key = "evaluation"
    trains_briefly: bool = False
    looks_up: bool = False
    inputs: ClassVar[Kind] = "images"

    def check(self, bench: Any) -> None:
        """Refuse an evaluation that is not possible, before anything is written.

        Args:
            bench: The parts of the run.

        Raises:
            ConfigError: The evaluation is not possible.
        """

    def bare_network(self, genotype: Genotype, bench: Any) -> nn.Module:
        """Build the network that it judges, without auxiliary head; torch's generator draws the weights.

        Raises:
            ConfigError: It judges no network, or sizes and genotype do not fit.
        """
        raise ConfigError(
            f"{self.key}: {type(self).__name__} names no network, which a proxy could score; use another evaluation"
        )

    def __call__(self, genotype: Genotype, bench: Any) -> dict[str, Any]:
        """Return the section `evaluation` of the summary.

        Raises:
            ConfigError: The genotype does not fit.
            Interrupted: The user stopped it; the folder can be resumed.
        """
        raise NotImplementedError
