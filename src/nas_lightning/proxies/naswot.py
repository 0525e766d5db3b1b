"""How differently the ReLUs of an untrained network answer to the images of a batch.

Shapes: B images, U units of a layer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats, training
from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.core.space import Kind


class Naswot(Proxy):
    """Computes log |det K|, where K_ij counts the units of all ReLUs that are both on or both off for images i and j.

    Codes that agree for two images give −∞. Batch normalisation is in training mode. Every ReLU of the pass counts,
    each time that it is applied, also those that are called as functions. Source: Mellor et al., Neural architecture
    search without training (ICML 2021), section 3, and its released code.
    """

    inputs: ClassVar[tuple[Kind, ...]] = ("images",)

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return the logarithm.

        Raises:
            ConfigError: The network has no ReLU.
        """
        kernel = self.kernel(network, sample)
        alike = (kernel == kernel.diagonal()[:, None]).triu(1)
        # Two equal rows: the determinant is exactly 0, which rounding could hide.
        if alike.any():
            return -math.inf
        sign, logarithm = torch.linalg.slogdet(kernel)
        return float(logarithm) if float(sign) > 0 else -math.inf

    def kernel(self, network: nn.Module, sample: Sample) -> Tensor:
        """Return K [B, B] in float64, of whole numbers: for each ReLU the number of units less the Hamming distances.

        Raises:
            ConfigError: The network has no ReLU.
        """
        with training(network), frozen_batch_stats(network), torch.no_grad(), _Codes() as seen:
            network(sample.inputs)
        if seen.kernel is None:
            raise ConfigError(f"{self.key}: the network has no ReLU, whose codes NASWOT compares; use another proxy")
        return seen.kernel


class _Codes(TorchDispatchMode):
    """Sums the kernels of all ReLUs that are computed within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in (torch.ops.aten.relu, torch.ops.aten.relu_):
            kernel = code_kernel(args[0])  # before the call, which may be in place
            self.kernel = kernel if self.kernel is None else self.kernel + kernel
        return func(*args, **(kwargs or {}))


def code_kernel(x: Tensor) -> Tensor:
    """Return X Xᵀ + (1 − X)(1 − X)ᵀ [B, B] of the codes X = (x > 0) [B, U], in float64.

    >>> code_kernel(torch.tensor([[1.0, -1.0, 2.0], [1.0, 3.0, -1.0]])).tolist()
    [[3.0, 1.0], [1.0, 3.0]]
    """
    signs = 2.0 * (x.flatten(1) > 0).double() - 1.0
    return (signs.shape[1] + signs @ signs.T) / 2
