"""Masks on the device that reads them, copied there once."""

from functools import lru_cache

import torch
from torch import Tensor


def placed(mask: Tensor, device: torch.device) -> Tensor:
    """Return a boolean mask on a device, not to be written to.

    A copy from the host stalls a GPU, and masks change rarely, so the copies of equal masks are one. Nothing can be out
    of date: the copy is found by the values of the mask.

    Args:
        mask: Boolean, any shape.
        device: Where it is read.

    Returns:
        The mask itself if it is there already, or not on the CPU.
    """
    if mask.device == device or mask.device.type != "cpu":
        return mask.to(device)
    return _copy(mask.numpy().tobytes(), tuple(mask.shape), device)


@lru_cache(maxsize=128)
def _copy(values: bytes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    # The first call may be one of a validation in inference mode, whose tensors no training can use.
    with torch.inference_mode(mode=False):
        return torch.frombuffer(bytearray(values), dtype=torch.bool).view(shape).to(device)
