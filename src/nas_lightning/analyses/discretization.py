"""Accuracy that a supernet loses by discretization of its mixing weights, before any retraining.

Of an objective that reports another metric, its value takes the place of the accuracy throughout.

Source: Zela et al., RobustDARTS (ICLR 2020), figure 6: the drop in accuracy on `val` against the dominant eigenvalue.
The supernet keeps its weights and its running statistics. There is no released code. Deviation: dropped edges are not
computed at all.
"""

from collections.abc import Callable
from typing import Any

from nas_lightning.analyses.base import QUIET, show_table
from nas_lightning.analyses.figures import save_discretization
from nas_lightning.analyses.goals import SharedGoal, note_goal
from nas_lightning.analyses.supernets import Supernet, measure_all, supernets
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import BatchNormMode
from nas_lightning.core.space import SearchSpace
from nas_lightning.core.terminal import print_line
from nas_lightning.searches.build import search_data
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.searches.outcome import eigenvalue_at
from nas_lightning.training.workbench import Workbench


def discrete_mixing(genotype: Genotype, space: SearchSpace) -> tuple[Mixing, Active]:
    """Return mixing weights of one for what a genotype takes and zero for all others.

    If edges have weights, those of the kept edges are one, as in the discrete network.

    Args:
        genotype: A genotype of the space.
        space: The space of the supernet.

    Returns:
        Mixing weights and active options, each [R, O] by choice. Options of weight zero are inactive: a dropped edge
        has no bypass of partial channels either. Edges have weights alone.

    Raises:
        GenotypeError: The genotype cannot be built in this space.
    """
    path = space.path_of(genotype)
    return path, {name: path[name] > 0 for name, choice in space.choices.items() if choice.kind != "edge"}


class Discretization:
    """Measures accuracy and loss on `val` at the mean mixing weights and at those of the genotype, run by run.

    The drop is what is lost: it is positive where the metric becomes worse. Runs that report another metric than the
    first are left out.

    The genotype is the one that the run's selector derives from that supernet; if the mixing weights do not determine
    it (DARTS-PT), the final genotype of the run. The eigenvalue is the last one in the run's curvature.csv up to that
    epoch.

    Args:
        batch_norm: Statistics of batch normalisation: `eval` (running) or `train` (of the batch).
    """

    of_supernet = False

    def __init__(self, batch_norm: BatchNormMode = "eval") -> None:
        self.batch_norm: BatchNormMode = batch_norm

    def check(self, bench: Workbench) -> None:
        """Refuse runs that keep no supernet, and epochs without a genotype.

        Raises:
            ConfigError: No run can be analysed, or the one that `run` names cannot.
        """
        for _ in supernets(bench, _check(SharedGoal())):
            pass

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure the runs that the table lacks; write the table and the figure, return the summary's section."""
        shared = SharedGoal()
        measured = [_parsed(row) for row in bench.folder.read_analysis()]
        table = measure_all(bench, measured, self._measure, _check(shared))
        goal = shared.goal
        note_goal(bench.folder, goal)
        save_discretization(table, bench.folder.plots, goal)
        show_table(
            "supernet with the mixing weights of its genotype, without retraining",
            [
                *("run", "epoch"),
                *(goal.heading(text) for text in (f"{goal.name} on val", "discretised")),
                *(goal.decline, "eigenvalue"),
            ],
            [
                [
                    row["run"],
                    str(row["epoch"]),
                    *(goal.number(row[key]) for key in (goal.key("val"), goal.key("discrete"), "drop")),
                    "–" if row["dominant_eigenvalue"] is None else f"{row['dominant_eigenvalue']:.4f}",
                ]
                for row in table
            ],
        )
        return {"name": "discretization", "runs": table}

    def _measure(self, supernet: Supernet) -> list[dict[str, Any]]:
        """Measure one supernet: one row, without the columns of `Supernet.labels`."""
        stage, module = supernet.origin.module()
        images = search_data(stage)  # without a trainer the augmentation is fixed
        images.setup("fit")
        images.first_pass = supernet.origin.passes
        model = OneShotModel(module, images, stage.plain_trainer([], max_epochs=1, **QUIET))
        mixing, active = module.at_mean()
        mean = {name: weights.detach() for name, weights in mixing.items()}, active
        discrete = discrete_mixing(_genotype(supernet), module.space)
        goal = module.goal
        values = [goal.sign * model.accuracy(*weights, batch_norm=self.batch_norm) for weights in (mean, discrete)]
        losses = [model.loss(*weights, batch_norm=self.batch_norm) for weights in (mean, discrete)]
        print_line(f"discretization: {supernet.run}: {goal.shown(values[0])} → {goal.shown(values[1])}")
        row = {
            goal.key("val"): goal.rounded(values[0]),
            goal.key("discrete"): goal.rounded(values[1]),
            "drop": goal.rounded(goal.sign * (values[0] - values[1])),
            "val_loss": round(losses[0], 6),
            "discrete_loss": round(losses[1], 6),
            "dominant_eigenvalue": eigenvalue_at(supernet.run.read_curvature(), supernet.origin.epoch - 1),
        }
        return [row]


def _check(shared: SharedGoal) -> Callable[[Supernet], None]:
    """Return the check of `supernets`: a genotype, and the metric of the runs before."""

    def check(supernet: Supernet) -> None:
        _genotype(supernet)
        shared.add(supernet.run, supernet.goal)

    return check


def _genotype(supernet: Supernet) -> Genotype:
    """Return the genotype of a supernet.

    Raises:
        ConfigError: The epoch is not the last, and the mixing weights do not determine the genotype.
    """
    derived = supernet.origin.module()[1].genotype()
    if derived is not None:
        return derived
    searched = (supernet.run.summary()["search"] or {}).get("epochs")
    if supernet.origin.epoch != searched:
        raise ConfigError(
            f"epoch={supernet.origin.epoch}: {supernet.run} derives its genotype only at the end of the search, so that"
            " epoch has none; leave epoch out, or give epoch=null"
        )
    return supernet.run.genotype()


def _parsed(row: dict[str, str]) -> dict[str, Any]:
    """Convert a row of the table from text to its types."""
    words, whole = ("run", "method", "space", "data"), ("seed", "epoch")
    return {
        key: value if key in words else int(value) if key in whole else float(value) if value else None
        for key, value in row.items()
    }
