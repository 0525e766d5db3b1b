"""The evaluator that trains a network of disparities from scratch and measures it beside what needs no training."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core import ranks
from nas_lightning.core.batches import Maps
from nas_lightning.core.space import Kind
from nas_lightning.data.block_matching import block_matching
from nas_lightning.data.stereo import StereoData, stacked
from nas_lightning.data.stereo_motorcycle import motorcycle
from nas_lightning.disparity.network import DisparityNetwork
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.training import AdamTraining
from nas_lightning.objectives import DisparityErrors
from nas_lightning.reports.disparities import save_disparities
from nas_lightning.training.workbench import Workbench

BATCH = 8
"""Pairs that are measured at once."""
DRAWN = 3
"""Test pairs that are drawn."""
PAIRS = 128
"""Test pairs that are compared at most: block matching is slow on large ones."""
REFERENCES = {"block_matching": "block matching", "constant": "the mean disparity of training"}
"""What needs no training, and its words."""
METRICS = ("epe", "bad_3", "d1")


@dataclass(frozen=True, kw_only=True)
class StereoTraining(AdamTraining):
    """Trains on pairs by Adam, and measures the test pairs by every metric, beside two baselines.

    Source of the published recipe: Zela et al., RobustDARTS (ICLR 2020), appendix F: Adam from 1e-4 to 0 by a cosine.

    Args:
        init_channels: Width C of the network.
        augmentation: Factor of the variances of the augmentation of the training; None: that of the data, as in the
            search.
    """

    inputs: ClassVar[Kind] = "stereo"

    init_channels: Annotated[int, Field(ge=1)]
    augmentation: Annotated[float, Field(ge=0)] | None = None

    def training_data(self, bench: Workbench) -> Any:
        """Build the data module of the training, with the recipe's own augmentation if it has one."""
        module = super().training_data(bench)
        if self.augmentation is not None:
            bench.data.prepare()  # before the copy, which then shares the pairs
            module.data = copy(bench.data)
            module.data.augmentation = self.augmentation
        return module

    def sizes(self) -> dict[str, Any]:
        """Return the width."""
        return {"init_channels": self.init_channels}

    def _results(
        self, module: EvaluationModule, result: Mapping[str, float], bench: Workbench, epochs: int
    ) -> dict[str, Any]:
        """Return what every training returns and, of the test part, the comparison with what needs no training."""
        found = super()._results(module, result, bench, epochs)
        data = bench.data
        if self.measured_on == "test" and isinstance(data, StereoData):
            compare = compared(module.network, data)
            values = {name: compare[key][bench.objective.metric] for key, name in REFERENCES.items()}
            found |= {"references": values, "compared": compare}
            draw(module.network, data, bench.folder.plots)
            if isinstance(module.network, DisparityNetwork):
                structure = module.network.body.structure
                reach = min(structure.reach, data.max_disparity)  # larger ones it has never seen
                found["motorcycle"] = on_motorcycle(module.network, data, reach, structure.multiple)
        return found


def compared(network: nn.Module, data: StereoData) -> dict[str, dict[str, float]]:
    """Measure a network, block matching, and the mean disparity of training, on the same test pairs.

    Args:
        network: Maps pairs to disparities.
        data: Where the pairs come from; of more than `PAIRS` test pairs, so many are taken, evenly spaced.

    Returns:
        By `network`, `block_matching` and `constant`: `epe` in px, `bad_3` and `d1` in %, and `epe_visible`, the
        end-point error of pixels that the right image shows, where the data know them.
    """
    number = len(data.test_labels)
    chosen = np.unique(np.linspace(0, number - 1, min(number, PAIRS)).round().astype(int)).tolist()
    errors = {name: Errors() for name in ("network", "block_matching", "constant")}
    for start in range(0, len(chosen), BATCH):
        indices = chosen[start : start + BATCH]
        pairs, truth = stacked(data, "test", indices)
        hidden = [data.occluded(index) for index in indices]
        visible = (
            None if any(one is None for one in hidden) else ~torch.stack([one for one in hidden if one is not None])
        )
        predictions = {
            "network": predicted(network, data, pairs),
            "block_matching": block_matching(pairs, round(data.max_disparity)),
            "constant": torch.full_like(truth, data.mean_disparity),
        }
        for name, prediction in predictions.items():
            errors[name].add(prediction, truth, visible)
    return {name: one.values() for name, one in errors.items()}


@ranks.first_only
def draw(network: nn.Module, data: StereoData, folder: Path) -> None:
    """Write `disparity.png` of the first test pairs; see `save_disparities`."""
    pairs, truth = stacked(data, "test", range(min(DRAWN, len(data.test_labels))))
    prediction = predicted(network, data, pairs)
    left = pairs[:, : data.in_channels].permute(0, 2, 3, 1)
    save_disparities(left.numpy(), truth[:, 0].numpy(), prediction[:, 0].numpy(), folder)


def predicted(network: nn.Module, data: StereoData, pairs: Tensor) -> Tensor:
    """Return the disparities [B, 1, H, W] that a network predicts for pairs [B, 2·C, H, W] in [0, 1], on the CPU."""
    device = next(network.parameters()).device
    training = network.training
    images = torch.stack([torch.cat([data.normalised(image) for image in pair.chunk(2)]) for pair in pairs])
    network.eval()
    with torch.no_grad():
        maps: Maps = network(images.to(device))
    network.train(training)
    return maps.scales[-1].float().cpu()


class Errors:
    """Every metric of predictions, and the end-point error of the visible pixels alone."""

    def __init__(self) -> None:
        self.all = {name: DisparityErrors(name) for name in METRICS}
        self.visible = DisparityErrors("epe")

    def add(self, prediction: Tensor, truth: Tensor, visible: Tensor | None) -> None:
        """Add predictions and truths [B, 1, H, W]; `visible`, boolean, is None where that is not known."""
        maps = Maps((prediction,))
        for metric in self.all.values():
            metric.update(maps, truth)
        if visible is not None:
            self.visible.update(maps, torch.where(visible, truth, torch.nan))

    def values(self) -> dict[str, float]:
        """Return the values by name, rounded for a summary."""
        found = {name: (1 if name == "epe" else 100) * float(metric.compute()) for name, metric in self.all.items()}
        if self.visible.pixels > 0:
            found["epe_visible"] = float(self.visible.compute())
        return {name: round(value, 4) for name, value in found.items()}


def on_motorcycle(network: nn.Module, data: StereoData, reach: float, multiple: int) -> dict[str, dict[str, float]]:
    """Measure a network and block matching on a real pair that no part of the training is like.

    Args:
        network: Maps pairs to disparities.
        data: Where the network's training pairs come from: they normalise.
        reach: Largest disparity that the network sees, in pixels.
        multiple: What rows and columns must be a multiple of.

    Returns:
        As `compared`; nothing where scikit-image is not installed, or the network reaches too few pixels for the pair.
    """
    pair = motorcycle(reach, multiple)
    if pair is None:
        return {}
    left, right, truth = (image[None] for image in pair)
    pairs = torch.cat([left, right], dim=1)
    found = {}
    for name, prediction in (
        ("network", predicted(network, data, pairs)),
        ("block_matching", block_matching(pairs, round(reach))),
        ("constant", torch.full_like(truth, data.mean_disparity)),
    ):
        errors = Errors()
        errors.add(prediction, truth, None)
        found[name] = errors.values()
    return found
