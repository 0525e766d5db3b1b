"""Zero-cost proxies of random cells of NAS-Bench-201 against their accuracies in the table: behind docs/proxies.md.

`python -m benchmarks.proxies --data IMAGES.npz --minutes 4` scores cells until the time is over; the same command goes
on with the next ones and, when `--cells` are done, writes the table. IMAGES.npz is CIFAR-10 or a part of it
(`data=arrays`). Cells are drawn without replacement, images are not augmented; both follow from `--seed`.

Of each proxy and of the two counts that it has to beat: Spearman's ρ and Kendall's τ_b with the test accuracies after
200 epochs, with the 95 % percentile interval of 500 bootstraps over cells. A score of −∞ ranks last.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.measuring import add_number, build_space, device_of, new_parser, show, write
from nas_lightning.core.draws import seeded_generator
from nas_lightning.data import Arrays
from nas_lightning.evaluation.table import load
from nas_lightning.objectives import Classification
from nas_lightning.proxies import (
    GradientNorm,
    Macs,
    Naswot,
    Parameters,
    Proxy,
    Sample,
    Snip,
    Synflow,
    initialised,
    scores,
)
from nas_lightning.runs.files import whole_lines, write_text
from nas_lightning.runs.history import append_row
from nas_lightning.spaces import Genotype
from nas_lightning.spaces.nasbench201 import arch_strings

NAME = "proxies"
PROXIES: Mapping[str, Proxy] = {
    "synflow": Synflow(),
    "synflow, bn=true": Synflow(bn=True),
    "naswot": Naswot(),
    "gradient_norm": GradientNorm(),
    "snip": Snip(),
    "parameters": Parameters(),
    "macs": Macs(),
}
SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "in16_120": "ImageNet16-120"}
RESAMPLES = 500
LOWEST = -1e300
"""Stands for −∞ in ranks and in JSON, which has no infinity."""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__, rounds=False)
    parser.add_argument("--data", type=Path, required=True, help="images as one .npz file")
    parser.add_argument("--rows", type=Path, default=Path("outputs/proxies.jsonl"), help="where scores are kept")
    parser.add_argument("--minutes", type=float, default=math.inf, help="when to stop; the next call goes on")
    parser.add_argument("--seed", type=int, default=0, help="of cells, images and weights (default: %(default)s)")
    add_number(parser, "cells", 368, "random cells")
    add_number(parser, "batch", 32, "images of the batch")
    add_number(parser, "channels", 8, "channels of the first stage; 16 in the table")
    add_number(parser, "stage-cells", 1, "cells a stage; 5 in the table")
    return parser.parse_args(words)


def sample_of(options: argparse.Namespace, device: torch.device) -> tuple[Sample, int]:
    """A batch of training images, and the number of classes."""
    data = Arrays(str(options.data))
    data.prepare()
    images = data.dataset("train", augment=False)
    order = torch.randperm(len(data.train_labels), generator=seeded_generator(options.seed, "images"))
    inputs, targets = zip(*(images[int(place)] for place in order[: options.batch]), strict=True)
    batch = torch.stack(inputs).to(device)
    return Sample(batch, torch.tensor(targets, device=device), Classification().loss, batch[:1]), data.num_classes


def chosen(options: argparse.Namespace) -> list[int]:
    """Numbers of the cells in the benchmark."""
    order = torch.randperm(len(arch_strings()), generator=seeded_generator(options.seed, "cells"))
    return order[: options.cells].tolist()


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Score the cells that the file lacks while there is time; return all scores so far, in the order of drawing."""
    device = device_of(options)
    sample, classes = sample_of(options, device)
    space = build_space("nasbench201")
    begun = time.monotonic()
    settings = {key: vars(options)[key] for key in ("seed", "batch", "channels", "stage_cells")}
    lines = [json.dumps(settings)]
    if options.rows.exists():
        lines = [line.rstrip("\n") for line in whole_lines(options.rows)]
    if json.loads(lines[0]) != settings:
        raise SystemExit(f"--rows {options.rows}: holds scores of other settings, {lines[0]}; name another file")
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.rows, "".join(f"{line}\n" for line in lines))
    names = arch_strings()
    for number in chosen(options)[len(lines) - 1 :]:
        if time.monotonic() - begun > 60 * options.minutes:
            break
        genotype = Genotype.from_arch_str(names[number])
        build = partial(space.network, genotype, classes, sample.unit.shape[1], options.channels, options.stage_cells)
        network = initialised(build, options.seed).to(device)
        row: dict[str, Any] = {"cell": number}
        for name, proxy in PROXIES.items():
            start = time.process_time()
            row[name] = max(LOWEST, scores({name: proxy}, network, sample, options.seed)[name])
            row[f"{name} seconds"] = time.process_time() - start
        lines.append(json.dumps(row))
        append_row(options.rows, row)  # a kill loses the cell in progress only
    return [json.loads(line) for line in lines[1 : options.cells + 1]]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.spearmanr(x, y).statistic)


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.kendalltau(x, y).statistic)


def interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % percentile interval of a bootstrap over pairs."""
    rng = np.random.default_rng(seed)
    found = [statistic(x[places], y[places]) for places in rng.integers(len(x), size=(resamples, len(x)))]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def correlated(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Both correlations of each proxy with each accuracy, their intervals, and its median seconds a cell."""
    table = load("nasbench201", None)
    cells = [row["cell"] for row in rows]
    found = []
    for name in PROXIES:
        x = np.array([row[name] for row in rows])
        for column, title in SETS.items():
            y = table.columns[f"{column}_test_200"][cells]
            entry: dict[str, Any] = {"proxy": name, "set": title, "cells": len(rows)}
            for statistic in (spearman, kendall):
                low, high = interval(statistic, x, y)
                entry |= {statistic.__name__: statistic(x, y), f"{statistic.__name__}_95": [low, high]}
            entry["seconds"] = float(np.median([row[f"{name} seconds"] for row in rows]))
            found.append(entry)
    return found


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    scored = measured(options)
    if len(scored) < options.cells:
        print(f"{len(scored)} of {options.cells} cells scored; the same command goes on")
        return
    rows = correlated(scored)

    def shown(row: Mapping[str, Any], name: str) -> str:
        low, high = row[f"{name}_95"]
        return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"

    show(
        f"{options.cells} random cells, test accuracy after 200 epochs",
        ["proxy", "set", "Spearman [95 %]", "Kendall [95 %]", "CPU seconds a cell"],
        [[r["proxy"], r["set"], shown(r, "spearman"), shown(r, "kendall"), r["seconds"]] for r in rows],
    )
    options.data, options.rows = str(options.data), str(options.rows)
    write(options, NAME, rows)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
