"""Score single paths through a trained supernet, for selectors that compare architectures."""

from nas_lightning.core.choices import Mixing
from nas_lightning.core.one_shot import BatchNormMode, OneShot


def score_path(
    one_shot: OneShot, path: Mixing, batches: int | range | None, batch_norm: BatchNormMode = "eval"
) -> float:
    """Return the metric of a path on batches of `val`; only operations on the path are computed.

    Args:
        one_shot: The trained supernet.
        path: Mixing weights by choice, each [R, O], on any device; options of weight 0 are not computed.
        batches: Number of first batches, a range of batches, or None for all.
        batch_norm: Statistics: `eval`, running, which average over all paths and fit none, or `train`, of the batch.
    """
    device = next(iter(one_shot.arch.values())).device
    path = {name: weights.to(device) for name, weights in path.items()}
    return one_shot.accuracy(path, {name: weights > 0 for name, weights in path.items()}, batches, batch_norm)


def batches_of(index: int, batches: int, fresh: bool) -> int | range:
    """Return the batches to score candidate `index` on: the first ones for all, or different ones for each.

    >>> batches_of(3, 2, fresh=False), batches_of(3, 2, fresh=True)
    (2, range(6, 8))
    """
    return range(index * batches, (index + 1) * batches) if fresh else batches
