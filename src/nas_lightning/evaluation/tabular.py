"""Looking a genotype up instead of training it: the tabular benchmarks.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020): the accuracies of all 15,625 cells, each trained with several seeds. The
average over the seeds is reported. Left out: the accuracy of one random seed, which the benchmark gives as the feedback
of a search, and simulated training times.
"""

import csv
import json
import time
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from nas_lightning import ranks
from nas_lightning.data.base import ImageData
from nas_lightning.errors import ConfigError
from nas_lightning.evaluation.table import DATASETS, HOW, Table, column, load
from nas_lightning.functional import count_macs, count_parameters
from nas_lightning.protocols import Objective, SearchSpace
from nas_lightning.reports.trajectory import save_trajectory
from nas_lightning.run_folder import RunFolder
from nas_lightning.spaces.genotypes import Genotype
from nas_lightning.spaces.nasbench201_macro import INIT_CHANNELS, LAYERS

_IMAGES = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16_120": (120, 16)}
"""Classes and side of the images on which the networks of a table were trained; all have three channels."""


class Bench(Protocol):
    """What of a run is needed here."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""

    @property
    def data(self) -> ImageData:
        """The images of the search."""

    @property
    def objective(self) -> Objective:
        """What is reported."""

    folder: RunFolder


class Tabular:
    """Reads accuracies from a table; nothing is trained.

    Args:
        path: The table; `nas_lightning.evaluation.table` describes its format.
        dataset: Whose accuracies; None takes the data set of the run.
        epochs: Of which training: 200, the benchmark's results, or 12, its cheap stand-in.
        key: The column that names the architectures, which is also where the genotype says its name.
    """

    def __init__(
        self,
        path: str | None = None,
        dataset: Literal["cifar10", "cifar100", "imagenet16_120"] | None = None,
        epochs: Literal[200, 12] = 200,
        key: str = "arch_str",
    ) -> None:
        self.path = path
        self.dataset = dataset
        self.epochs = epochs
        self.key = key

    def check(self, bench: Bench) -> None:
        """Refuse what cannot be looked up before anything is written.

        Raises:
            ConfigError: The table cannot be read, lacks the data set, or does not list architectures of this space, or
                the objective is not the accuracy.
        """
        self._table(self._dataset(bench))
        drawn = bench.space.genotype_of(bench.space.sample(torch.Generator().manual_seed(0)))
        self._name(drawn)
        if bench.objective.metric != "accuracy":
            raise ConfigError(
                f"objective.metric={bench.objective.metric}: the table holds accuracies; use objective.metric=accuracy"
            )

    def __call__(self, genotype: Genotype, bench: Bench) -> dict[str, Any]:
        """Look the genotype up, and those of all epochs of the search.

        Writes `trajectory.csv` and `plots/trajectory.svg` where the run folder has a search: the test accuracy of the
        genotype after every epoch.

        Args:
            genotype: The architecture.
            bench: Space, data, objective and folder of the run.

        Returns:
            The `evaluation` section of the summary. Parameters and multiply-accumulates are those of the networks that
            the benchmark trained.

        Raises:
            ConfigError: The table does not have the architecture, or no test accuracy of it.
        """
        start = time.perf_counter()
        dataset = self._dataset(bench)
        table = self._table(dataset)
        test, valid = (column(dataset, part, self.epochs) for part in ("test", "valid"))
        name = self._name(genotype)
        accuracy = table.value(name, test)
        if accuracy is None:
            raise ConfigError(f"evaluation.path={self.path}: {test} is empty for {name}; give a table that has it")
        self._follow(table, test, name, bench)
        num_classes, image_size = _IMAGES[dataset]
        network = bench.space.network(genotype, num_classes, 3, INIT_CHANNELS, LAYERS)
        validated = table.value(name, valid)
        return {
            "recipe": "tabular",
            "dataset": dataset,
            "test_accuracy": accuracy,
            "test_error": round(100 - accuracy, 4),
            **({} if validated is None else {"val_accuracy": validated}),
            "best_epoch_accuracy": None,
            "params": count_parameters(network),
            "params_auxiliary": 0,
            "macs": count_macs(network, 3, image_size),
            "epochs": self.epochs,
            "init_channels": INIT_CHANNELS,
            "layers": LAYERS,
            "seconds": round(time.perf_counter() - start, 3),
            **dict.fromkeys(("images_per_second", "peak_memory_mib", "device", "precision")),  # of a training
        }

    def _dataset(self, bench: Bench) -> str:
        dataset = self.dataset or bench.data.name
        if dataset not in DATASETS:
            raise ConfigError(
                f"evaluation.dataset=null: the table has no accuracies on data={dataset}; choose among"
                f" {', '.join(DATASETS)}: evaluation.dataset=cifar10"
            )
        return dataset

    def _table(self, dataset: str) -> Table:
        table = load(self.path, self.key)
        needed = column(dataset, "test", self.epochs)
        if needed not in table.columns:
            has = ", ".join(table.columns) or "no accuracies"
            raise ConfigError(f"evaluation.path={self.path}: has no column {needed}, only {has}; {HOW}")
        return table

    def _name(self, genotype: Genotype) -> str:
        """What the table calls a genotype."""
        name = genotype.to_dict().get(self.key)
        if not isinstance(name, str):
            raise ConfigError(
                f"space={genotype.space}: its genotypes have no {self.key} under which a table could list them; use"
                " space=nasbench201, or an evaluation that trains"
            )
        return name

    def _follow(self, table: Table, test: str, chosen: str, bench: Bench) -> None:
        """Write the test accuracy of the genotype after every epoch of the search."""
        rows = [
            {
                **{key: row[key] for key in ("epoch", "search_epoch", "attempt")},
                "test_accuracy": table.value(name, test),
                self.key: name,
            }
            for row in _genotypes(bench.folder.genotypes)
            if row["genotype"] is not None and (name := row["genotype"].get(self.key)) in table.rows
        ]
        if not rows or not ranks.is_first():
            return
        with (bench.folder.path / "trajectory.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        save_trajectory(rows, table.value(chosen, test), table.best(test), test, bench.folder.plots)


def _genotypes(path: Path) -> list[dict[str, Any]]:
    """The lines of genotypes.jsonl; a kill can leave half of the last one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
