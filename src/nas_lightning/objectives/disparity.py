"""Disparity: the end-point error over several scales, and shares of wrong pixels.

The disparity of rectified pairs has one dimension, so its end-point error is an absolute difference in pixels of the
full image, whatever the scale of the prediction. Source of the measures: Mayer et al. (CVPR 2016) for the end-point
error, KITTI 2015 for D1. The weights of the scales in AutoDispNet's loss are not published; here all are 1 unless
given.
Shapes: B pairs, H rows, W columns; scales of h rows and w columns, whole fractions of H and W.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from nas_lightning.core.batches import Maps
from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.core.objective import Direction, Objective
from nas_lightning.core.space import Kind

WRONG, WRONG_SHARE = 3.0, 0.05
"""Pixels, and share of the true disparity, from which on an error counts as wrong."""


class Disparity(Objective):
    """Minimise the mean absolute error of disparities where the truth is known; report it, or a share of wrong pixels.

    Args:
        metric: `epe`: mean error in pixels. `bad_3`: share of pixels that are off by more than 3 px. `d1`: share of
            those that are also off by more than 5 % of the truth.
        weights: Weight of the error at each scale, coarse to fine, the full size last; None weights all equally.
    """

    inputs: Kind = "stereo"
    direction: Direction = "min"
    has_classes = False

    def __init__(
        self,
        metric: Literal["epe", "bad_3", "d1"] = "epe",
        weights: Sequence[Annotated[float, Field(ge=0)]] | None = None,
    ) -> None:
        if weights is not None and not any(weights):
            raise ConfigError(f"{self.key}.weights={list(weights)}: at least one must be positive; use null for all")
        self.metric: str = metric
        self.unit: str = "px" if metric == "epe" else "%"
        self.weights = None if weights is None else tuple(weights)

    def bind(self, class_names: Sequence[str], train_labels: Any) -> None:
        """Learn nothing: there are no classes."""

    def outputs(self, num_classes: int) -> int:
        """Return 1."""
        return 1

    def loss(self, outputs: Maps, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the weighted sum of the end-point errors of all scales, in pixels.

        Args:
            outputs: Disparities in pixels, coarse to fine.
            targets: True disparities [B, 1, H, W]; NaN or infinite where they are not known.
            label_smoothing: Without effect.

        Raises:
            ConfigError: There are other weights than scales.
            DataError: No pixel has a true disparity.
        """
        weights = self.weights or (1.0,) * len(outputs.scales)
        if len(weights) != len(outputs.scales):
            raise ConfigError(
                f"{self.key}.weights has {len(weights)} numbers: networks predict at {len(outputs.scales)} scales; give"
                f" so many, or {self.key}.weights=null"
            )
        check_some_truth(targets)
        total = outputs.scales[-1].new_zeros(())
        for weight, scale in zip(weights, outputs.scales, strict=True):
            if weight:
                total = total + weight * end_point_error(scale, *truth_at(targets, scale.shape[2], scale.shape[3]))
        return total

    def new_metric(self) -> Metric:
        """Return a fresh metric of outputs and targets: in pixels, or a fraction."""
        return DisparityErrors(self.metric)


def check_some_truth(targets: Tensor) -> None:
    """Refuse targets without any known disparity; on a GPU, where asking would wait, the loss is then NaN.

    Raises:
        DataError: No pixel has a true disparity.
    """
    if not targets.is_cuda and not bool(torch.isfinite(targets).any()):
        raise DataError(
            f"{len(targets)} pairs of a batch have no pixel with a true disparity; leave them out, or use larger crops"
        )


def truth_at(targets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Average the known disparities within each pixel of a scale.

    Args:
        targets: True disparities [B, 1, H, W]; NaN or infinite where they are not known.
        height: h, which divides H.
        width: w, which divides W.

    Returns:
        Means [B, 1, h, w], 0 where none is known; and boolean [B, 1, h, w], whether any is.
    """
    known = torch.isfinite(targets)
    filled = torch.where(known, targets, torch.zeros_like(targets))
    if targets.shape[2:] == (height, width):
        return filled, known
    window = targets.shape[2] // height, targets.shape[3] // width
    share = F.avg_pool2d(known.to(targets.dtype), window)
    return F.avg_pool2d(filled, window) / share.clamp(min=1 / (window[0] * window[1])), share > 0


def end_point_error(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return the mean absolute difference over the known pixels; no gradient reaches the others."""
    # Selected before the difference is taken, so that not even a NaN of an unknown pixel gets into the gradient.
    difference = torch.where(known, predicted - truth.to(predicted.dtype), torch.zeros_like(predicted)).abs()
    return difference.sum() / known.sum()


class DisparityErrors(Metric):
    """Error over all known pixels of the predictions at full size.

    Args:
        name: `epe`, `bad_3` or `d1`.
    """

    full_state_update = False
    total: Tensor
    pixels: Tensor

    def __init__(self, name: str = "epe") -> None:
        super().__init__()
        self.name = name
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Maps, targets: Tensor) -> None:
        """Add a batch.

        Args:
            outputs: Disparities in pixels, the last at full size.
            targets: True disparities [B, 1, H, W]; NaN or infinite where they are not known.
        """
        truth, known = truth_at(targets, *targets.shape[2:])
        error = (outputs.scales[-1].detach().float() - truth.float()).abs()
        if self.name != "epe":
            wrong = error > WRONG
            if self.name == "d1":
                wrong &= error > WRONG_SHARE * truth.abs()
            error = wrong.float()
        self.total += torch.where(known, error, torch.zeros_like(error)).sum(dtype=torch.float64)
        self.pixels += known.sum()

    def compute(self) -> Tensor:
        """Return the mean over the pixels, NaN without any."""
        return (self.total / self.pixels).float()
