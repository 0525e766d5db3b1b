"""Draw a search over a pool: the best value over what it has cost, and the sizes of the levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nas_lightning.core.objective import Goal
from nas_lightning.reports.curves import finish
from nas_lightning.reports.drawing import save_svg
from nas_lightning.reports.style import COLOURS


def save_pool(
    events: Sequence[Mapping[str, Any]],
    levels: Sequence[int],
    goal: Goal,
    title: str,
    folder: Path,
    on_test: bool = False,
) -> Path | None:
    """Write `pool.svg`: each judgement and the best so far at each level, and the sizes of the levels, over the cost.

    The cost is the number of epochs trained by then; where nothing is trained, the number of judgements.

    Args:
        events: The judgements in their order, each with `index`, `level`, `value` in the unit of the metric and
            `epochs_spent` by its end.
        levels: Epochs of each level; 0 where nothing is trained.
        goal: The metric.
        title: Of the run.
        folder: Folder of the figure; made if it is missing.
        on_test: Whether values may be those on test.

    Returns:
        The figure written; None where there is no judgement.
    """
    if not events:
        return None
    trained = levels[-1] > 0
    costs = [event["epochs_spent"] if trained else number + 1 for number, event in enumerate(events)]
    figure = Figure(figsize=(9.2, 3.6), layout="constrained", facecolor="white")
    figure.suptitle(f"search over a pool ({title})", weight="bold", size=10, parse_math=False)
    values, sizes = figure.subplots(1, 2)
    counts = sizes_of_levels(events, len(levels))
    for level, epochs in enumerate(levels):
        colour, name = COLOURS[level % len(COLOURS)], f"after {epochs} epochs" if trained else "judged"
        here = [(cost, event["value"]) for cost, event in zip(costs, events, strict=True) if event["level"] == level]
        if here:
            values.plot(*zip(*here, strict=True), "o", color=colour, markersize=3, alpha=0.45)
            best = best_so_far([value for _, value in here], goal)
            at = [cost for cost, _ in here]
            values.step([*at, costs[-1]], [*best, best[-1]], where="post", color=colour, label=f"best {name}")
        sizes.step(costs, [count[level] for count in counts], where="post", color=colour, label=f"standing {name}")
    finish(values, goal.axis(f"{goal.name} on {'val or test' if on_test else 'val'}"))
    finish(sizes, "candidates")
    for axes in (values, sizes):
        axes.set_xlabel("epochs spent" if trained else "candidates judged")
    folder.mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / "pool.svg")


def best_so_far(values: Sequence[float], goal: Goal) -> list[float]:
    """Return the best of the first 1, 2, … values.

    >>> best_so_far([90.0, 80.0, 95.0], Goal())
    [90.0, 90.0, 95.0]
    """
    found: list[float] = []
    for value in values:
        found.append(value if not found else goal.better(found[-1], value))
    return found


def sizes_of_levels(events: Sequence[Mapping[str, Any]], levels: int) -> list[list[int]]:
    """Return the number of candidates that stand at each level after each judgement.

    >>> sizes_of_levels([{"index": 0, "level": 0}, {"index": 1, "level": 0}, {"index": 0, "level": 1}], 2)
    [[1, 0], [2, 0], [1, 1]]
    """
    standing: dict[int, int] = {}
    found = []
    for event in events:
        standing[event["index"]] = event["level"]
        found.append([sum(at == level for at in standing.values()) for level in range(levels)])
    return found
