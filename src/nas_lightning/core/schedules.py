"""Schedules as functions of the absolute epoch, so that a resumed or rolled-back run sees the same values.

Epochs count from 0; a schedule over E epochs is evaluated at e = 0 … E−1.
"""

import math
from collections.abc import Callable


def cosine(epoch: int, epochs: int, start: float, end: float = 0.0) -> float:
    """Return half a cosine from `start` at epoch 0 towards `end`, which epoch E would reach.

    >>> round(cosine(25, 50, 0.025, 0.001), 6)
    0.013
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * epoch / epochs))


def exponential(epoch: int, epochs: int, start: float, end: float = 0.0, factor: float = 0.97) -> float:
    """Return `start`·`factor`^epoch, at least `end`: the ImageNet recipe of the released DARTS code."""
    return max(end, start * factor**epoch)


def staircase(
    epoch: int, epochs: int, start: float, end: float = 0.0, factor: float = 0.97, width: float = 2.4
) -> float:
    """Return `start`·`factor`^⌊epoch/`width`⌋, at least `end` (EfficientNet; there the floor is taken of steps).

    >>> [round(staircase(epoch, 350, 1.0), 4) for epoch in (0, 2, 3, 5, 8)]
    [1.0, 1.0, 0.97, 0.9409, 0.9127]
    """
    return max(end, start * factor ** math.floor(epoch / width + 1e-9))


def linear(epoch: int, epochs: int, start: float, end: float = 0.0, tail: int = 5) -> float:
    """Return a linear decay over E−5 epochs, then over the last five one from a fifth of one step's height to 0.

    The ImageNet recipe that PC-DARTS, SGAS and SDARTS share (released code).
    """
    if epochs <= tail:
        return end + (start - end) * (1 - epoch / epochs)
    body = epochs - tail
    fraction = (body - epoch) / body if epoch < body else (epochs - epoch) / (body * tail)
    return end + (start - end) * fraction


def constant(epoch: int, epochs: int, start: float, end: float = 0.0) -> float:
    """Return `start` at every epoch (fine-tuning in DARTS-PT)."""
    return start


SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": cosine,
    "exponential": exponential,
    "staircase": staircase,
    "linear": linear,
    "constant": constant,
}


def learning_rate(name: str, epoch: int, epochs: int, start: float, end: float = 0.0, warmup_epochs: int = 0) -> float:
    """Return the learning rate of an epoch: a linear warm-up start·(e+1)/warmup, then the named schedule."""
    if epoch < warmup_epochs:
        return start * (epoch + 1) / warmup_epochs
    return SCHEDULES[name](epoch, epochs, start, end)


def restarted(rate: float, at_restart: float, start: float, end: float = 0.0) -> float:
    """Return the rate of a decaying schedule whose remaining curve is rescaled to start at `start`.

    The second stage of the released DrNAS code does so on today's PyTorch, whose cosine is a recursion: the new
    optimizer starts at the full rate and decays by the factors of the old curve.

    Args:
        rate: Value of the schedule at this epoch.
        at_restart: Value of the schedule at the first epoch of the stage.
        start: Rate at the first epoch of the stage.
        end: Rate at the end of the schedule.

    >>> round(restarted(cosine(26, 50, 0.1), cosine(25, 50, 0.1), 0.1), 4)
    0.0937
    """
    return start if at_restart == end else end + (start - end) * (rate - end) / (at_restart - end)


def drop_path_in_search(epoch: int, epochs: int, maximum: float) -> float:
    """Return maximum·e/(E−1), which reaches the maximum in the last epoch (RobustDARTS, search phase)."""
    return maximum * epoch / max(1, epochs - 1)


def drop_path_in_evaluation(epoch: int, epochs: int, maximum: float) -> float:
    """Return maximum·e/E, which never quite reaches the maximum (DARTS, evaluation phase)."""
    return maximum * epoch / epochs


def perturbation_radius(epoch: int, epochs: int, start: float, maximum: float) -> float:
    """Return the radius, linear from `start` to `maximum` at epoch E (SDARTS, paper and released code).

    >>> [round(perturbation_radius(epoch, 50, 0.03, 0.3), 4) for epoch in (0, 25, 49)]
    [0.03, 0.165, 0.2946]
    """
    return start + (maximum - start) * epoch / epochs
