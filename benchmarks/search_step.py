"""A search step of the fast engine beside the classical step of the reference: time and peak memory.

The classical step is that of the released codes: an architecture step and a weight step, each a full pass forward and
backward for weights and architecture parameters, of which one half is thrown away. The fast one is that of
`nas_lightning.searches.bilevel`: gradients only for what is updated.

    darts, s3, nasbench201    a first-order step
    unrolled                  a second-order step (finite difference) beside five full passes, darts
    sampled                   a step of RS-ws (weights only) and one of GDAS, darts

`python -m benchmarks.search_step` takes a few minutes and 12 GB on two CPU cores; targets hold for the CPU and the
default sizes. `--scaling` shows instead how time and memory of the fast step grow with the sizes.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import (
    Seconds,
    add_number,
    add_sizes,
    at_most,
    build_space,
    device_of,
    mib,
    new_parser,
    noise,
    peak_growth,
    peak_memory,
    ratio,
    show,
    take_turns,
    unit,
    write,
)
from nas_lightning.capture.graphs import has_graphs
from nas_lightning.capture.policy import Setting
from nas_lightning.core import draws
from nas_lightning.core.bilevel import Hypergradient, Loss, Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.hypergradients import Bilevel, FirstOrder, Nothing, SGDStep, Unrolled
from nas_lightning.relaxations import Gumbel, Softmax, Uniform
from nas_lightning.searches.passes import SupernetPasses

NAME = "search_step"
CLASSICAL = "reference"
"""The side that all others are compared with."""
GRAPHED = ", graph"
"""What the name of a method has behind it where its passes are replayed."""
METHODS: dict[str, Callable[[], tuple[Relaxation, Hypergradient]]] = {
    "first order": lambda: (Softmax(), FirstOrder()),
    "second order": lambda: (Softmax(), Unrolled()),
    "RS-ws": lambda: (Uniform(), Nothing()),
    "GDAS": lambda: (Gumbel(epochs=250), FirstOrder()),
}


@dataclass(frozen=True)
class Row:
    """One fast step of a method beside a number of classical steps of the reference in the same space.

    Args:
        group: Name that `--rows` takes.
        space: A space of conf/space.
        method: How the fast step goes, see `METHODS`.
        target: Time at most, as a part of the reference's.
        memory: Memory at most, likewise.
        steps: Classical steps that the fast one is compared with; one of them is two full passes.
        sampled: Whether the draw decides what is computed, so that several steps are averaged.
    """

    group: str
    space: str
    method: str
    target: float
    memory: float | None = None
    steps: float = 1.0
    sampled: bool = False

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.space}, {self.method}"


ROWS = (
    Row("darts", "darts", "first order", 1 / 4, memory=0.5),
    Row("s3", "s3", "first order", 0.5),
    Row("nasbench201", "nasbench201", "first order", 0.42),
    Row("unrolled", "darts", "second order", 0.6, steps=2.5),
    Row("sampled", "darts", "RS-ws", 0.2, sampled=True),
    Row("sampled", "darts", "GDAS", 0.2, sampled=True),
)
GROUPS = tuple(dict.fromkeys(row.group for row in ROWS))
BASE = {"channels": 16, "cells": 4, "batch": 16, "nodes": 4}
"""Where `--scaling` starts."""
GROWTH = {"channels": (8, 16, 32), "cells": (4, 8), "batch": (16, 32, 64), "nodes": (2, 3, 4)}
"""What it varies, one after the other."""


class Searching:
    """A search with batches of noise, for its steps.

    Args:
        net: The supernet, in train mode.
        space: Its space.
        relaxation: Architecture parameters → mixing weights.
        hypergradient: Estimator of the outer gradient.
        batches: The train batch and the arch batch.
        foreach: Whether optimizers update many tensors in a call; None is torch's choice for the device.
        graph: Whether passes are replayed as CUDA graphs, see `SupernetPasses`.
    """

    def __init__(
        self,
        net: nn.Module,
        space: Any,
        relaxation: Relaxation,
        hypergradient: Hypergradient,
        batches: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
        foreach: bool | None = None,
        graph: Setting = "off",
    ) -> None:
        self.passes = SupernetPasses(net, (), lambda: None, graph)
        self.net, self.relaxation, self.hypergradient = net, relaxation, hypergradient
        self.train_batch, self.arch_batch = batches
        first = relaxation.init(space.choices, torch.Generator().manual_seed(0))
        self.arch = {name: a.to(batches[0][0].device).requires_grad_() for name, a in first.items()}
        self.sgd = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4, foreach=foreach)
        self.adam = torch.optim.Adam(
            list(self.arch.values()), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=foreach
        )
        self.num_steps = 0

    def classical_step(self) -> None:
        """Both steps with a gradient of everything."""
        self.classical_half(self.arch_batch, self.adam)
        self.classical_half(self.train_batch, self.sgd)

    def classical_half(self, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """A step of one optimizer with a gradient of everything."""
        images, targets = batch
        F.cross_entropy(self.net(images, self.relaxation(self.arch)), targets).backward()
        optimizer.step()
        self.sgd.zero_grad()
        self.adam.zero_grad()

    def step(self) -> None:
        """Both steps as `SearchModule` takes them."""
        if self.hypergradient.learns:
            self.arch_step()
        self.weight_step()

    def arch_step(self) -> None:
        """A step of the architecture parameters."""
        with frozen_batch_stats(self.net):
            problem = Bilevel(
                self._loss_of(self.train_batch, "inner"),
                self._loss_of(self.arch_batch, "outer"),
                dict(self.net.named_parameters()),
                self.arch,
                self._inner_step(),
                lambda tensors: tensors,
            )
            found, _ = self.hypergradient(problem)
        for name, a in self.arch.items():
            a.grad = found[name]
        self.adam.step()
        self.adam.zero_grad()

    def weight_step(self) -> None:
        """A step of the weights."""
        images, targets = self.train_batch
        mixing, active = self._mixing({name: a.detach() for name, a in self.arch.items()}, "weights")
        F.cross_entropy(self.passes(images, mixing, active), targets).backward()
        self.passes.release()
        self.sgd.step()
        self.sgd.zero_grad()
        self.num_steps += 1

    def _mixing(self, arch: Tensors, pass_name: str) -> tuple[Mixing, Active | None]:
        mixing = self.relaxation(arch, 0, draws.seeded_generator(0, self.num_steps, pass_name, "mixing"))
        return mixing, self.relaxation.active(mixing)

    def _loss_of(self, batch: tuple[Tensor, Tensor], pass_name: str) -> Loss:
        images, targets = batch

        def loss(weights: Tensors, arch: Tensors) -> Tensor:
            return F.cross_entropy(self.passes(images, *self._mixing(arch, pass_name), weights), targets)

        return loss

    def _inner_step(self) -> SGDStep:
        group = self.sgd.param_groups[0]
        buffers = [self.sgd.state.get(p, {}).get("momentum_buffer") for p in group["params"]]
        return SGDStep(group["lr"], group["momentum"], group["weight_decay"], buffers)


class Bench:
    """The searches of one space at one size, on either engine.

    Args:
        space: A space of conf/space.
        options: Sizes.
    """

    def __init__(self, space: str, options: argparse.Namespace) -> None:
        self.options, self.device = options, device_of(options)
        self.space = build_space(space, **({} if options.nodes is None else {"num_nodes": options.nodes}))
        self.layers = options.stage_cells if space == "nasbench201" else options.cells
        batch = (options.image, options.classes, self.device)
        self.batches = noise(options.batch, *batch), noise(options.batch, *batch, seed=1)

    def net(self, engine: str) -> nn.Module:
        """A supernet in train mode, with the same weights on every engine."""
        torch.manual_seed(0)
        sizes = self.options
        net = self.space.supernet(sizes.classes, 3, sizes.channels, self.layers, engine=engine)
        return net.to(self.device).train()

    def searching(self, net: nn.Module, method: str, foreach: bool | None = None, graph: Setting = "off") -> Searching:
        """A search by one of `METHODS`."""
        return Searching(net, self.space, *METHODS[method](), self.batches, foreach, graph)

    def classical(self) -> Callable[[], None]:
        """The step of the reference."""
        return self.searching(self.net("reference"), "first order").classical_step

    def side(self, name: str) -> Callable[[], None]:
        """The step of the reference, or of a method on the fast engine."""
        return self.classical() if name == CLASSICAL else self.searching(self.net("fast"), name).step


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("--rows", nargs="+", choices=GROUPS, default=list(GROUPS), help="what is measured")
    parser.add_argument("--scaling", action="store_true", help="how the fast first-order step of darts grows, instead")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--graph", action="store_true", help="also the fast step by CUDA graphs (on a GPU only)")
    add_sizes(parser)
    parser.add_argument("--nodes", type=int, metavar="N", help="intermediate nodes of a cell (default: of the space)")
    add_number(parser, "samples", 4, "steps a round where the draw decides what is computed")
    options = parser.parse_args(words)
    if options.graph and not has_graphs(torch.device(options.device)):
        parser.error(f"--graph: there are no CUDA graphs on {options.device}")
    return options


def check_equal(bench: Bench) -> None:
    """Run both engines once on a few images: they must agree, and what is set up only once is set up."""
    images = bench.batches[0][0][:4]
    mixing = {name: choice.uniform().to(bench.device) for name, choice in bench.space.choices.items()}
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):  # whose rounding is coarser than the difference
        outputs = [bench.net(engine)(images, mixing) for engine in ("reference", "fast")]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)


def time_of(bench: Bench, rows: Sequence[Row]) -> Seconds:
    """Seconds of the classical step and of each row's fast step, of one space."""
    samples = bench.options.samples

    def repeated(step: Callable[[], None], times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                step()

        return run

    net = bench.net("fast")
    times = {row.method: samples if row.sampled else 1 for row in rows}
    sides = {method: repeated(bench.searching(net, method).step, count) for method, count in times.items()}
    if bench.options.graph:
        for method, count in list(times.items()):
            step = bench.searching(net, method, graph="required").step
            step()  # captures
            times[method + GRAPHED] = count
            sides[method + GRAPHED] = repeated(step, count)
    found = take_turns({CLASSICAL: bench.classical(), **sides}, bench.options.rounds, bench.device)
    return {name: [value / times.get(name, 1) for value in values] for name, values in found.items()}


def compare(options: argparse.Namespace, words: Sequence[str]) -> list[dict[str, Any]]:
    """All rows that were asked for, in numbers."""
    rows: list[dict[str, Any]] = []
    chosen = [row for row in ROWS if row.group in options.rows]
    targets = device_of(options).type == "cpu"
    memory: dict[tuple[str, str], int] = {}  # first, because this process will not give all of its memory back
    for space in [] if options.no_memory else [row.space for row in chosen if row.method == "first order"]:
        memory |= {(space, side): peak_memory(NAME, words, f"{space}:{side}") for side in (CLASSICAL, "first order")}
    for space in dict.fromkeys(row.space for row in chosen):
        mine = [row for row in chosen if row.space == space]
        bench = Bench(space, options)
        check_equal(bench)
        seconds = time_of(bench, mine)
        for row in mine:
            baseline = [row.steps * value for value in seconds[CLASSICAL]]
            value: dict[str, Any] = {
                "row": row.name,
                "reference_seconds": statistics.median(baseline),
                "fast_seconds": statistics.median(seconds[row.method]),
                "time_ratio": ratio(seconds[row.method], baseline),
                "time_target": row.target if targets else None,
                "reference_rounds": baseline,
                "fast_rounds": seconds[row.method],
            }
            if options.graph:
                graphed = seconds[row.method + GRAPHED]
                value |= {"graph_seconds": statistics.median(graphed), "graph_ratio": ratio(graphed, baseline)}
                value["graph_rounds"] = graphed
            if (space, row.method) in memory:
                reference, fast = memory[space, CLASSICAL], memory[space, row.method]
                value |= {
                    "reference_bytes": reference,
                    "fast_bytes": fast,
                    "memory_ratio": fast / max(1, reference),
                    "memory_target": row.memory if targets else None,
                }
            print(f"{row.name}: {value['time_ratio']:.3f} of the time", flush=True)
            rows.append(value)
    return rows


def show_comparison(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    seconds = unit(device_of(options))
    columns: tuple[str, ...] = ("", f"reference, {seconds}", "fast", "ratio", "target")
    columns += (*(("graph", "ratio") if options.graph else ()), "reference, MiB", "fast", "ratio", "target")
    show(
        f"a step: batch {options.batch} of {options.image}x{options.image}, {options.channels} channels,"
        f" {options.cells} cells ({options.stage_cells} a stage in nasbench201), {options.device},"
        f" {options.threads} thread(s); medians of {options.rounds} rounds; second order beside five full passes (2.5"
        " classical steps), all others beside a classical step",
        columns,
        [
            (
                row["row"],
                row["reference_seconds"],
                row["fast_seconds"],
                row["time_ratio"],
                at_most(row["time_target"]),
                *((row["graph_seconds"], row["graph_ratio"]) if options.graph else ()),
                mib(row.get("reference_bytes")),
                mib(row.get("fast_bytes")),
                row.get("memory_ratio"),
                at_most(row.get("memory_target")),
            )
            for row in rows
        ],
    )


def scaling(options: argparse.Namespace, words: Sequence[str]) -> list[dict[str, Any]]:
    """The fast first-order step at sizes around `BASE`, one varied at a time."""
    rows: list[dict[str, Any]] = []
    sizes = [{**BASE, name: value, "varied": name} for name, values in GROWTH.items() for value in values]
    measured: dict[tuple[Any, ...], tuple[float, int | None]] = {}
    for size in sizes:
        varied = size.pop("varied")
        key = tuple(size.values())
        if key not in measured:
            there = argparse.Namespace(**{**vars(options), **size})
            added = [word for name, value in size.items() for word in (f"--{name}", str(value))]
            memory = None if options.no_memory else peak_memory(NAME, [*words, *added], "darts:first order")
            bench = Bench("darts", there)
            step = bench.side("first order")
            step()  # sets up what is set up only once
            found = take_turns({"step": step}, options.rounds, bench.device)["step"]
            measured[key] = statistics.median(found), memory
        seconds, memory = measured[key]
        rows.append({"varied": varied, **size, "seconds": seconds, "bytes": memory})
    return rows


def show_scaling(options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    (base, *_) = [row for row in rows if all(row[name] == value for name, value in BASE.items())]
    show(
        f"a fast first-order step of darts, images {options.image}x{options.image}, {options.device},"
        f" {options.threads} thread(s); medians of {options.rounds} rounds; ratios to"
        f" {', '.join(f'{value} {name}' for name, value in BASE.items())}",
        ("varied", "channels", "cells", "batch", "edges", unit(device_of(options)), "ratio", "MiB", "ratio"),
        [
            (
                row["varied"],
                row["channels"],
                row["cells"],
                row["batch"],
                sum(range(2, 2 + row["nodes"])),
                row["seconds"],
                row["seconds"] / base["seconds"],
                mib(row["bytes"]),
                None if row["bytes"] is None else row["bytes"] / max(1, base["bytes"]),
            )
            for row in rows
        ],
    )


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    if options.memory_of:
        space, _, side = options.memory_of.partition(":")
        bench = Bench(space, options)
        print(peak_growth(bench.side(side), bench.device))
        return
    measured, shown = (scaling, show_scaling) if options.scaling else (compare, show_comparison)
    rows = measured(options, words)
    shown(options, rows)
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
