"""The size of the gradient at initialisation."""

from torch import nn

from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.proxies.gradients import gradients


class GradientNorm(Proxy):
    """Sums the L2 norms of the gradients of the loss, Σ ‖∂L/∂W‖₂ over the weights W of all layers.

    Batch normalisation is in training mode. Source: Abdelfattah et al., Zero-cost proxies for lightweight NAS (ICLR
    2021), `grad_norm`, and its released code.
    """

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return the sum of the norms."""
        return sum(float(gradient.norm()) for _, gradient in gradients(network, sample))
