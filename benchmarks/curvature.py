"""What a measurement of the curvature costs, in units of one forward-backward pass in the architecture parameters.

`python -m benchmarks.curvature --help` lists the sizes; the defaults take less than a minute on one core.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from nas_lightning.curvature import hessian, measure
from nas_lightning.functional import frozen_batch_stats
from nas_lightning.protocols import Tensors
from nas_lightning.relaxations import Softmax
from nas_lightning.spaces import CellSpace

CONF = Path(__file__).parents[1] / "conf"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curvature", description=__doc__.split("\n")[0])
    parser.add_argument("--space", default="darts", help="a cell space of conf/space (default: %(default)s)")
    sizes = {
        "batch": (4, "images in the batch"),
        "channels": (2, "channels of the first cell"),
        "layers": (3, "cells"),
        "image": (8, "height and width of the images"),
        "threads": (1, "threads of torch"),
        "repeats": (1, "rounds over all rows"),
    }
    for name, (default, meaning) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    return parser.parse_args()


def build(options: argparse.Namespace) -> tuple[torch.nn.Module, Callable[[Tensors], Tensor], Tensors]:
    """A supernet in train mode, its loss on one batch of noise, and the architecture parameters of the first epoch."""
    torch.manual_seed(0)
    values = yaml.safe_load((CONF / "space" / f"{options.space}.yaml").read_text())
    values.pop("_target_")
    space = CellSpace(**values)
    net = space.supernet(init_channels=options.channels, layers=options.layers).train()
    relaxation = Softmax()
    arch = relaxation.init(space.choices)
    images = torch.randn(options.batch, 3, options.image, options.image)
    targets = torch.randint(0, 10, (options.batch,))
    weights = {name: weight.detach() for name, weight in net.named_parameters()}

    def loss_of_arch(a: Tensors) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (images, relaxation.mean(a))), targets)

    return net, loss_of_arch, arch


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    net, loss_of_arch, arch = build(options)
    size = sum(a.numel() for a in arch.values())

    def gradient() -> int:
        leaves = {name: a.clone().requires_grad_() for name, a in arch.items()}
        with frozen_batch_stats(net):
            torch.autograd.grad(loss_of_arch(leaves), list(leaves.values()))
        return 0

    def row_by_row() -> int:
        return len(hessian(loss_of_arch, arch, net, chunk=1))

    # The cheap rows are taken more often in each round.
    rows: dict[str, tuple[Callable[[], int], int]] = {
        "forward-backward": (gradient, 5),
        "Lanczos": (lambda: measure(loss_of_arch, arch, net).products, 3),
        "Hessian, batched": (lambda: len(hessian(loss_of_arch, arch, net)), 1),
        "Hessian, by row": (row_by_row, 1),
    }
    gradient()
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    products: dict[str, int] = {}
    for _ in range(options.repeats):
        for name, (run, times) in rows.items():
            for _ in range(times):
                start = time.perf_counter()
                products[name] = run()
                seconds[name].append(time.perf_counter() - start)

    table = Table(
        title=f"{options.space}: {size} architecture parameters, {options.layers} cells of {options.channels} channels,"
        f" {options.batch} images of {options.image}x{options.image}, {options.threads} thread(s); medians",
    )
    for column in ("", "seconds", "ratio", "products", "seconds a product"):
        table.add_column(column, justify="left" if not column else "right")
    unit = statistics.median(seconds["forward-backward"])
    for name, taken in seconds.items():
        median, count = statistics.median(taken), products[name]
        each = f"{median / count:.4f}" if count else ""
        table.add_row(name, f"{median:.4g}", f"{median / unit:.1f}", str(count or ""), each)
    Console().print(table)


if __name__ == "__main__":
    main()
