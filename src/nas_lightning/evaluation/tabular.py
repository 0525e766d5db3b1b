"""The evaluator that looks a genotype up in a table instead of training it: tabular benchmarks.

Sources: Dong & Yang, NAS-Bench-201 (ICLR 2020): the accuracies of all 15,625 cells, each trained with several seeds;
Zela et al., RobustDARTS (ICLR 2020), section 4: the 81 architectures of S5, and the regret of the genotype after each
epoch. The average over the seeds is reported, with its rank among all and what random search is expected to find.
Left out: the accuracy of one random seed, which the benchmark provides as the feedback of a search, and simulated
training times.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Objective
from nas_lightning.core.space import SearchSpace
from nas_lightning.data.base import ImageData
from nas_lightning.evaluation.shipped import shipped_spaces
from nas_lightning.evaluation.table import HINT, Table, Trained, load, name_of
from nas_lightning.reports.titles import run_title
from nas_lightning.reports.trajectory import save_trajectory
from nas_lightning.runs.folder import RunFolder

log = logging.getLogger(__name__)


class Bench(Protocol):
    """The parts of a run that the look-up needs."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""

    @property
    def data(self) -> ImageData:
        """The images of the search."""

    @property
    def objective(self) -> Objective:
        """The loss and the metric."""

    folder: RunFolder


