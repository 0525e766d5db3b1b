"""Tables of accuracies: one row per trained architecture, looked up by its name.

The compact format is a CSV file, gzipped or not, with a header. One column is the key: `arch_str` for NAS-Bench-201,
`architecture` (`Genotype.architecture`) for the tables of `task=convert convert=runs`. The others are named
`<dataset>_<part>_<epochs>` and hold accuracies in percent, averaged over the seeds of training, for instance
`cifar10_test_200`:

- dataset: for NAS-Bench-201 `cifar10`, `cifar100` or `in16_120` (ImageNet16-120); otherwise the name of the data;
- part: `test` or `valid`. For CIFAR-10 in NAS-Bench-201 these come from two trainings, on all 50,000 images and on
  25,000 of them; for its other sets from one training, with the official test images halved;
- epochs: for NAS-Bench-201 `200`, or `12`, whose schedule ends after 12 epochs.

Lines that begin with `#` may precede the column names: YAML that describes the table (`Contents`). Without them it is a
table of NAS-Bench-201. Columns may be missing, cells may be empty, and other columns are ignored (for instance those of
single seeds, `digits_test_8_seed0`). A table of all architectures of NAS-Bench-201 in the benchmark's order may lack
their names (`numbered: true`). `task=convert convert=nasbench201` makes a table from the official files, `task=convert
convert=runs` from one's own runs; `nas_lightning.evaluation.shipped` lists those that come with the package.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import TypeAdapter, ValidationError

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.paths import is_file, lfs_pointer, path_of
from nas_lightning.evaluation.chance import expected_accuracy, rank
from nas_lightning.evaluation.shipped import shipped_files, shipped_spaces
from nas_lightning.spaces.nasbench201 import arch_strings

HINT = (
    "make one with task=convert convert=nasbench201 convert.source=FILE convert.target=TABLE.csv.gz, or of your own"
    " runs with convert=runs"
)
NUMBERED: Mapping[str, Callable[[], Sequence[str]]] = {"arch_str": arch_strings}
"""Names of all architectures in the benchmark's own order, by the key that a numbered table may lack."""


@dataclass(frozen=True)
class Trained:
    """The trained networks of a table on one data set.

    Args:
        column: Prefix of the names of its columns.
        epochs: Epochs of each training in the table, the default first.
        num_classes: Classes of the images.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        init_channels: Channels of the first cells.
        layers: Number of cells, as the space counts them.
        stem: `cifar` or `imagenet`.
    """

    column: str
    epochs: tuple[int, ...]
    num_classes: int
    in_channels: int
    image_size: int
    init_channels: int
    layers: int
    stem: str = "cifar"

    def name(self, part: str, epochs: int) -> str:
        """Return the name of the column of a part, `test` or `valid`."""
        return f"{self.column}_{part}_{epochs}"


def _nasbench201(column: str, num_classes: int, image_size: int) -> Trained:
    return Trained(column, (200, 12), num_classes, 3, image_size, init_channels=16, layers=5)


@dataclass(frozen=True)
class Contents:
    """The description of a table; by default that of NAS-Bench-201.

    Args:
        datasets: The trained networks, by the name of the data in the group `data`.
        key: Column that names the architectures.
        space: Name of the search space; None if the key implies it.
        recipe: Name of the evaluator that trained the networks.
        about: Further information, such as the training, the seeds and the spread; it is not read.
        numbered: Whether the rows are all architectures in the benchmark's own order, so that the key may be missing.
    """

    datasets: Mapping[str, Trained] = field(
        default_factory=lambda: {
            "cifar10": _nasbench201("cifar10", 10, 32),
            "cifar100": _nasbench201("cifar100", 100, 32),
            "imagenet16_120": _nasbench201("in16_120", 120, 16),
        }
    )
    key: str = "arch_str"
    space: str | None = None
    recipe: str = "nasbench201"
    about: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False


