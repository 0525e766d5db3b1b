"""More parameters are better: what every other proxy has to beat."""

from typing import ClassVar

from torch import nn

from nas_lightning.core.functional import count_parameters
from nas_lightning.core.proxy import Proxy, Sample


class Parameters(Proxy):
    """Counts the weights, as the summary of a run does: biases and normalisation too, no auxiliary head."""

    reads_batch: ClassVar[bool] = False

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return their number."""
        return float(count_parameters(network))
