"""Paths through a trained supernet, scored one by one: what selectors that compare architectures share."""

from nas_lightning.core.choices import Mixing
from nas_lightning.core.one_shot import BatchNormMode, OneShot


def score_path(
    one_shot: OneShot, path: Mixing, batches: int | range | None, batch_norm: BatchNormMode = "eval"
) -> float:
    """Metric of a path on batches of `val`, with nothing computed but what is on the path.

    Args:
        one_shot: The trained supernet.
        path: By choice [R, O], on any device; what is zero is not computed.
        batches: The first so many batches, those of a range, or all for None.
        batch_norm: Statistics: the running ones, which average over all paths and fit none, or those of the batch.
    """
    device = next(iter(one_shot.arch.values())).device
    path = {name: weights.to(device) for name, weights in path.items()}
    return one_shot.accuracy(path, {name: weights > 0 for name, weights in path.items()}, batches, batch_norm)


def batches_of(index: int, batches: int, fresh: bool) -> int | range:
    """Batches that candidate number `index` is scored on: the first ones for all, or fresh ones for each.

    >>> batches_of(3, 2, fresh=False), batches_of(3, 2, fresh=True)
    (2, range(6, 8))
    """
    return range(index * batches, (index + 1) * batches) if fresh else batches
