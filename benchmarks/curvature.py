"""What a measurement of the curvature costs, in units of one forward-backward pass in the architecture parameters.

`python -m benchmarks.curvature --help` lists the sizes; the defaults take a minute or two on one core. Other tables:

    --dominant    the dominant eigenvalue on the fast engine beside the Hessian of the reference, row by row; minutes
    --full        one row of the Hessian at the size of a published search, once; about 13 GB
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from benchmarks.measuring import (
    add_number,
    at_most,
    build_space,
    device_of,
    mib,
    new_parser,
    noise,
    peak_growth,
    ratio,
    seconds_of,
    show,
    take_turns,
    unit,
    write,
)
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.curvature import hessian, measure
from nas_lightning.curvature.products import hessian_products
from nas_lightning.relaxations import Softmax

NAME = "curvature"
SIZES = {
    "units": {"batch": 4, "channels": 2, "layers": 3, "image": 8, "threads": 1, "rounds": 1},
    "dominant": {"batch": 8, "channels": 4, "layers": 3, "image": 32, "threads": 1, "rounds": 1},
    "full": {"batch": 64, "channels": 16, "layers": 8, "image": 32, "rounds": 1},
}
"""Default sizes of each table."""
TARGET = 0.1
"""Of `--dominant`: time at most, as a part of the Hessian's, on the CPU at the default sizes."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("--space", default="darts", help="a space of conf/space (default: %(default)s)")
    parser.add_argument("--engine", default="fast", help="fast or reference, not for --dominant (default: %(default)s)")
    parser.add_argument("--repeats", dest="rounds", type=int, default=argparse.SUPPRESS, help="the same as --rounds")
    tables = parser.add_mutually_exclusive_group()
    for table, meaning in (("dominant", "that table, with sizes of its own"), ("full", "likewise")):
        tables.add_argument(f"--{table}", dest="table", action="store_const", const=table, help=meaning)
    add_number(parser, "batch", 4, "images in the batch")
    add_number(parser, "channels", 2, "channels of the first cell")
    add_number(parser, "layers", 3, "cells")
    add_number(parser, "image", 8, "height and width of the images")
    parser.set_defaults(table="units", **SIZES["units"])
    table = parser.parse_args(words).table
    parser.set_defaults(**SIZES[table])
    return parser.parse_args(words)


@dataclass(frozen=True)
class Problem:
    """What is differentiated.

    Args:
        net: A supernet in train mode.
        loss_of_arch: Its loss on one batch of noise.
        arch: The architecture parameters of the first epoch.
    """

    net: nn.Module
    loss_of_arch: Callable[[Tensors], Tensor]
    arch: Tensors

    def gradient(self) -> None:
        """One forward-backward pass."""
        leaves = {name: a.clone().requires_grad_() for name, a in self.arch.items()}
        with frozen_batch_stats(self.net):
            torch.autograd.grad(self.loss_of_arch(leaves), list(leaves.values()))


def build(options: argparse.Namespace, engine: str) -> Problem:
    """The same problem on any engine."""
    device = device_of(options)
    torch.manual_seed(0)
    space = build_space(options.space)
    net = space.supernet(init_channels=options.channels, layers=options.layers, engine=engine).to(device).train()
    relaxation = Softmax()
    first = relaxation.init(space.choices, torch.Generator().manual_seed(0))
    images, targets = noise(options.batch, options.image, 10, device)
    weights = {name: weight.detach() for name, weight in net.named_parameters()}

    def loss_of_arch(a: Tensors) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (images, relaxation.mean(a))), targets)

    return Problem(net, loss_of_arch, {name: a.to(device) for name, a in first.items()})


