"""The evaluator that looks a genotype up in a table instead of training it: tabular benchmarks.

Sources: Dong & Yang, NAS-Bench-201 (ICLR 2020): the accuracies of all 15,625 cells, each trained with several seeds;
Zela et al., RobustDARTS (ICLR 2020), section 4: the 81 architectures of S5, and the regret of the genotype after each
epoch. The average over the seeds is reported, with its rank among all and what random search is expected to find.
Left out: the accuracy of one random seed, which the benchmark provides as the feedback of a search, and simulated
training times.
"""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator, Listed
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Objective
from nas_lightning.core.space import SearchSpace
from nas_lightning.data.base import ImageData
from nas_lightning.evaluation.contents import Trained, name_of
from nas_lightning.evaluation.shipped import shipped_spaces
from nas_lightning.evaluation.table import HINT, Table, load
from nas_lightning.reports.titles import run_title
from nas_lightning.reports.trajectory import save_trajectory
from nas_lightning.runs.folder import RunFolder

log = logging.getLogger(__name__)

KEYS = {
    "arch_str": "task=convert convert=nasbench201",
    "module_hash": "task=convert convert=nasbench101",
    "architecture": "task=convert convert=runs",
}
"""Keys of tables, and what makes a table with them; every genotype has the last one."""
SPACES_OF = {"arch_str": "space=nasbench201", "module_hash": "space=nasbench1shot1_1, _2 or _3"}
"""Spaces whose genotypes have a key."""


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
        layers: Of evaluations that train, which a space may set for a data set; those of a table are its own.

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
        layers: int | None = None,
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
        listed = table.contents.spaces
        # Any genotype of the space shows whether the table's key can name its genotypes.
        drawn = bench.space.genotype_of(bench.space.sample(torch.Generator().manual_seed(0)))
        if listed and bench.space.name not in listed:
            raise ConfigError(
                f"evaluation.path={table.path}: lists architectures of space {' and '.join(listed)}, not of"
                f" {bench.space.name}; use space={listed[0]}, give {_table_for(drawn)}, or an evaluation that trains"
            )
        self._name(table, drawn)
        _, trained, epochs = self._trained(table, bench)
        if not table.count(trained.name("test", epochs)):
            raise ConfigError(
                f"evaluation.path={table.path}: {trained.name('test', epochs)} is empty for all architectures of"
                f" space={bench.space.name}; give a table with these accuracies; {HINT}"
            )
        if bench.objective.metric != "accuracy":
            raise ConfigError(
                f"objective.metric={bench.objective.metric}: the table holds accuracies; use objective.metric=accuracy"
            )

    def __call__(self, genotype: Genotype, bench: Bench) -> dict[str, Any]:
        """Look up the genotype, and those of all epochs of the search.

        Writes `trajectory.csv` and `plots/trajectory.svg` if the run folder has a search: test accuracy, regret and
        rank of the genotype after every epoch, and the error of the one-shot model on `val` if it was measured. With a
        table of all architectures, `random_search.csv` is what `Table.random_curve` returns.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.

        Returns:
            The `evaluation` section of the summary. `test_accuracy_std` is the standard deviation of a sample over the
            single trainings, None where the table has none; `regret` is the best test accuracy of the table minus this
            one, in percentage points, `regret_published` that from the lowest published error, None where the table
            does not name it; `rank` is 1 for the best of the `rank_of` architectures that have one, and equal ones
            share the best of their ranks; `random_accuracy` is the mean of all in percent, that of one at random.
            `Table.random_search` describes the fields of random search. Parameters and multiply-accumulates are those
            of the networks in the table. If a partial table lacks the architecture, `in_table` is False, and what is
            known of it alone is None.

        Raises:
            ConfigError: The table is complete and lacks the architecture or its test accuracy.
        """
        start = time.perf_counter()
        table = self._table(bench)
        dataset, trained, epochs = self._trained(table, bench)
        test = trained.name("test", epochs)
        name = self._name(table, genotype)
        accuracy = self._accuracy(table, name, test)
        random_search = table.random_search(test, trained, self.draws)
        bench.folder.save_random_search(table.random_curve(test, trained))
        self._follow(table, test, name, random_search, bench)
        network = self.bare_network(genotype, bench)
        listed = table.parameters(name)
        validated = table.value(name, trained.name("valid", epochs))
        return {
            "recipe": "tabular",
            "table": table.path,
            "dataset": dataset,
            **table.standing(name, test, accuracy),
            "random_accuracy": table.mean(test),
            **random_search,
            **({} if validated is None else {"val_accuracy": validated}),
            "best_epoch_accuracy": None,
            "params": count_parameters(network) if listed is None else listed,
            "params_auxiliary": 0,
            "macs": count_macs(network, trained.in_channels, trained.image_size),
            "epochs": epochs,
            "init_channels": trained.init_channels,
            "layers": trained.layers,
            "seconds": round(time.perf_counter() - start, 3),
            **dict.fromkeys(("images_per_second", "peak_memory_mib", "device", "precision")),  # nothing was trained
        }

    def bare_network(self, genotype: Genotype, bench: Bench) -> nn.Module:
        """Build the network that the table lists; torch's generator draws the weights.

        Raises:
            ConfigError: The table cannot be read or lacks the data set.
        """
        _, trained, _ = self._trained(self._table(bench), bench)
        sizes = (trained.num_classes, trained.in_channels, trained.init_channels, trained.layers)
        return bench.space.network(genotype, *sizes, stem=trained.stem)

    def unit(self, bench: Bench) -> Tensor:
        """Return an image of the shape that the networks of the table take, [1, C, H, W]."""
        _, trained, _ = self._trained(self._table(bench), bench)
        return torch.zeros(1, trained.in_channels, trained.image_size, trained.image_size)

    def check_batch(self, bench: Bench) -> None:
        """Refuse images that the networks of the table do not take.

        Raises:
            ConfigError: They have another shape or other classes.
        """
        dataset, trained, _ = self._trained(self._table(bench), bench)
        data = bench.data
        shape = (trained.in_channels, trained.image_size, trained.image_size)
        own = (data.in_channels, data.image_size, data.image_size)
        if (own, data.num_classes) != (shape, trained.num_classes):
            raise ConfigError(
                f"data={data.name} has images of {'x'.join(map(str, own))} in {data.num_classes} classes and the"
                f" networks of evaluation.dataset={dataset} take {'x'.join(map(str, shape))} in {trained.num_classes};"
                f" use data={dataset}"
            )

    def length(self, bench: Bench, epochs: int | None) -> tuple[int, bool]:
        """Return epochs of a training in the table, and True where its test accuracy stands in for that on val.

        It stands in for all architectures where any of them lacks the other: in NAS-Bench-201 the two come from
        trainings on different numbers of images, so that they do not compare.

        Raises:
            ConfigError: The table has no training of that length.
        """
        table = self._table(bench)
        _, trained, _ = self._trained(table, bench)
        known = {length: column for length in sorted(trained.epochs) if (column := _on_val(table, trained, length))}
        length = next(iter(known)) if epochs is None else epochs
        if length not in known:
            allowed = json.dumps(list(known)).replace(" ", "")
            raise ConfigError(
                f"candidates.levels: the table {table.path} has no trainings of {length} epochs; use"
                f" candidates.levels={allowed}"
            )
        return length, known[length] == trained.name("test", length)

    def images_listed(self, bench: Bench, epochs: int) -> int | None:
        """Return the images of an epoch of the trainings behind `listed`, which `Trained.images` says or does not."""
        table = self._table(bench)
        _, trained, _ = self._trained(table, bench)
        on_test = _on_val(table, trained, epochs) == trained.name("test", epochs)
        return trained.images.get("test" if on_test else "valid")

    def listed(self, genotype: Genotype, bench: Bench, epochs: int) -> Listed:
        """Return the accuracy after a training of `length`, and the regret in the column that judges the run.

        Raises:
            ConfigError: The table is complete and lacks the architecture.
        """
        table = self._table(bench)
        _, trained, final = self._trained(table, bench)
        name, column = self._name(table, genotype), _on_val(table, trained, epochs)
        assert column is not None  # `length` has found it
        return Listed(table.value(name, column), table.regret(name, trained.name("test", final)))

    def _accuracy(self, table: Table, name: str, test: str) -> float | None:
        """Return the test accuracy of an architecture; None where a partial table has none.

        Raises:
            ConfigError: The table is complete and has none.
        """
        accuracy = table.value(name, test)
        log.info("looked up in the table %s: %s of %d architectures", table.path, test, table.count(test))
        if accuracy is None and table.contents.complete:
            raise ConfigError(
                f"evaluation.path={table.path}: {test} is empty for {name}; give a table with this accuracy"
            )
        if accuracy is None:
            log.warning(
                "evaluation.path=%s: the table is partial and has no %s of %s; train the genotype: evaluation=%s",
                *(table.path, test, name, table.contents.recipe),
            )
        return accuracy

    def _table(self, bench: Bench) -> Table:
        """Return the table of `path`, else that which comes with the package, as the space looks it up.

        Raises:
            ConfigError: There is none, or it cannot be read.
        """
        path = shipped_spaces().get(bench.space.name) if self.path is None else self.path
        return load(path, self.column).of(bench.space.name)

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
            there = [length for length in trained.epochs if trained.name("test", length) in table.columns]
            remedy = f"use evaluation.epochs={there[0]}" if there else HINT
            raise ConfigError(f"evaluation.path={table.path}: has no column {needed}, only {has}; {remedy}")
        return dataset, trained, epochs

    def _name(self, table: Table, genotype: Genotype) -> str:
        """Return the name of a genotype in the table.

        Raises:
            ConfigError: The genotypes of this space have no such name.
        """
        key = self.column or table.contents.key
        name = name_of(genotype, key)
        if name is None:
            other_space = f"use {SPACES_OF[key]}" if key in SPACES_OF else "another space"
            raise ConfigError(
                f"space={genotype.space}: its genotypes have no {key} under which evaluation.path={table.path} could"
                f" list them; give {_table_for(genotype)}, {other_space}, or an evaluation that trains"
            )
        return name

    def _follow(self, table: Table, test: str, chosen: str, random_search: Mapping[str, Any], bench: Bench) -> None:
        """Write the accuracy, regret and rank of the genotype after every epoch of the search."""
        errors = _validation_errors(bench.folder)
        key = self.column or table.contents.key
        rows: list[dict[str, Any]] = []
        derived: dict[str, bool] = {}
        for row in bench.folder.read_genotypes():
            found = row["genotype"]
            name = None if found is None else name_of(Genotype.from_dict(found), key)
            if name is None:
                continue
            accuracy = table.value(name, test) if name in table.rows else None
            derived[name] = accuracy is not None
            if name not in table.rows or (accuracy is None and not table.contents.complete):
                continue
            published = table.published_regret(name, test)
            rows.append(
                {
                    **{column: row[column] for column in ("epoch", "search_epoch", "attempt")},
                    "test_accuracy": accuracy,
                    "regret": table.regret(name, test),
                    **({} if published is None else {"regret_published": published}),
                    "rank": table.rank(name, test),
                    "val_error": errors.get(row["epoch"]),
                    key: name,
                }
            )
        share = f"{sum(derived.values())} of {len(derived)} architectures found"
        if derived and not table.contents.complete:
            log.info("trajectory: %s in the table %s", share, table.path)
        if not rows or not ranks.is_first():
            return
        bench.folder.save_trajectory(rows)
        best, plots = table.best(test), bench.folder.plots
        draws, expected = random_search["random_search_draws"], random_search["random_search_accuracy"]
        title = run_title(bench.folder.summary(), test if table.contents.complete else f"{test}, {share}")
        save_trajectory(rows, table.value(chosen, test), best, title, plots, draws, expected)


def _on_val(table: Table, trained: Trained, epochs: int) -> str | None:
    """Return the column of accuracies on val after a training, else that on test; None where there is neither."""
    on_val, on_test = (trained.name(part, epochs) for part in ("valid", "test"))
    if on_test not in table.columns or not table.count(on_test):
        on_test = ""
    if on_val in table.columns and (not on_test or table.count(on_val) >= table.count(on_test)):
        return on_val if table.count(on_val) else None
    return on_test or None


def _table_for(genotype: Genotype) -> str:
    """Return words for a table that can list a genotype: its key, and the command that makes one."""
    key = next(key for key in KEYS if name_of(genotype, key) is not None)
    return f"a table with the column {key} ({KEYS[key]})"


def _validation_errors(folder: RunFolder) -> dict[int, float]:
    """Return the error of the one-shot model on `val` in percent, by the epochs after which it was measured."""
    return {
        int(row["epoch"]): round(100 - float(row["val_accuracy"]), 4)
        for row in folder.read_metrics()
        if row["phase"] == "search" and row.get("val_accuracy")
    }
