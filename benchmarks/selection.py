"""DARTS-PT's evaluations in NAS-Bench-201: the product on the fast engine beside a naive loop over the reference.

One decision an edge, all six from the same supernet, at the released settings: for each of the 30 options, the accuracy
on `val` without it, with the statistics of the batch and the other weights as they are. The product loads its images
anew for each decision. The naive loop has them at hand, weighs what is masked by zero and computes everything each
time. Both must find the same accuracies.

`python -m benchmarks.selection` takes about seven minutes on two CPU cores.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.measuring import (
    add_number,
    at_most,
    configuration,
    device_of,
    new_parser,
    noise_file,
    ratio,
    show,
    take_turns,
    unit,
    write,
)
from nas_lightning.core.functional import batch_statistics
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, search_data, stages_of
from nas_lightning.searches.one_shot import OneShotModel, one_shot_of
from nas_lightning.selectors.perturbation import Criterion, Perturbation, selectable_options, worth_by_masking
from nas_lightning.training.workbench import Workbench

NAME = "selection"
CHOICE = "cell"
TARGET = 0.4
"""Time at most, as a part of the naive loop's, on the CPU at the default sizes."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    add_number(parser, "batches", 2, "batches of val for each mask")
    add_number(parser, "batch", 64, "images in a batch")
    add_number(parser, "image", 32, "height and width of the images")
    add_number(parser, "channels", 16, "channels of the first cells")
    add_number(parser, "stage-cells", 5, "cells a stage")
    return parser.parse_args(words)


class Decisions:
    """The decisions of one supernet, by the product and by the naive loop.

    Args:
        bench: The parts of a search.
        batches: Batches of `val`.
    """

    def __init__(self, bench: Workbench, batches: int) -> None:
        self.batches = batches
        self.module = build_module(bench, stages_of(bench)[0])
        self.data = search_data(bench)
        self.data.setup("fit")
        self.trainer = bench.plain_trainer([], 1, logger=False)
        device = self.trainer.strategy.root_device
        self.module.to(device)
        decisions = self.module.decisions
        rows = range(decisions.choices[CHOICE].num_rows)
        self.masks: list[list[tuple[int, int | None]]] = [
            [(row, option) for option in selectable_options(decisions, CHOICE, row)] for row in rows
        ]
        self.reference = bench.space.supernet(
            bench.data.num_classes, 3, bench.config.search.init_channels, bench.config.search.layers, engine="reference"
        )
        self.reference.load_state_dict(self.module.supernet.state_dict())
        self.reference.to(device).train()
        loaded = islice(self.data.selection_dataloader(), batches)
        self.images = [(images.to(device), targets.to(device)) for images, targets in loaded]
        self.mean = {name: weights.detach().to(device) for name, weights in self.module.mean().items()}
        self.selector: Perturbation = bench.selector
        self.found: dict[str, list[float]] = {}
        self.losses: list[float] = []

    def by_product(self) -> None:
        """As `Perturbation` decides."""
        self.found["product"] = [
            -value for masks in self.masks for value in self._worth(masks, self.selector.criterion)
        ]

    def _worth(self, masks: list[tuple[int, int | None]], criterion: Criterion) -> list[float]:
        one_shot = one_shot_of(self.module, OneShotModel(self.module, self.data, self.trainer))
        return worth_by_masking(one_shot, CHOICE, masks, criterion, self.selector.batch_norm, self.batches)

    @torch.no_grad()
    def naively(self) -> None:
        """Every masked supernet in full."""
        accuracies, self.losses = [], []
        targets = torch.cat([targets for _, targets in self.images])
        for row, option in (mask for masks in self.masks for mask in masks):
            weights = self.mean[CHOICE].clone()
            weights[row, option] = 0
            with batch_statistics(self.reference):
                outputs = torch.cat([self.reference(images, {CHOICE: weights}) for images, _ in self.images])
            accuracies.append(100 * float((outputs.argmax(dim=1) == targets).float().mean()))
            self.losses.append(float(F.cross_entropy(outputs, targets)))
        self.found["naive"] = accuracies

    def check_equal(self) -> None:
        """Losses are equal up to rounding; accuracies may differ by one image, whose two largest logits then are.

        Raises:
            AssertionError: They differ by more.
        """
        one_image = 100 / sum(len(targets) for _, targets in self.images)
        for mask, (product, naive) in enumerate(zip(self.found["product"], self.found["naive"], strict=True)):
            assert abs(product - naive) < 1.01 * one_image, f"mask {mask}: {product} % is not {naive} %"
        for product, naive in zip(self._worth(self.masks[0], "loss"), self.losses, strict=False):
            assert abs(product - naive) < 1e-4 * abs(naive), f"a loss of {product} is not {naive}"


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    device = device_of(options)
    overrides = [
        "method=darts_pt",
        "experiment=nasbench201",
        "data=arrays",
        "engine=fast",
        f"search.batch_size={options.batch}",
        f"search.init_channels={options.channels}",
        f"search.layers={options.stage_cells}",
    ]
    with tempfile.TemporaryDirectory() as name:
        # Half of the images are val.
        images = noise_file(Path(name), 2 * options.batch * options.batches, options.image)
        config = configuration(options, [*overrides, f"data.path={images}"])
        decisions = Decisions(Workbench(config, RunFolder(name)), options.batches)
        sides = {"naive": decisions.naively, "product": decisions.by_product}
        seconds = take_turns(sides, options.rounds, device)
    decisions.check_equal()
    target = TARGET if device.type == "cpu" else None
    row: dict[str, Any] = {
        "row": "nasbench201, 30 masks",
        "naive_seconds": statistics.median(seconds["naive"]),
        "product_seconds": statistics.median(seconds["product"]),
        "time_ratio": ratio(seconds["product"], seconds["naive"]),
        "time_target": target,
        "naive_rounds": seconds["naive"],
        "product_rounds": seconds["product"],
        "accuracies": decisions.found,
    }
    show(
        f"{options.batches} batches of {options.batch} images of {options.image}x{options.image}, {options.channels}"
        f" channels, {options.stage_cells} cells a stage, {options.device}, {options.threads} thread(s); medians of"
        f" {options.rounds} rounds; the accuracies of both are equal",
        ("", f"naive, {unit(device)}", "product", "ratio", "target"),
        [
            (
                row["row"],
                row["naive_seconds"],
                row["product_seconds"],
                row["time_ratio"],
                at_most(target),
            )
        ],
    )
    write(options, NAME, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
