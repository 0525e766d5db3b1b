"""How fast the images of a search are loaded and augmented, beside how fast its steps use them.

50,000 images of noise of CIFAR's size lie in memory. Both streams of a search take the way of a Trainer's batches:
loaders, transfer, and augmentation on the device if that is a GPU. The step is the fast first-order step in the
supernet of NAS-Bench-201, the quickest of the published ones. Seconds are those of the clock.

`python -m benchmarks.data_pipeline` takes a minute or two on two CPU cores.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import add_number, configuration, device_of, new_parser, noise_file, show, write
from benchmarks.search_step import Bench
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import search_data
from nas_lightning.training.workbench import Workbench

NAME = "data_pipeline"
SPACE = "nasbench201"
Batches = Generator[dict[str, Any], None, None]


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__, rounds=False)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], metavar="N", help="numbers of processes")
    add_number(parser, "images", 50_000, "images in memory, half of them in either stream")
    add_number(parser, "batch", 64, "images of a step, in either batch")
    add_number(parser, "image", 32, "height and width of the images")
    add_number(parser, "channels", 16, "channels of the first cells")
    add_number(parser, "stage-cells", 5, "cells a stage")
    add_number(parser, "loads", 100, "batches that are loaded without a step")
    add_number(parser, "steps", 5, "steps with loaded batches")
    parser.set_defaults(cells=None, nodes=None, classes=10)
    options = parser.parse_args(words)
    needed = 2 * options.batch * (1 + options.loads + options.steps)
    if options.images < needed:
        parser.error(f"--images {options.images}: one pass must suffice; use at least --images {needed}")
    return options


class Clock:
    """Tells how long it is since it was last read, after waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last = 0.0

    def read(self) -> float:
        """Seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        before, self.last = self.last, time.perf_counter()
        return self.last - before


def batches(options: argparse.Namespace, folder: Path, file: Path, workers: int) -> Batches:
    """One pass of both streams, on the device."""
    overrides = [
        f"space={SPACE}",
        "data=arrays",
        f"data.path={file}",
        f"data.num_workers={workers}",
        f"search.batch_size={options.batch}",
    ]
    bench = Workbench(configuration(options, overrides), RunFolder(folder))
    data = search_data(bench)
    data.trainer = bench.plain_trainer([], 1, logger=False)
    data.setup("fit")
    device = device_of(options)
    loaders = data.train_dataloader()
    for pair in zip(*loaders.values(), strict=True):
        batch = data.transfer_batch_to_device(dict(zip(loaders, pair, strict=True)), device, 0)
        yield data.on_after_batch_transfer(batch, 0)
    data.teardown("fit")


def measure(options: argparse.Namespace, folder: Path, file: Path, workers: int) -> dict[str, Any]:
    """Images a second without steps and of steps without loading, and how long steps wait."""
    device = device_of(options)
    bench = Bench(SPACE, options)
    searching = bench.searching(bench.net("fast"), "first order")
    searching.step()  # sets up what is set up only once
    images = 2 * options.batch
    clock = Clock(device)
    clock.read()
    for _ in range(options.steps):
        searching.step()
    used = images * options.steps / clock.read()

    loaded = batches(options, folder, file, workers)
    next(loaded)  # starts the workers
    clock.read()
    for _ in range(options.loads):
        next(loaded)
    found = images * options.loads / clock.read()

    waited = worked = 0.0
    for _ in range(options.steps):
        batch = next(loaded)
        waited += clock.read()
        searching.train_batch, searching.arch_batch = batch["train"], batch["arch"]
        searching.step()
        worked += clock.read()
    loaded.close()
    return {
        "row": f"{workers} workers",
        "workers": workers,
        "loaded_images_a_second": found,
        "used_images_a_second": used,
        "ratio": found / used,
        "share_waiting": waited / (waited + worked),
    }


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    with tempfile.TemporaryDirectory() as name:
        file = noise_file(Path(name), options.images, options.image)
        rows = [measure(options, Path(name), file, workers) for workers in options.workers]
    show(
        f"both streams in batches of {options.batch} of {options.image}x{options.image}, {options.device},"
        f" {options.threads} thread(s); {SPACE}, {options.channels} channels, {options.stage_cells} cells a stage",
        ("", "images/s loaded", "images/s that steps use", "ratio", "% of a step waiting"),
        [
            (
                row["row"],
                row["loaded_images_a_second"],
                row["used_images_a_second"],
                row["ratio"],
                100 * row["share_waiting"],
            )
            for row in rows
        ],
    )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
