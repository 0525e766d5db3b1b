"""How busy a device is in a search step: its kernels, the time that they take, and the time of the step.

`python -m benchmarks.busy --device cuda` profiles a first-order step of the fast engine in each space, eager and by
CUDA graphs. Beside it stand the kernels that `benchmarks.launches` estimates without a GPU. On a CPU the innermost
operators stand in for kernels, and there are no graphs.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import launches, search_step
from benchmarks.measuring import SIZES, add_sizes, device_of, new_parser, seconds_of, show, write

NAME = "busy"
SPACES = ("darts", "s3", "nasbench201")


def kernels_of(run: Callable[[], object], device: torch.device) -> tuple[int, float]:
    """Number of kernels that a run launches, and the seconds that they take together."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        run()
        if cuda:
            torch.cuda.synchronize(device)
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    events = [event for event in profiler.events() if event.device_type == kind and not event.cpu_children]
    seconds = sum(event.device_time_total if cuda else event.self_cpu_time_total for event in events)
    return len(events), seconds / 1e6


def row_of(space: str, graph: bool, words: Sequence[str]) -> dict[str, Any]:
    """A space in numbers, eager or by graphs."""
    options = search_step.arguments(words)
    bench = search_step.Bench(space, options)
    setting: Any = "required" if graph else "off"
    step = bench.searching(bench.net("fast"), "first order", graph=setting).step
    for _ in range(2):
        step()  # captures, chooses algorithms
    seconds = min(seconds_of(step, bench.device) for _ in range(options.rounds))
    kernels, busy = kernels_of(step, bench.device)
    estimate = None  # of what is no kernel: the CPU computes in another way
    if bench.device.type == "cuda":
        estimate = launches.row_of(space, "first order", "fast", launches.arguments(_on_meta(words)))["kernels"]
    return {
        "space": space,
        "graph": graph,
        "kernels": kernels,
        "kernels_estimate": estimate,
        "step_seconds": seconds,
        "busy_seconds": busy,
        "busy": busy / seconds,
    }


def _on_meta(words: Sequence[str]) -> list[str]:
    """The same sizes, without the device and the number of rounds."""
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return [word for name, value in pairs if name not in ("--device", "--rounds") for word in (name, value)]


def main(words: Sequence[str]) -> None:
    parser = new_parser(NAME, __doc__)
    parser.add_argument("--space", nargs="+", choices=SPACES, default=list(SPACES), help="what is searched")
    add_sizes(parser)
    options = parser.parse_args(words)
    if options.device == "meta":
        parser.error("--device meta: it computes nothing; python -m benchmarks.launches counts there")
    given = {"device": options.device, "threads": options.threads, "rounds": options.rounds}
    given |= {name: getattr(options, name.replace("-", "_")) for name in SIZES}
    passed = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    graphs = (False, True) if device_of(options).type == "cuda" else (False,)
    rows = [row_of(space, graph, passed) for space in options.space for graph in graphs]
    show(
        f"a first-order step on {options.device}, torch {torch.__version__}",
        ("", "graph", "kernels", "estimate", "step, s", "busy, s", "busy"),
        [
            (
                *(row["space"], str(row["graph"]), row["kernels"], row["kernels_estimate"]),
                *(row["step_seconds"], row["busy_seconds"], row["busy"]),
            )
            for row in rows
        ],
    )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
