"""More multiply-accumulates are better: what every other proxy has to beat."""

from typing import ClassVar

from torch import nn

from nas_lightning.core.functional import macs_of
from nas_lightning.core.proxy import Proxy, Sample


class Macs(Proxy):
    """Counts the multiply-accumulates of one image, pair or token, as the summary of a run does."""

    reads_batch: ClassVar[bool] = False

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return their number."""
        return float(macs_of(network, sample.unit))
