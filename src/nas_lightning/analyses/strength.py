"""Mixing weights of operations against their strength: the accuracy at convergence with the edge fixed to each.

Of an objective that reports another metric, its value takes the place of the accuracy throughout.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), section 3; figures 2.1 (three
edges of DARTS' space) and 2.2 (all edges of S2's normal cell) of Wang's thesis. There is no released code. Ours
are the learning rate of fine-tuning (that of the method's own selection), the criterion of convergence, and the two
numbers of a row.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import lightning as L
import torch
from pydantic import Field

from nas_lightning.analyses.agreement import Agreement, agreement
from nas_lightning.analyses.base import QUIET, Allowance, Origin, fit, show_table
from nas_lightning.analyses.figures import save_strength
from nas_lightning.analyses.patience import Patience
from nas_lightning.callbacks import InterruptAtEpochEnd
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Goal
from nas_lightning.core.selector import tuning_overrides
from nas_lightning.core.terminal import print_line, track_progress
from nas_lightning.data.streams import SearchStreams
from nas_lightning.searches.build import search_data
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.training.workbench import Workbench

Row = Annotated[int, Field(ge=0)]


class Strength:
    """Fixes one row of a choice to each of its options in turn and trains the rest of the supernet to convergence.

    Every option starts from the same copy of the supernet and sees the same images in the same order. The row is fixed
    in all cells of that type; the weights, with new momentum, and the architecture parameters of the other rows
    continue to train. After each epoch, and before the first, the accuracy on `val` is measured with running
    statistics, always on the same images. The accuracy of an option is the best of these.

    τ and agreement count only the options that a genotype may hold: `none` in S3 is measured and drawn, but cannot be
    selected.

    Args:
        choice: Name of the choice; None is the first one of operations (`normal`, `cell`).
        rows: Number of rows, drawn at random; or their indices; or `all`. Rows that the search has decided are
            excluded.
        lr: Constant learning rate of the weights.
        patience: Epochs without a better accuracy after which training ends.
        epochs: Maximum number of epochs; 0 measures without any training.
        train_arch: Whether the architecture parameters continue to train.
        seed: Seed of the random rows; None is the run's.
    """

    of_supernet = True

    def __init__(
        self,
        choice: str | None = None,
        rows: Annotated[int, Field(ge=1)] | Annotated[list[Row], Field(min_length=1)] | Literal["all"] = 3,
        lr: Annotated[float, Field(gt=0)] = 2.5e-3,
        patience: Annotated[int, Field(ge=1)] = 3,
        epochs: Annotated[int, Field(ge=0)] = 20,
        train_arch: bool = True,
        seed: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.choice = choice
        self.rows = rows
        self.lr = lr
        self.patience = patience
        self.epochs = epochs
        self.train_arch = train_arch
        self.seed = seed

    def check(self, bench: Workbench) -> None:
        """Refuse a run without a supernet, and a choice or rows that do not exist.

        Raises:
            ConfigError: The run cannot be analysed.
        """
        stage, module = Origin(bench).module(self.epochs, self._overrides())
        self._chosen(module)
        search_data(stage).setup("fit")

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure the options that the table lacks; write the table and the figure, return the summary's section."""
        origin = Origin(bench)
        stage, module = origin.module()
        goal = module.goal
        name, rows = self._chosen(module)
        choice, kept = module.decisions.choices[name], module.decisions.kept[name]
        weights = module.mean()[name].detach().cpu()
        images = search_data(stage)  # without a trainer the augmentation is fixed
        images.setup("fit")
        images.first_pass = origin.passes

        table: list[dict[str, Any]] = [dict(row) for row in bench.folder.read_analysis()]
        done = {(row["choice"], int(row["row"]), row["option"]) for row in table}
        wanted = [(row, option) for row in rows for option in range(len(choice.options[row])) if kept[row, option]]
        left = [(row, option) for row, option in wanted if (name, row, choice.options[row][option]) not in done]
        allowance = Allowance(bench)
        for row, option in track_progress(left, "strength: options to measure") if left else ():
            allowance.begin()
            start = time.perf_counter()
            value, epochs = self._converge(origin, name, row, option, images)
            measured = {
                "choice": name,
                "row": row,
                "source": choice.sources[row],
                "node": choice.nodes[row],
                "option": choice.options[row][option],
                "weight": round(float(weights[row, option]), 6),
                goal.word: goal.rounded(value),
                "epochs": epochs,
                "seconds": round(time.perf_counter() - start, 3),
            }
            table.append(measured)
            bench.folder.save_analysis(table)
            print_line(
                f"strength: {_edge(measured)}, {measured['option']}: {goal.shown(value)} after {epochs} epochs"
                f" (weight {measured['weight']:.3f})"
            )
        table = [_parsed(row) for row in table]
        for line in table:
            options = module.decisions.choices[line["choice"]].options[line["row"]]
            selectable = module.decisions.choices[line["choice"]].selectable[line["row"]]
            line["selectable"] = bool(selectable[options.index(line["option"])])
        save_strength(table, bench.folder.plots, goal)
        return self._section(bench, origin, table, goal)

    def _overrides(self) -> dict[str, Any]:
        """Return the configuration of fine-tuning, as overrides of the search."""
        return tuning_overrides(self.lr, self.train_arch)

    def _chosen(self, module: SearchModule) -> tuple[str, list[int]]:
        """Return the name of the choice and the rows, in index order.

        Raises:
            ConfigError: There is no such choice or row, or the search has decided the row.
        """
        choices = module.decisions.choices
        name = self.choice or next(iter(choices))
        if name not in choices:
            raise ConfigError(
                f"analysis.choice={name}: no such choice; allowed: {', '.join(choices)}; use"
                f" analysis.choice={next(iter(choices))}"
            )
        number, undecided = choices[name].num_rows, module.decisions.undecided(name)
        hint = f"allowed: {', '.join(map(str, undecided)) or 'none'}; use analysis.rows=all"
        if isinstance(self.rows, list):
            for row in self.rows:
                if row not in undecided:
                    reason = "was decided by the search" if row < number else f"is not one of the {number} of '{name}'"
                    raise ConfigError(f"analysis.rows={self.rows}: row {row} {reason}; {hint}")
            return name, sorted(set(self.rows))
        count = len(undecided) if self.rows == "all" else int(self.rows)
        if not undecided or count > len(undecided):
            raise ConfigError(f"analysis.rows={self.rows}: '{name}' has {len(undecided)} undecided rows; {hint}")
        seed = module.seed if self.seed is None else self.seed
        order = torch.randperm(len(undecided), generator=draws.seeded_generator(seed, "rows to analyse", name))
        return name, sorted(undecided[index] for index in order[:count].tolist())

    def _converge(self, origin: Origin, name: str, row: int, option: int, images: SearchStreams) -> tuple[float, int]:
        """Train with a row fixed to an option; return the best value in its unit, and the epochs trained."""
        bench, module = origin.module(self.epochs, self._overrides(), momentum=False)
        module.decisions.decide(name, row, option)
        module.settle()
        patience = Patience(self.patience)
        convergence = StopAtConvergence(patience, images)
        # No limit here: the module counts search epochs and ends the fit itself.
        trainer = bench.plain_trainer([convergence, InterruptAtEpochEnd()], max_epochs=-1, **QUIET)
        convergence.measure(trainer, module)
        if self.epochs:
            data = search_data(bench)
            data.first_pass = origin.passes
            fit(bench, trainer, module, data)
        return module.goal.sign * patience.best, module.search_epoch - module.progress.first_epoch

    def _section(self, bench: Workbench, origin: Origin, table: list[dict[str, Any]], goal: Goal) -> dict[str, Any]:
        """Print the numbers and return them as the section of the summary."""
        edges: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for line in table:
            edges.setdefault((line["choice"], line["row"]), []).append(line)
        rows: list[dict[str, Any]] = []
        for lines in edges.values():
            counted = [line for line in lines if line["selectable"]]
            if counted:
                options, weights, values = ([line[key] for line in counted] for key in ("option", "weight", goal.word))
                found = agreement(options, weights, [goal.sign * value for value in values])
                edge = {key: lines[0][key] for key in ("choice", "row", "source", "node")}
                rows.append({**edge, **_as_dict(found, goal)})
        taus = [row["kendall_tau"] for row in rows if row["kendall_tau"] is not None]
        agreeing = sum(row["agrees"] for row in rows)
        section = {
            "name": "strength",
            "run": bench.config.run,
            "epoch": origin.epoch,
            "seconds": round(sum(line["seconds"] for line in table), 3),
            "kendall_tau": round(sum(taus) / len(taus), 4) if taus else None,
            "top1_agreement": round(100 * agreeing / len(rows), 2) if rows else None,
            "by_weight": _counts(rows, "by_weight"),
            f"by_{goal.word}": _counts(rows, f"by_{goal.word}"),
            "rows": rows,
        }
        show_table(
            f"strength of operations, supernet after {origin.epoch} epochs",
            ["edge", "by weight", f"by {goal.name}", "agree", "Kendall τ"],
            [
                [
                    _edge(row),
                    row["by_weight"],
                    row[f"by_{goal.word}"],
                    "yes" if row["agrees"] else "no",
                    "–" if row["kendall_tau"] is None else f"{row['kendall_tau']:.2f}",
                ]
                for row in rows
            ],
            f"{agreeing} of {len(rows)} rows agree"
            + (f"; mean Kendall τ {section['kendall_tau']:.2f}" if taus else ""),
        )
        return section