def units(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything in units of a pass, on one engine."""
    problem, device = build(options, options.engine), device_of(options)
    loss, arch, net = problem.loss_of_arch, problem.arch, problem.net
    products: dict[str, int] = {}

    def counted(name: str, run: Callable[[], int | None], times: int) -> Callable[[], None]:
        def repeated() -> None:
            for _ in range(times):
                products[name] = run() or 0

        return repeated

    # The cheap rows are taken more often in each round.
    rows: dict[str, tuple[Callable[[], int | None], int]] = {
        "forward-backward": (problem.gradient, 5),
        "Lanczos": (lambda: measure(loss, arch, net).products, 3),
        "Hessian, batched": (lambda: len(hessian(loss, arch, net)), 1),
        "Hessian, by row": (lambda: len(hessian(loss, arch, net, chunk=1)), 1),
    }
    problem.gradient()
    sides = {name: counted(name, *row) for name, row in rows.items()}
    found = take_turns(sides, options.rounds, device)
    seconds = {name: statistics.median(values) / rows[name][1] for name, values in found.items()}
    return [
        {
            "row": name,
            "seconds": value,
            "time_ratio": value / seconds["forward-backward"],
            **({"products": count, "seconds_a_product": value / count} if (count := products[name]) else {}),
        }
        for name, value in seconds.items()
    ]


def dominant(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The largest eigenvalue by Lanczos on the fast engine and by all rows of the reference's Hessian."""
    device = device_of(options)
    fast, reference = build(options, "fast"), build(options, "reference")
    found: dict[str, tuple[float, int]] = {}

    def by_lanczos() -> None:
        measured = measure(fast.loss_of_arch, fast.arch, fast.net)
        found["fast"] = measured.value, measured.products

    def by_rows() -> None:
        measured = measure(reference.loss_of_arch, reference.arch, reference.net, exact=True, chunk=1)
        found["reference"] = measured.value, measured.products

    fast.gradient()
    reference.gradient()
    seconds = take_turns({"reference": by_rows, "fast": by_lanczos}, options.rounds, device)
    (value, _), (exact, _) = found["fast"], found["reference"]
    assert abs(value - exact) < 1e-2 * abs(exact), f"the eigenvalues are {value} and {exact}"
    return [
        {
            "row": row,
            "seconds": statistics.median(seconds[side]),
            "time_ratio": ratio(seconds[side], seconds["reference"]),
            "time_target": TARGET if side == "fast" and device.type == "cpu" else None,
            "rounds": seconds[side],
            "products": found[side][1],
            "eigenvalue": found[side][0],
        }
        for side, row in (("reference", "Hessian, by row (reference)"), ("fast", "dominant eigenvalue (fast)"))
    ]


def full(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row of the Hessian: the gradient with its graph, then a product."""
    problem, device = build(options, options.engine), device_of(options)
    seconds: list[float] = []

    def one_row() -> None:
        with hessian_products(problem.loss_of_arch, problem.arch, problem.net) as products:
            products(torch.eye(1, products.size, dtype=torch.float64)[0])

    grown = peak_growth(lambda: seconds.append(seconds_of(one_row, device)), device)
    return [{"row": f"a row of the Hessian ({options.engine})", "seconds": seconds[0], "bytes": grown}]


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    rows = {"units": units, "dominant": dominant, "full": full}[options.table](options)
    columns: dict[str, tuple[str, Callable[[Any], object]]] = {
        "row": ("", str),
        "seconds": (unit(device_of(options)), float),
        "time_ratio": ("ratio", float),
        "time_target": ("target", at_most),
        "products": ("products", int),
        "seconds_a_product": ("a product", float),
        "eigenvalue": ("eigenvalue", float),
        "bytes": ("MiB", mib),
    }
    columns = {key: column for key, column in columns.items() if any(key in row for row in rows)}
    size = sum(choice.num_rows * choice.num_options for choice in build_space(options.space).choices.values())
    show(
        f"{options.space}: {size} architecture parameters, {options.layers} cells of {options.channels} channels,"
        f" {options.batch} images of {options.image}x{options.image}, {options.device}, {options.threads} thread(s);"
        f" medians of {options.rounds} round(s)",
        [title for title, _ in columns.values()],
        [[None if row.get(key) is None else cell(row[key]) for key, (_, cell) in columns.items()] for row in rows],
    )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
