"""Zero-cost proxies of the networks that runs found, and how well they rank them.

Each network is that of the run's evaluation before its training, with initial weights and a batch of training data that
depend on the seed of the analysis alone, so that all runs are scored alike. The correlations are those of
Abdelfattah et al., Zero-cost proxies for lightweight NAS (ICLR 2021): Spearman's ρ and Kendall's τ_b with the value on
the test part. They are ours in one respect: few found networks, most of them good, correlate less than random ones.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from scipy.stats import kendalltau, spearmanr

from nas_lightning import reports
from nas_lightning.analyses.base import QUIET, TAKEN, Allowance, show_table
from nas_lightning.analyses.goals import SharedGoal, note_goal
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Goal
from nas_lightning.core.proxy import Proxy
from nas_lightning.core.terminal import print_line
from nas_lightning.proxies import scores
from nas_lightning.runs.folder import RunFolder, config_of_another_run
from nas_lightning.training.samples import BATCH_SIZE, check_scored, network_at_start, sample_of
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

LABELS = ("run", "method", "space", "data", "seed")
"""First columns of the table; those of the proxies and the value on the test part follow."""
FEWEST = 3
"""Runs of a space and a data set from which on correlations are given."""

_NOT_IN_JSON = (math.inf, -math.inf)
"""Scores that the summary leaves out; the table has them."""


@dataclass(frozen=True)
class Found:
    """A run that found a genotype.

    Args:
        run: Its folder.
        bench: Its parts, under this command's trainer.
        goal: What it reports.
    """

    run: RunFolder
    bench: Workbench
    goal: Goal

    @property
    def labels(self) -> dict[str, Any]:
        """Return the first columns of its row."""
        config = self.bench.config
        names = {"method": config.method, "space": self.bench.space.name, "data": self.bench.data.name}
        return {"run": str(self.run.path.resolve()), **names, "seed": config.seed}


class Proxies:
    """Scores the network of each run by each proxy.

    Args:
        proxies: The proxies, by name.
        batch_size: Images, columns or pairs of the training part that they read, all of them where there are fewer.
        seed: Of the batch and of the initial weights, for all runs the same.
    """

    of_supernet = False

    def __init__(
        self,
        proxies: dict[str, Any],
        batch_size: Annotated[int, Field(ge=1)] = BATCH_SIZE,
        seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
    ) -> None:
        if not proxies:
            raise ConfigError("analysis.proxies={}: names no proxy; add one, +proxy=synflow")
        reserved = [name for name in proxies if name in LABELS or name.startswith("test_")]
        if reserved:
            raise ConfigError(f"analysis.proxies.{reserved[0]}: is the name of another column; give the proxy another")
        self.proxies = proxies
        self.batch_size = batch_size
        self.seed = seed

    def check(self, bench: Workbench) -> None:
        """Refuse runs without a genotype, and proxies that cannot score their networks.

        Raises:
            ConfigError: No run can be scored, or the one that `run` names cannot.
        """
        for _ in self._runs(bench):
            pass

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Score the runs that the table lacks; write the table, return the correlations."""
        rows: list[dict[str, Any]] = list(map(_parsed, bench.folder.read_analysis()))
        done = {row["run"] for row in rows}
        goal, allowance = Goal(), Allowance(bench)
        for found in self._runs(bench):
            goal = found.goal
            if found.labels["run"] not in done:
                allowance.begin()
                values = self._scores(found)
                tested = goal.value(found.run.summary().get("evaluation") or {}, "test")
                rows.append({**found.labels, **values, goal.key("test"): tested})
                bench.folder.save_analysis(rows)
                print_line(f"proxies: {found.run}: {', '.join(f'{k} {v:.4g}' for k, v in values.items())}")
        note_goal(bench.folder, goal)
        correlated = correlations(rows, list(self.proxies), goal)
        _show(rows, correlated, list(self.proxies), goal)
        finite = [{key: None if value in _NOT_IN_JSON else value for key, value in row.items()} for row in rows]
        return {"name": "proxies", "runs": finite, "correlations": correlated}

    def _scores(self, found: Found) -> dict[str, float]:
        """Score one network by all proxies."""
        bench = found.bench
        proxies = self._built(bench)
        device = bench.plain_trainer([], max_epochs=1, **QUIET).strategy.root_device
        reads_batch = any(proxy.reads_batch for proxy in proxies.values())
        sample = sample_of(bench, reads_batch, device, self.batch_size, self.seed)
        network = network_at_start(found.run.genotype(), bench, self.seed).to(device)
        return scores(proxies, network, sample, self.seed)

    def _built(self, bench: Workbench) -> dict[str, Proxy]:
        return {name: bench.build(f"analysis.proxies.{name}", part) for name, part in self.proxies.items()}

    def _runs(self, bench: Workbench) -> Iterator[Found]:
        """Yield the runs with a genotype that report one metric; log the others, unless `run` names it.

        Raises:
            ConfigError: No run is given or can be scored.
        """
        patterns, run = bench.config.runs, bench.config.run
        if patterns is None and run is None:
            raise ConfigError(
                "run=null: analysis=proxies scores the networks that runs found; give run=outputs/DATE/TIME, or a glob"
                " of run folders, runs='multirun/**'"
            )
        paths: list[str] = [run or ""] if patterns is None else list(reports.collect(patterns)["run"])
        shared, reasons = SharedGoal(), list[str]()
        for path in paths:
            try:
                source = Workbench(config_of_another_run({**bench.config.to_dict(), "run": path}, TAKEN), bench.folder)
                folder = RunFolder(path, "run")
                found = Found(folder, source, Goal.of(folder.summary()))
                folder.genotype()
                for proxy in self._built(source).values():
                    check_scored(proxy, source)
                shared.add(folder, found.goal)
            except ConfigError as error:
                if patterns is None:
                    raise
                log.warning("skipped %s: %s", path, error)
                reasons.append(str(error))
                continue
            yield found
        if len(reasons) == len(paths):
            raise ConfigError(
                f"runs={json.dumps(patterns)}: none of {len(paths)} runs found a network that can be scored;"
                f" {reasons[0]}"
            )


