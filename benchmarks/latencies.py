"""What a sum of latencies, measured operation by operation, says of whole networks.

As `task=costs` does, every operation of a space is timed by itself on batches of one image. Networks of random
genotypes are timed whole, and their median times are held against the sums: `ratio` is measured over predicted, `rho`
Spearman's rank correlation over the networks, which is what a search by latency needs. The multiply-accumulates of the
same networks, counted by a forward pass, must be the sums of those of their operations to the last one.

`python -m benchmarks.latencies` takes about two minutes on one CPU core.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from benchmarks.measuring import add_number, configuration, device_of, new_parser, noise_file, show, write
from nas_lightning.core.costs import CostTable
from nas_lightning.core.functional import macs_of
from nas_lightning.deployment.latency import median_milliseconds, operation_latencies
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.workbench import Workbench

NAME = "latencies"
WORDS = {
    "mobilenet_small": ["space=mobilenet_small"],
    "s3": ["space=s3", "evaluation.init_channels=16", "evaluation.layers=8"],
    "nasbench201": ["space=nasbench201", "evaluation=nasbench201"],
}
"""Words of each space, whose networks read the images of the options."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__, rounds=False)
    parser.add_argument("--spaces", nargs="+", choices=list(WORDS), default=list(WORDS), help="spaces to measure")
    add_number(parser, "networks", 20, "random genotypes of each space")
    add_number(parser, "milliseconds", 300, "after which no further call of an operation or network is begun")
    add_number(parser, "image", 64, "side of the images")
    return parser.parse_args(words)


def measure(space: str, images_file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time the operations of a space and whole networks of it.

    Raises:
        ValueError: The multiply-accumulates of a network are not the sum of those of its operations.
    """
    device = device_of(options)
    words = ["data=arrays", f"data.path={images_file}", *WORDS[space]]
    bench = Workbench(configuration(options, words), RunFolder(Path("unused")))
    unit = bench.evaluator.unit(bench)
    images = torch.randn(unit.shape, device=device)
    clock = partial(median_milliseconds, seconds=options.milliseconds / 1000)
    latencies, rest = operation_latencies(bench.costs, images, clock)
    rows = {
        name: torch.zeros(c.num_rows, c.num_options, dtype=torch.float64) for name, c in bench.space.choices.items()
    }
    for (name, row, option), milliseconds in latencies.items():
        rows[name][row, option] = milliseconds
    table, macs = CostTable("latency", rest, rows), bench.costs.table("macs")
    predicted, measured = [], []
    for seed in range(options.networks):
        genotype = random_genotype(bench.space, seed)
        path, network = bench.space.path_of(genotype), bench.costs.build(genotype)
        counted = macs_of(network, unit)
        if counted != macs.of_path(path):
            raise ValueError(f"{space}: {counted} multiply-accumulates counted, {macs.of_path(path)} predicted")
        predicted.append(table.of_path(path))
        measured.append(clock(network.to(device).eval(), images))
    ratios = [one / other for one, other in zip(measured, predicted, strict=True)]
    return {
        "row": space,
        "networks": options.networks,
        "measured": round(statistics.median(measured), 3),
        "predicted": round(statistics.median(predicted), 3),
        "ratio": round(statistics.fmean(ratios), 3),
        "std": round(statistics.stdev(ratios), 3) if len(ratios) > 1 else None,
        "rho": round(float(stats.spearmanr(predicted, measured)[0]), 3),
    }


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    with tempfile.TemporaryDirectory() as name:
        file = noise_file(Path(name), train=100, image=options.image)
        rows = [measure(space, file, options) for space in options.spaces]
    columns = ("space", "networks", "ms measured", "ms predicted", "ratio", "std", "rho")
    show("latencies of whole networks", columns, [tuple(row.values()) for row in rows])
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
