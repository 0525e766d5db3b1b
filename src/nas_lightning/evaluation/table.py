"""Tables of trained architectures: one row an architecture, found by what its space calls it.

The compact format is a CSV file, gzipped or not, with a header. One column is the key (`arch_str` for NAS-Bench-201);
the others are named `<dataset>_<part>_<epochs>` and hold accuracies in percent, averaged over the seeds of training:

- dataset: `cifar10`, `cifar100`, `in16_120` (ImageNet16-120);
- part: `test`, or `valid`. For CIFAR-10 these come from two trainings, on all 50,000 images and on 25,000 of them;
  for the other sets from one, the official test images being halved;
- epochs: `200`, or `12`, whose schedule ends after 12 epochs.

So `cifar10_test_200`, `cifar10_valid_12`, `in16_120_test_200` and so on. A table need not have all of them, cells may
be empty, further columns are ignored. `task=convert convert=nasbench201` makes such a table from the official files.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from nas_lightning.errors import ConfigError

DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16_120": "in16_120"}
"""Data sets by the names of the group `data`, and how columns call them."""
EPOCHS = (200, 12)
HOW = "make one with task=convert convert=nasbench201 convert.source=FILE convert.target=TABLE.csv.gz"


def column(dataset: str, part: str, epochs: int) -> str:
    """Name of a column.

    >>> column("imagenet16_120", "test", 200)
    'in16_120_test_200'
    """
    return f"{DATASETS[dataset]}_{part}_{epochs}"


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Args:
        path: The file, as messages name it.
        rows: Row of each architecture, by its key.
        columns: Accuracies in percent by the name of the column, each [N]; nan where a cell is empty.
    """

    path: str
    rows: Mapping[str, int]
    columns: Mapping[str, np.ndarray]

    def value(self, architecture: str, name: str) -> float | None:
        """The accuracy of an architecture, None where the cell is empty or there is no such column.

        Raises:
            ConfigError: The table does not have the architecture.
        """
        if architecture not in self.rows:
            raise ConfigError(
                f"evaluation.path={self.path}: {architecture} is not among its {len(self.rows)} architectures; give"
                " another table, or train it: evaluation=nasbench201"
            )
        if name not in self.columns:
            return None
        found = float(self.columns[name][self.rows[architecture]])
        return None if np.isnan(found) else found

    def best(self, name: str) -> float:
        """The highest accuracy of a column."""
        return float(np.nanmax(self.columns[name]))


def load(path: str | None, key: str) -> Table:
    """Read a table, or return it if it was read already and the file is the same.

    Args:
        path: The CSV file, gzipped or not.
        key: The column that names the architectures.

    Raises:
        ConfigError: The file is missing, is no such table, or lists an architecture twice.
    """
    if path is None:
        raise ConfigError(f"evaluation.path=null: names no table; give one with evaluation.path=FILE.csv.gz, or {HOW}")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"evaluation.path={path}: there is no such file; give a table of accuracies, or {HOW}")
    return _load(path, file.resolve(), file.stat().st_mtime_ns, key)


@lru_cache(maxsize=4)
def _load(path: str, file: Path, changed: int, key: str) -> Table:
    try:
        frame = pd.read_csv(file, compression="infer")
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas' own are ValueErrors
        reason = " ".join(str(error).split())
        raise ConfigError(f"evaluation.path={path}: is no readable CSV file ({reason}); {HOW}") from error
    if key not in frame:
        raise ConfigError(
            f"evaluation.path={path}: has no column {key}, only {', '.join(map(str, frame.columns[:8]))}; {HOW}"
        )
    names = frame[key].astype(str)
    if names.duplicated().any():
        raise ConfigError(
            f"evaluation.path={path}: lists {names[names.duplicated()].iloc[0]} twice; remove all rows but one"
        )
    accuracies = {
        name: frame[name].to_numpy(float)
        for name in frame.columns
        if any(str(name).startswith(f"{short}_") for short in DATASETS.values())
        and pd.api.types.is_numeric_dtype(frame[name])
    }
    return Table(path, {name: row for row, name in enumerate(names)}, accuracies)
