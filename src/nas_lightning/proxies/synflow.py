"""How much signal flows through an untrained network whose weights are all made positive."""

import copy
import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas_lightning.core.functional import training
from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.core.space import Kind
from nas_lightning.proxies.gradients import weights_of


class Synflow(Proxy):
    """Sums |w · ∂R/∂w| over all weights, where R is the sum of the outputs for an image of ones with |w| for w.

    In a chain of layers without bias the sum is R in every layer. It is computed in float64 on a copy. Sources: Tanaka
    et al., SynFlow (NeurIPS 2020), equation 2; as a proxy Abdelfattah et al. (ICLR 2021), `synflow` and `synflow_bn`.

    Args:
        bn: False leaves batch normalisation out; True applies it with the statistics of the image of ones, which
            rescales every layer, so that the sum is no longer conserved.
    """

    inputs: ClassVar[tuple[Kind, ...]] = ("images",)
    reads_batch: ClassVar[bool] = False

    def __init__(self, bn: bool = False) -> None:
        self.bn = bn

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return the sum; infinity where it is too large for float64."""
        total = sum(self.by_weight(network, sample))
        return math.inf if math.isnan(total) else total

    def by_weight(self, network: nn.Module, sample: Sample) -> list[float]:
        """Return Σ |w · ∂R/∂w| of each kernel and matrix, in the order of the network's parameters."""
        positive = copy.deepcopy(network).double()
        if not self.bn:
            _leave_out_normalisation(positive)
        with torch.no_grad():
            for parameter in positive.parameters():
                parameter.abs_()
        weights = weights_of(positive)
        assert isinstance(sample.unit, torch.Tensor)  # `inputs` admits images alone
        # Two equal images have the statistics of one; of one alone torch normalises no map of a single pixel.
        ones = torch.ones_like(sample.unit, dtype=torch.float64)
        ones = torch.cat([ones, ones])
        with training(positive), torch.enable_grad():
            found = torch.autograd.grad(positive(ones).sum() / 2, weights, allow_unused=True)
        return [
            0.0 if gradient is None else float((weight.detach() * gradient).abs().sum())
            for weight, gradient in zip(weights, found, strict=True)
        ]


def _leave_out_normalisation(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, nn.Identity())
