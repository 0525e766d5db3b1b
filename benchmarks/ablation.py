"""What each idea buys in a first-order search step, one on top of the other.

    classical    the reference with a full backward pass in both halves
    lean         the reference with gradients only for what a half updates
    layout       the same in channels_last
    fast         the fast engine

`python -m benchmarks.ablation`: batch 16 of 32×32, 16 channels, 8 cells.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks import search_step
from benchmarks.measuring import add_number, device_of, new_parser, ratio, show, take_turns, unit, write

NAME = "ablation"
SPACES = ("darts", "s3", "nasbench201")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES), help="what is searched")
    add_number(parser, "batch", 16, "images of a step, in either batch")
    add_number(parser, "image", 32, "height and width of the images")
    add_number(parser, "classes", 10, "classes")
    add_number(parser, "channels", 16, "channels of the first cells")
    add_number(parser, "cells", 8, "cells")
    add_number(parser, "stage-cells", 5, "cells a stage, in nasbench201")
    return parser.parse_args(words)


def sides(space: str, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The steps that are compared."""
    bench = search_step.Bench(space, argparse.Namespace(**vars(options), nodes=None))
    last = search_step.Bench(space, argparse.Namespace(**vars(options), nodes=None))
    last.batches = tuple(  # type: ignore[assignment]
        (images.contiguous(memory_format=torch.channels_last), targets) for images, targets in last.batches
    )
    return {
        "classical": bench.classical(),
        "lean": bench.searching(bench.net("reference"), "first order").step,
        "layout": last.searching(last.net("reference"), "first order").step,
        "fast": bench.side("first order"),
    }


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    rows: list[dict[str, Any]] = []
    for space in options.spaces:
        steps = sides(space, options)
        for step in steps.values():
            step()  # sets up what is set up only once
        found = take_turns(steps, options.rounds, device_of(options))
        rows += [
            {"space": space, "step": name, "seconds": statistics.median(seconds),
             "ratio": ratio(seconds, found["classical"])}
            for name, seconds in found.items()
        ]  # fmt: skip
    show(
        f"a first-order step: batch {options.batch}, {options.channels} channels, {options.cells} cells, CPU"
        f" thread(s): {options.threads}; medians of {options.rounds} rounds",
        ("space", "step", unit(device_of(options)), "ratio to classical"),
        [(row["space"], row["step"], row["seconds"], row["ratio"]) for row in rows],
    )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
