"""The gradient of the loss of one batch with respect to the initial weights, for the proxies that read it.

Weights are all parameters of two or more dimensions: kernels and matrices. Biases and the parameters of batch
normalisation do not count, as in the released code of the proxies.
"""

import torch
from torch import Tensor, nn

from nas_lightning.core.functional import frozen_batch_stats, training
from nas_lightning.core.proxy import Sample


def weights_of(network: nn.Module) -> list[nn.Parameter]:
    """Return the kernels and matrices of a network, each once."""
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]


def gradients(network: nn.Module, sample: Sample) -> list[tuple[Tensor, Tensor]]:
    """Return each weight with the gradient of the loss: zeros where the loss does not depend on it.

    The network is in training mode: batch normalisation uses the statistics of the batch, and no buffer moves.
    """
    weights = weights_of(network)
    with training(network), frozen_batch_stats(network), torch.enable_grad():
        loss = sample.loss(network(sample.inputs), sample.targets)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [
        (weight.detach(), torch.zeros_like(weight) if gradient is None else gradient)
        for weight, gradient in zip(weights, found, strict=True)
    ]