def correlations(rows: Sequence[Mapping[str, Any]], names: Sequence[str], goal: Goal) -> list[dict[str, Any]]:
    """Correlate scores with the value on the test part, space by space and data set by data set.

    Args:
        rows: `space`, `data`, the scores and the value, None where the run has none.
        names: Of the proxies.
        goal: What the runs report; where smaller is better the sign is turned, so that 1 is always the best.

    Returns:
        `proxy`, `space`, `data`, `runs` with a value, `spearman` and `kendall`; None where a column is constant or
        fewer than three runs have a value. Scores of −∞ rank last, and so do those that are no number.
    """
    found = []
    frame = pd.DataFrame(rows)
    for (space, data), same in frame.groupby(["space", "data"], sort=True):
        values = goal.sign * same[goal.key("test")].astype(float)
        known = values.notna()
        for name in names:
            x, y = same.loc[known, name].astype(float).rank(na_option="top"), values[known]
            ranked = len(x) >= FEWEST and x.nunique() > 1 and y.nunique() > 1
            found.append(
                {
                    **{"proxy": name, "space": space, "data": data, "runs": len(x)},
                    "spearman": round(float(spearmanr(x, y).statistic), 4) if ranked else None,
                    "kendall": round(float(kendalltau(x, y).statistic), 4) if ranked else None,
                }
            )
    return found


def _show(
    rows: Sequence[Mapping[str, Any]], correlated: Sequence[Mapping[str, Any]], names: Sequence[str], goal: Goal
) -> None:
    """Print scores and correlations."""
    show_table(
        "zero-cost proxies of the networks before training",
        ["run", *names, goal.heading(f"test {goal.name}")],
        [
            [row["run"], *(f"{row[name]:.6g}" for name in names), _number(row[goal.key("test")], goal.number)]
            for row in rows
        ],
    )
    if any(row["runs"] >= FEWEST for row in correlated):
        show_table(
            f"rank correlation with the test {goal.name}",
            ["proxy", "space", "data", "runs", "Spearman ρ", "Kendall τ"],
            [
                [
                    *(str(row[key]) for key in ("proxy", "space", "data", "runs")),
                    *(_number(row[key], "{:.3f}".format) for key in ("spearman", "kendall")),
                ]
                for row in correlated
            ],
        )


def _number(value: float | None, text: Any) -> str:
    return "–" if value is None else text(value)


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    """Convert a row of the table from text to its types."""
    found: dict[str, Any] = {key: row[key] for key in LABELS}
    found["seed"] = int(row["seed"])
    return found | {key: float(value) if value else None for key, value in row.items() if key not in LABELS}