class Tabular(Evaluator):
    """Reads accuracies from a table; nothing is trained.

    Args:
        path: The table, a file or the name of one that comes with the package; None is the one that comes with it for
            the space. `nas_lightning.evaluation.table` describes the format.
        dataset: Data set of the accuracies; None is that of the run.
        epochs: Epochs of the training; None is the table's default. NAS-Bench-201 has 200, its results, and 12, its
            cheap proxy.
        key: Column that names the architectures; None is that of the table's description.
        draws: Number of architectures of the random search whose expected accuracy is given for comparison;
            `Table.random_search` describes it.
        random_baseline: 0; of evaluations that train, the number of random genotypes trained for comparison.

    Raises:
        ConfigError: `draws` is less than 1, or `random_baseline` is not 0.
    """

    looks_up = True

    def __init__(
        self,
        path: str | None = None,
        dataset: str | None = None,
        epochs: int | None = None,
        key: str | None = None,
        draws: int = 10,
        random_baseline: int = 0,
    ) -> None:
        if random_baseline != 0:
            raise ConfigError(
                f"evaluation.random_baseline={random_baseline}: a table gives what random search is expected to find"
                f" exactly, without training; use evaluation.draws={max(1, random_baseline)} instead"
            )
        if draws < 1:
            raise ConfigError(
                f"evaluation.draws={draws}: random search draws at least one architecture; use evaluation.draws=10"
            )
        self.path = path
        self.dataset = dataset
        self.epochs = epochs
        self.column = key
        self.draws = draws

    def check(self, bench: Bench) -> None:
        """Refuse what cannot be looked up, before anything is written.

        Raises:
            ConfigError: The table cannot be read, lacks the data set or the architectures of this space, or the
                objective is not the accuracy.
        """
        table = self._table(bench)
        self._trained(table, bench)
        listed = table.contents.space
        if listed not in (None, bench.space.name):
            raise ConfigError(
                f"evaluation.path={table.path}: lists architectures of space {listed}, not of {bench.space.name}; use"
                f" space={listed}, or an evaluation that trains"
            )
        # Any genotype of the space shows whether the table's key can name its genotypes.
        self._name(table, bench.space.genotype_of(bench.space.sample(torch.Generator().manual_seed(0))))
        if bench.objective.metric != "accuracy":
            raise ConfigError(
                f"objective.metric={bench.objective.metric}: the table holds accuracies; use objective.metric=accuracy"
            )

    def __call__(self, genotype: Genotype, bench: Bench) -> dict[str, Any]:
        """Look up the genotype, and those of all epochs of the search.

        Writes `trajectory.csv` and `plots/trajectory.svg` if the run folder has a search: test accuracy, regret and
        rank of the genotype after every epoch, and the error of the one-shot model on `val` if it was measured.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.

        Returns:
            The `evaluation` section of the summary. `regret` is the best test accuracy of the table minus this one, in
            percentage points; `rank` is 1 for the best of the `rank_of` architectures that have one, and equal ones
            share the best of their ranks; `random_accuracy` is the mean of all in percent, that of one at random.
            `Table.random_search` describes the fields of random search. Parameters and multiply-accumulates are those
            of the networks in the table.

        Raises:
            ConfigError: The table lacks the architecture or its test accuracy.
        """
        start = time.perf_counter()
        table = self._table(bench)
        dataset, trained, epochs = self._trained(table, bench)
        test = trained.name("test", epochs)
        name = self._name(table, genotype)
        accuracy = table.value(name, test)
        if accuracy is None:
            raise ConfigError(
                f"evaluation.path={table.path}: {test} is empty for {name}; give a table with this accuracy"
            )
        log.info("looked up in the table %s: %s of %d architectures", table.path, test, table.count(test))
        random_search = table.random_search(test, trained, self.draws)
        self._follow(table, test, name, random_search, bench)
        sizes = (trained.num_classes, trained.in_channels, trained.init_channels, trained.layers)
        network = bench.space.network(genotype, *sizes, stem=trained.stem)
        validated = table.value(name, trained.name("valid", epochs))
        return {
            "recipe": "tabular",
            "table": table.path,
            "dataset": dataset,
            "test_accuracy": accuracy,
            "test_error": round(100 - accuracy, 4),
            "regret": table.regret(name, test),
            "rank": table.rank(name, test),
            "rank_of": table.count(test),
            "random_accuracy": table.mean(test),
            **random_search,
            **({} if validated is None else {"val_accuracy": validated}),
            "best_epoch_accuracy": None,
            "params": count_parameters(network),
            "params_auxiliary": 0,
            "macs": count_macs(network, trained.in_channels, trained.image_size),
            "epochs": epochs,
            "init_channels": trained.init_channels,
            "layers": trained.layers,
            "seconds": round(time.perf_counter() - start, 3),
            **dict.fromkeys(("images_per_second", "peak_memory_mib", "device", "precision")),  # nothing was trained
        }

    def _table(self, bench: Bench) -> Table:
        """Return the table of `path`, else that which comes with the package for the space.

        Raises:
            ConfigError: There is none, or it cannot be read.
        """
        return load(shipped_spaces().get(bench.space.name) if self.path is None else self.path, self.column)

    def _trained(self, table: Table, bench: Bench) -> tuple[str, Trained, int]:
        """Return the data set, its networks in the table, and the epochs of their training.

        Raises:
            ConfigError: The table lacks the data set, or the column of its test accuracies.
        """
        datasets = table.contents.datasets
        dataset = self.dataset or bench.data.name
        if dataset not in datasets:
            key, source = ("null", f" on data={dataset}") if self.dataset is None else (dataset, " of that name")
            raise ConfigError(
                f"evaluation.dataset={key}: the table has no accuracies{source}; choose among {', '.join(datasets)}:"
                f" evaluation.dataset={next(iter(datasets))}"
            )
        trained = datasets[dataset]
        epochs = trained.epochs[0] if self.epochs is None else self.epochs
        needed = trained.name("test", epochs)
        if needed not in table.columns:
            has = ", ".join(table.columns) or "no accuracies"
            raise ConfigError(f"evaluation.path={table.path}: has no column {needed}, only {has}; {HINT}")
        return dataset, trained, epochs

    def _name(self, table: Table, genotype: Genotype) -> str:
        """Return the name of a genotype in the table.

        Raises:
            ConfigError: The genotypes of this space have no such name.
        """
        key = self.column or table.contents.key
        name = name_of(genotype, key)
        if name is None:
            raise ConfigError(
                f"space={genotype.space}: its genotypes have no {key} under which a table could list them; use"
                " space=nasbench201, or an evaluation that trains"
            )
        return name

    def _follow(self, table: Table, test: str, chosen: str, random_search: Mapping[str, Any], bench: Bench) -> None:
        """Write the accuracy, regret and rank of the genotype after every epoch of the search."""
        errors = _validation_errors(bench.folder)
        rows: list[dict[str, Any]] = []
        for row in bench.folder.read_genotypes():
            found = row["genotype"]
            name = None if found is None else name_of(Genotype.from_dict(found), self.column or table.contents.key)
            if name is None or name not in table.rows:
                continue
            rows.append(
                {
                    **{key: row[key] for key in ("epoch", "search_epoch", "attempt")},
                    "test_accuracy": table.value(name, test),
                    "regret": table.regret(name, test),
                    "rank": table.rank(name, test),
                    "val_error": errors.get(row["epoch"]),
                    self.column or table.contents.key: name,
                }
            )
        if not rows or not ranks.is_first():
            return
        bench.folder.save_trajectory(rows)
        best, plots = table.best(test), bench.folder.plots
        draws, expected = random_search["random_search_draws"], random_search["random_search_accuracy"]
        title = run_title(bench.folder.summary(), test)
        save_trajectory(rows, table.value(chosen, test), best, title, plots, draws, expected)


def _validation_errors(folder: RunFolder) -> dict[int, float]:
    """Return the error of the one-shot model on `val` in percent, by the epochs after which it was measured."""
    return {
        int(row["epoch"]): round(100 - float(row["val_accuracy"]), 4)
        for row in folder.read_metrics()
        if row["phase"] == "search" and row.get("val_accuracy")
    }