def name_of(genotype: Genotype, key: str) -> str | None:
    """Return the name of a genotype in a table with that key; None if it has none."""
    name = genotype.architecture if key == "architecture" else genotype.to_dict().get(key)
    return name if isinstance(name, str) else None


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Args:
        path: The file or the name of a table that comes with the package, as messages name it.
        rows: Index of the row of each architecture, by its name.
        columns: Accuracies in percent by the name of the column, each [N]; nan for an empty cell.
        contents: Its description.
    """

    path: str
    rows: Mapping[str, int]
    columns: Mapping[str, np.ndarray]
    contents: Contents = field(default_factory=Contents)

    def value(self, architecture: str, name: str) -> float | None:
        """Return the accuracy of an architecture in percent; None if the cell is empty or the column missing.

        Raises:
            ConfigError: The table lacks the architecture.
        """
        if architecture not in self.rows:
            raise ConfigError(
                f"evaluation.path={self.path}: {architecture} is not among its {len(self.rows)} architectures; give"
                f" another table, or train it: evaluation={self.contents.recipe}"
            )
        if name not in self.columns:
            return None
        found = float(self.columns[name][self.rows[architecture]])
        return None if np.isnan(found) else found

    def best(self, name: str) -> float:
        """Return the highest accuracy of a column, in percent."""
        return float(np.nanmax(self.columns[name]))

    def regret(self, architecture: str, name: str) -> float | None:
        """Return the best accuracy minus that of an architecture, in percentage points; None as `value`."""
        value = self.value(architecture, name)
        return None if value is None else round(self.best(name) - value, 4)

    def rank(self, architecture: str, name: str) -> int | None:
        """Return the rank of an architecture in a column, 1 for the best, as `chance.rank`; None as `value`."""
        value = self.value(architecture, name)
        return None if value is None else rank(self.columns[name], value)

    def count(self, name: str) -> int:
        """Return the number of architectures that have an accuracy in a column."""
        return int(np.count_nonzero(~np.isnan(self.columns[name])))

    def mean(self, name: str) -> float:
        """Return the mean of a column in percent: what one architecture at random is expected to have."""
        return round(float(np.nanmean(self.columns[name])), 4)

    def random_search(self, name: str, trained: Trained, draws: int) -> dict[str, Any]:
        """Return what random search is expected to find, as `chance.expected_accuracy`.

        It chooses by the validation accuracy after the shortest training that has one; in a table without any by the
        accuracy that counts, which is more than a search can know.

        Args:
            name: Column of the accuracy that counts.
            trained: The networks of the data set.
            draws: Number of architectures that it draws.

        Returns:
            Fields of the section `evaluation` of a summary: `random_search_accuracy` in percent, None if no
            architecture has both accuracies; `random_search_draws`, all architectures if the table has fewer; and
            `random_search_chosen_by`, the column by which it chooses.
        """
        validated = (trained.name("valid", epochs) for epochs in sorted(trained.epochs))
        accuracies = self.columns[name]
        known = [column for column in validated if column in self.columns]
        # One that is empty where the accuracies are not says nothing.
        chosen_by = next((c for c in known if not np.isnan(self.columns[c] + accuracies).all()), name)
        feedback = self.columns[chosen_by]
        expected = expected_accuracy(accuracies, feedback, draws)
        return {
            "random_search_accuracy": None if expected is None else round(expected, 4),
            "random_search_draws": min(draws, int(np.count_nonzero(~np.isnan(accuracies + feedback)))),
            "random_search_chosen_by": chosen_by,
        }


def load(path: str | None, key: str | None = None) -> Table:
    """Read a table, or return the cached one if the file has not changed.

    Args:
        path: The CSV file, gzipped or not, or the name of one that comes with the package; None is refused.
        key: Column that names the architectures; None is that of the table's description.

    Raises:
        ConfigError: The file is missing, is not such a table, or contains duplicates.
    """
    if path is None:
        raise ConfigError(
            f"evaluation.path=null: no table comes with the package for this space, only for"
            f" {', '.join(shipped_spaces())}; give one with evaluation.path=FILE.csv.gz, or use an evaluation that"
            f" trains; {HINT}"
        )
    file = shipped_files().get(path) or path_of(path)
    if not is_file(file):
        raise ConfigError(
            f"evaluation.path={path}: there is no such file; give a table of accuracies, one that comes with the"
            f" package ({', '.join(shipped_files())}), or {HINT}"
        )
    return _load(path, file.resolve(), file.stat().st_mtime_ns, key)


# The time of change is part of the key of the cache, so that a rewritten file is read anew.
@lru_cache(maxsize=4)
def _load(path: str, file: Path, changed: int, key: str | None) -> Table:
    try:
        data = file.read_bytes()
        if lfs_pointer(data):
            raise ValueError(lfs_pointer(data))
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        lines = text.splitlines(keepends=True)
        above = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        frame = pd.read_csv(StringIO("".join(lines[above:])), index_col=False)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas raises ValueErrors
        reason = " ".join(str(error).split())
        raise ConfigError(f"evaluation.path={path}: is not a readable CSV file ({reason}); {HINT}") from error
    contents = _contents(path, [line[1:].removeprefix(" ") for line in lines[:above]])
    names = _names(path, frame, key or contents.key, contents.numbered)
    if names.duplicated().any():
        raise ConfigError(
            f"evaluation.path={path}: {names[names.duplicated()].iloc[0]} is duplicated; remove all of its rows but one"
        )
    known = {
        trained.name(part, epochs)
        for trained in contents.datasets.values()
        for part in ("test", "valid")
        for epochs in trained.epochs
    }
    accuracies = {
        name: frame[name].to_numpy(float)
        for name in frame.columns
        if name in known and pd.api.types.is_numeric_dtype(frame[name])
    }
    return Table(path, {name: row for row, name in enumerate(names)}, accuracies, contents)


def _names(path: str, frame: pd.DataFrame, key: str, numbered: bool) -> "pd.Series[str]":
    """Return the names of the architectures, row by row.

    Raises:
        ConfigError: The table lacks them, or lacks rows where its rows are numbered.
    """
    if key in frame:
        return frame[key].astype(str)
    if not numbered or key not in NUMBERED:
        raise ConfigError(
            f"evaluation.path={path}: has no column {key}, only {', '.join(map(str, frame.columns[:8]))}; {HINT}"
        )
    names = NUMBERED[key]()
    if len(frame) != len(names):
        raise ConfigError(
            f"evaluation.path={path}: is numbered and has {len(frame)} rows, not all {len(names)} architectures; give"
            f" one with the column {key}, or {HINT}"
        )
    return pd.Series(names)


def _contents(path: str, lines: list[str]) -> Contents:
    """Parse the lines above the column names.

    Raises:
        ConfigError: They are not a valid description.
    """
    if not lines:
        return Contents()
    try:
        return TypeAdapter(Contents).validate_python(yaml.safe_load("".join(lines)))
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"evaluation.path={path}: the lines above its column names do not describe the table ({reason}); {HINT}"
        ) from error


def header(contents: Mapping[str, Any]) -> str:
    """Format the lines above the column names from the fields of `Contents`."""
    text = yaml.safe_dump(dict(contents), sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in text.splitlines())
