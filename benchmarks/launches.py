"""Kernel launches of a search step, counted without a GPU: operators, kernels on CUDA (an estimate), bytes moved.

The step runs on the device `meta`, with shapes and no numbers, where the code takes the branches of a GPU in float32:
what is for the CPU asks for the CPU. See `benchmarks.counting` for what is exact and what is an estimate.

    classical          the reference with a full pass backward in both halves, as in the released codes
    reference, fast    a step as `SearchModule` takes it, on either engine

A step of GDAS or RS-ws computes what numbers decide, so it runs on the CPU with two images, without what is written for
the CPU by hand; its bytes are those of two images. `--device cuda` counts on a GPU what is counted elsewhere on `meta`.

`python -m benchmarks.launches` takes minutes on one CPU core.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch

from benchmarks.counting import Counting, Launches
from benchmarks.measuring import add_number, add_sizes, new_parser, show, write
from benchmarks.search_step import METHODS, Bench, Searching
from nas_lightning.core.functional import plain_autograd

NAME = "launches"
SPACES = ("darts", "darts_nonone", "s1", "s2", "s3", "s4", "s5", "nasbench201")
ENGINES = ("reference", "fast")
CLASSICAL = "classical"
DRAWN = ("GDAS", "RS-ws")
"""Methods whose draws decide what is computed."""
BATCH_OF_DRAWN = 2
PHASES = ("arch", "arch backward", "weights", "weights backward", "optimizer")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__, rounds=False)
    parser.set_defaults(device="meta")
    parser.add_argument("--space", nargs="+", choices=SPACES, default=list(SPACES), help="what is searched")
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=["first order"], help="how")
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES), help="on what")
    parser.add_argument(
        "--operators",
        type=int,
        choices=range(100),
        default=0,
        metavar="N",
        help="also show the N most frequent operators",
    )
    add_sizes(parser)
    add_number(parser, "samples", 4, "steps that are averaged where a draw decides what is computed")
    return parser.parse_args(words)


def searching(space: str, method: str, engine: str, options: argparse.Namespace) -> Searching:
    """A search on the device that its numbers need, as a GPU would run it: optimizers update many tensors in a call."""
    sizes = {"nodes": None, **vars(options)}
    if method in DRAWN and options.device == "meta":
        sizes |= {"device": "cpu", "batch": BATCH_OF_DRAWN}
    bench = Bench(space, argparse.Namespace(**sizes))
    net: Any = bench.net(engine)
    if bench.device.type == "cpu":
        net.layout = lambda images: images  # a GPU has channels_last in low precision only
    return bench.searching(net, method, foreach=True)


def count(search: Searching, classical: bool = False, steps: int = 1) -> Counting:
    """Count steps of a search, after one that sets up what is set up only once."""
    counting = Counting(search.train_batch[0].device.type)
    arch: Callable[[], None] = search.arch_step
    weights: Callable[[], None] = search.weight_step
    if classical:
        arch = lambda: search.classical_half(search.arch_batch, search.adam)  # noqa: E731
        weights = lambda: search.classical_half(search.train_batch, search.sgd)  # noqa: E731
    for optimizer in (search.sgd, search.adam):
        _count_as_optimizer(optimizer, counting)
    # No gradients by hand, which are for the CPU.
    with plain_autograd() if counting.device == "cpu" else nullcontext():
        (search.classical_step if classical else search.step)()
        with counting:
            for _ in range(steps):
                if search.hypergradient.learns:
                    with counting.phase("arch"):
                        arch()
                with counting.phase("weights"):
                    weights()
                search.num_steps += not classical  # which the draws are keyed by
    return counting


def _count_as_optimizer(optimizer: torch.optim.Optimizer, counting: Counting) -> None:
    blocks = ExitStack()
    optimizer.register_step_pre_hook(lambda *_: blocks.enter_context(counting.phase("optimizer")) and None)
    optimizer.register_step_post_hook(lambda *_: blocks.close())


def row_of(space: str, method: str, engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Numbers of a step, averaged where draws decide; `engine` may be `classical`."""
    classical = engine == CLASSICAL
    search = searching(space, method, "reference" if classical else engine, options)
    steps = options.samples if method in DRAWN else 1
    counting = count(search, classical, steps)
    images = search.train_batch[0]

    def numbers(launches: Launches) -> dict[str, float]:
        return {name: value if steps == 1 else value / steps for name, value in vars(launches).items()}

    return {
        "space": space,
        "method": method,
        "engine": engine,
        "device": images.device.type,
        "batch": len(images),
        "steps": steps,
        **numbers(counting.total),
        "phases": {name: numbers(launches) for name, launches in counting.phases.items()},
        "by_operator": dict(counting.operators.most_common()),
        # On the CPU nothing tells the numbers of a device from those of the host.
        "host_reads": None if images.device.type == "cpu" else dict(counting.reads),
        "copies": None if images.device.type == "cpu" else dict(counting.copies),
    }


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows that were asked for, in numbers."""
    rows: list[dict[str, Any]] = []
    for space in options.space:
        for method in options.method:
            classical = [CLASSICAL] if method == "first order" and "reference" in options.engine else []
            for engine in [*classical, *options.engine]:
                rows.append(row_of(space, method, engine, options))
                print(f"{space}, {method}, {rows[-1]['engine']}: {rows[-1]['operators']:.0f} operators", flush=True)
    return rows


def show_rows(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    show(
        f"a step: batch {options.batch} of {options.image}x{options.image} (GDAS, RS-ws: {BATCH_OF_DRAWN}),"
        f" {options.channels} channels, {options.cells} cells ({options.stage_cells} a stage in nasbench201), float32,"
        f" torch {torch.__version__}; operators are counted, kernels on CUDA are an estimate, GB are all inputs and"
        " outputs; on the right kernels forward and backward of the architecture's half and of the weights', and of the"
        " optimizers",
        ("", "engine", "operators", "kernels", "GB", "arch f", "arch b", "weights f", "weights b", "optim."),
        [
            (
                f"{row['space']}, {row['method']}",
                row["engine"],
                round(row["operators"]),
                round(row["kernels"]),
                row["bytes"] / 1e9,
                *(round(row["phases"].get(phase, {}).get("kernels", 0)) for phase in PHASES),
            )
            for row in rows
        ],
    )
    for row in rows if options.operators else []:
        show(
            f"{row['space']}, {row['method']}, {row['engine']}: operators, {row['steps']} step(s)",
            ("operator", "calls"),
            Counter(row["by_operator"]).most_common(options.operators),
        )
    for row in rows:
        for kind in ("host_reads", "copies"):
            if row[kind]:
                print(f"{row['space']}, {row['method']}, {row['engine']}: {kind} {row[kind]}")


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    rows = compare(options)
    show_rows(options, rows)
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
