"""A step of the retraining of a discrete network: the product's beside a plain one.

The product's is a batch of the evaluator's own fit, its loading excepted: optimizer, memory layout, compilation and
precision are what the configuration says. Words that the benchmark does not know are overrides, for other settings:
`trainer.precision=bf16-mixed`. The plain step is NCHW in float32, with torch's own defaults. The two take turns; the
first batches, in which things are set up or compiled, do not count.

`python -m benchmarks.evaluation_step` takes a minute on two CPU cores.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import (
    add_number,
    configuration,
    device_of,
    new_parser,
    noise_file,
    now,
    ratio,
    seconds_of,
    show,
    unit,
    write,
)
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces import genotype
from nas_lightning.spaces.network import auxiliary_fits
from nas_lightning.training.workbench import Workbench

NAME = "evaluation_step"
SIZES = {
    "cpu": {"batch": 64, "channels": 16, "layers": 8},
    "cuda": {"batch": 96, "channels": 36, "layers": 20},
}
"""Default sizes by the type of the device."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("overrides", nargs="*", help="of the configuration of the product")
    parser.add_argument("--genotype", default="darts_v2", help="of the space darts (default: %(default)s)")
    add_number(parser, "batch", 64, "images of a step; on CUDA 96")
    add_number(parser, "channels", 16, "channels of the first cells; on CUDA 36")
    add_number(parser, "layers", 8, "cells; on CUDA 20")
    add_number(parser, "image", 32, "height and width of the images")
    add_number(parser, "warm", 2, "batches that do not count")
    parser.set_defaults(**SIZES[torch.device(parser.parse_args(words).device).type])
    return parser.parse_args(words)


class TakeTurns(L.Callback):
    """Takes a plain step before each step of the product, and the time of both.

    Args:
        network: What the plain step trains.
        recipe: Its rates.
        device: Where it is.

    Attributes:
        seconds: Of both, a number a batch.
    """

    def __init__(self, network: torch.nn.Module, recipe: Recipe, device: torch.device) -> None:
        self.network = network.to(device).train()
        self.recipe, self.device = recipe, device
        self.sgd = torch.optim.SGD(
            self.network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.seconds: dict[str, list[float]] = {"plain": [], "product": []}
        self.start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The plain step; then the product's begins."""
        images, targets = batch
        images = images.contiguous()
        self.seconds["plain"].append(seconds_of(lambda: self.plain_step(images, targets), self.device))
        self.start = now(self.device)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The product's step is done, its optimizer's included."""
        self.seconds["product"].append(now(self.device) - self.start)

    def plain_step(self, images: Tensor, targets: Tensor) -> None:
        """Forward, backward, clipping, SGD."""
        outputs = self.network(images)
        logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        loss = F.cross_entropy(logits, targets)
        if auxiliary is not None:
            loss = loss + self.recipe.auxiliary * F.cross_entropy(auxiliary, targets)
        loss.backward()
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.sgd.step()
        self.sgd.zero_grad()


class WatchedBench(Workbench):
    """A workbench whose Trainers have one more callback."""

    watcher: L.Callback

    def plain_trainer(self, callbacks: Sequence[L.Callback], max_epochs: int, **others: Any) -> L.Trainer:
        """See `Workbench.plain_trainer`."""
        return super().plain_trainer([*callbacks, self.watcher], max_epochs, **others)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds of both, a number a round."""
    device = device_of(options)
    file = noise_file(folder, options.batch * (options.warm + options.rounds), options.image)
    own = [
        "task=evaluate",
        "space=darts",
        "data=arrays",
        f"data.path={file}",
        "evaluation=cifar_36x20",
        "evaluation.epochs=1",
        f"evaluation.cutout={options.image // 2}",  # as published, and it fits
        f"evaluation.batch_size={options.batch}",
        f"evaluation.init_channels={options.channels}",
        f"evaluation.layers={options.layers}",
    ]
    bench = WatchedBench(configuration(options, [*own, *options.overrides]), RunFolder(folder))
    retrain = bench.evaluator
    found = genotype(options.genotype)
    auxiliary = retrain.auxiliary > 0 and auxiliary_fits(options.image, retrain.stem)
    network = bench.space.network(
        found, bench.data.num_classes, 3, retrain.init_channels, retrain.layers, auxiliary, retrain.stem
    )
    turns = TakeTurns(network, retrain, device)
    bench.watcher = turns
    retrain(found, bench)
    return {side: values[options.warm :] for side, values in turns.seconds.items()}


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    device = device_of(options)
    with tempfile.TemporaryDirectory() as name:
        seconds = measure(options, Path(name))
    row: dict[str, Any] = {
        "row": f"{options.genotype} {' '.join(options.overrides)}".strip(),
        "plain_seconds": statistics.median(seconds["plain"]),
        "product_seconds": statistics.median(seconds["product"]),
        "time_ratio": ratio(seconds["product"], seconds["plain"]),
        "plain_rounds": seconds["plain"],
        "product_rounds": seconds["product"],
    }
    show(
        f"a step: batch {options.batch} of {options.image}x{options.image}, {options.channels} channels,"
        f" {options.layers} cells, {options.device}, {options.threads} thread(s); medians of {options.rounds} rounds",
        ("", f"plain, {unit(device)}", "product", "ratio"),
        [(row["row"], row["plain_seconds"], row["product_seconds"], row["time_ratio"])],
    )
    write(options, NAME, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
