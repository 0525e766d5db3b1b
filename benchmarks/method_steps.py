"""Seconds of a search step of every method, as a multiple of first-order DARTS.

A step is what the search does for one batch of each half: the architecture step, the weight step and what the method
adds to them. Methods take turns; the ratio is the median over rounds. What comes between steps (curvature,
repeated epochs, selection) is not in it. Methods of several stages are measured in the first; those without a supernet
have no step.

`python -m benchmarks.method_steps --threads 1` takes about half an hour at the default sizes; `--methods NAME …` fewer.
"""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.measuring import Seconds, add_number, new_parser, noise_file, now, ratio, show, write
from nas_lightning.config.compose import checked
from nas_lightning.config.schema import RootConfig
from nas_lightning.planning.measure import InSteps
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, search_data
from nas_lightning.searches.stages import plan_stages
from nas_lightning.training.workbench import Workbench

NAME = "method_steps"
BASE = "darts"
CONF = Path(__file__).parents[1] / "conf" / "method"


class Steps(L.Callback):
    """Times some steps after one that warms up, past the epochs for the weights alone; then ends the fit."""

    def __init__(self, steps: int) -> None:
        self.left = steps + 1
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: object, batch_idx: int) -> None:
        """Start the clock in an epoch with architecture steps."""
        progress, warmup = pl_module.progress, pl_module.settings.arch.warmup_epochs
        progress.search_epoch = progress.first_epoch + warmup
        self._start = now(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Stop the clock."""
        self.seconds.append(now(pl_module.device) - self._start)
        self.left -= 1
        trainer.should_stop = self.left <= 0


def step_seconds(config: RootConfig, folder: Path, steps: int) -> float:
    """Return the mean seconds of a step, over whole intervals of architecture steps."""
    bench = Workbench(config, RunFolder(folder))
    stage = plan_stages(config)[0]
    module = build_module(bench, stage)
    controls = bench.build_named("control").values()
    for control in controls:
        control.at_stage_start(module)
    module.progress.last_epoch = 2**31
    interval = module.settings.arch.interval
    timing = Steps(steps * interval)
    trainer = bench.plain_trainer(
        [timing, InSteps(controls)], max_epochs=-1, logger=False, enable_checkpointing=False, limit_val_batches=0
    )
    trainer.fit(module, datamodule=search_data(bench))
    return sum(timing.seconds[1:]) / len(timing.seconds[1:])


def configured(method: str, images: Path, options: argparse.Namespace) -> RootConfig:
    """Return the configuration of a method in the sizes of the options, on a file of images."""
    words = [
        f"method={method}",
        f"space={options.space}",
        "data=arrays",
        f"data.path={images}",
        "task=search",
        f"search.init_channels={options.channels}",
        f"search.layers={options.cells}",
        f"search.batch_size={options.batch}",
        f"threads={options.threads}",
    ]
    return checked(words)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = new_parser(NAME, __doc__)
    names = sorted(path.stem for path in CONF.glob("*.yaml"))
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help="default: all")
    parser.add_argument("--space", default="darts_nonone", help="default: %(default)s")
    add_number(parser, "batch", 16, "images of a step, in either batch")
    add_number(parser, "image", 32, "height and width of the images")
    add_number(parser, "channels", 16, "channels of the first cells")
    add_number(parser, "cells", 8, "cells")
    add_number(parser, "steps", 2, "architecture steps that are timed in each round")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips
    seconds: Seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        images = noise_file(Path(folder), 40 * options.batch, options.image)
        for turn in range(options.rounds):
            for method in dict.fromkeys((BASE, *options.methods)):
                config = configured(method, images, options)
                place = Path(folder) / f"{method}-{turn}"
                if Workbench(config, RunFolder(place)).selector.needs_supernet:
                    seconds.setdefault(method, []).append(step_seconds(config, place, options.steps))
                    print(method, seconds[method][-1], flush=True)
    rows = []
    for method, found in seconds.items():
        each = [a / b for a, b in zip(found, seconds[BASE], strict=True)]
        row = {"method": method, "ratio": ratio(found, seconds[BASE]), "least": min(each), "most": max(each)}
        rows.append({**row, "seconds": min(found)})
    write(options, NAME, rows)
    rows.sort(key=lambda row: row["ratio"])
    title = f"a search step in space={options.space}, times that of {BASE}"
    show(title, ("method", "ratio", "least", "most", "seconds"), [tuple(row.values()) for row in rows])


if __name__ == "__main__":
    main()
