"""The sensitivity of the loss to each connection at initialisation."""

from torch import nn

from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.proxies.gradients import gradients


class Snip(Proxy):
    """Sums |w · ∂L/∂w| over all weights: the change of the loss, to first order, when a weight is removed.

    Batch normalisation is in training mode. Sources: Lee et al., SNIP (ICLR 2019), equation 4, without its
    normalisation; as a proxy Abdelfattah et al. (ICLR 2021).
    """

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return the sum over all weights."""
        return sum(float((weight * gradient).abs().sum()) for weight, gradient in gradients(network, sample))
