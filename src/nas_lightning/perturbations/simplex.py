"""Return perturbed mixing weights to the simplex by the heuristic of the released SDARTS code.

Shapes: R rows and O options of a choice.
"""

import torch
from torch import Generator, Tensor

from nas_lightning.core.choices import Choice
from nas_lightning.core.placed import placed


def onto_simplex(rows: Tensor, mask: Tensor) -> Tensor:
    """Clamp each row to [0, 1] and divide it by its sum; a row clamped to zeros gets 1 at its largest entry.

    This is no Euclidean projection: the result may lie farther from the clean rows than the perturbed rows did, and
    clamping increases small weights on average.
    Source: Chen & Hsieh, SmoothDARTS (ICML 2020), released code (`clip`).

    Args:
        rows: Perturbed weights [R, O].
        mask: Boolean [R, O], True where the row has that option; every row has one.

    Returns:
        Weights [R, O], 0 outside of `mask`.

    >>> mask = torch.tensor([[True, True, True], [True, True, False]])
    >>> onto_simplex(torch.tensor([[0.6, -0.1, 0.9], [-0.2, -0.1, 0.0]]), mask)
    tensor([[0.4000, 0.0000, 0.6000],
            [0.0000, 1.0000, 0.0000]])
    """
    largest = rows.masked_fill(~mask, -torch.inf).argmax(dim=1, keepdim=True)
    clamped = rows.clamp(0, 1).masked_fill(~mask, 0)
    fallback = torch.zeros_like(rows).scatter(1, largest, 1)
    clamped = torch.where(clamped.sum(dim=1, keepdim=True) == 0, fallback, clamped)
    return clamped / clamped.sum(dim=1, keepdim=True)


def jittered(weights: Tensor, choice: Choice, epsilon: float, generator: Generator | None) -> Tensor:
    """Add U(−ε, ε) to each of the weights [R, O] of a choice and return to the simplex.

    Draw on the device of `generator`; None uses torch's global generator of the weights' device.
    """
    device = weights.device if generator is None else generator.device
    uniform = torch.rand(weights.shape, dtype=weights.dtype, device=device, generator=generator).to(weights.device)
    return onto_simplex(weights + epsilon * (2 * uniform - 1), placed(choice.mask, weights.device))