class StopAtConvergence(L.Callback):
    """Ends a fit when the accuracy on `val` no longer improves.

    Args:
        patience: Holds the best accuracy and the criterion.
        images: The images of every measurement, already set up.
    """

    def __init__(self, patience: Patience, images: SearchStreams) -> None:
        self.patience = patience
        self.images = images

    def measure(self, trainer: L.Trainer, module: SearchModule) -> bool:
        """Measure once; return True if training has converged."""
        model = OneShotModel(module, self.images, trainer)
        mixing, active = module.at_mean()
        return self.patience.update(model.accuracy({n: w.detach() for n, w in mixing.items()}, active))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure, and end the stage at convergence."""
        pl_module.progress.stopped = self.measure(trainer, pl_module)


def _edge(row: Mapping[str, Any]) -> str:
    return f"{row['choice']}, {row['source']} → {row['node']}"


def _as_dict(found: Agreement, goal: Goal) -> dict[str, Any]:
    return {
        "by_weight": found.by_weight,
        f"by_{goal.word}": found.by_accuracy,
        "agrees": found.agrees,
        "kendall_tau": found.kendall_tau,
    }


def _counts(rows: list[dict[str, Any]], key: str) -> dict[str, int]:
    """Count how often each option is chosen, the most frequent first."""
    chosen = [row[key] for row in rows]
    return dict(sorted(((name, chosen.count(name)) for name in dict.fromkeys(chosen)), key=lambda pair: -pair[1]))


def _parsed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row of the table from text to its types."""
    whole, fractions = ("row", "source", "node", "epochs"), ("weight", "accuracy", "metric", "seconds")
    return {
        key: int(value) if key in whole else float(value) if key in fractions else value for key, value in row.items()
    }
