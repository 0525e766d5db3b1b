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
table of NAS-Bench-201. Columns may be missing, cells may be empty, and other columns are ignored, except these:

- `<column>_seed<number>`: the accuracies of single trainings, for instance `digits_test_8_seed0`;
- `params`: the number of parameters of each network, which a run then reports instead of counting;
- `in_<space>`: 1 for the architectures of that space, 0 for others. Where that space looks the table up, the others do
  not count: not for the best, not for a rank, not for random search.

A table of all architectures of NAS-Bench-201 in the benchmark's order may lack their names (`numbered: true`). A table
that lacks architectures says so (`complete: false`); a run that ends with one of these then has no test accuracy.
`task=convert convert=nasbench201` or `convert=nasbench101` makes a table from the official files, `task=convert
convert=runs` from one's own runs; `nas_lightning.evaluation.shipped` lists those that come with the package. The key of
NAS-Bench-101 is `module_hash` (`core.modules.Module.hash`, 32 hexadecimal digits).
"""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import TypeAdapter, ValidationError

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import is_file, lfs_pointer, path_of
from nas_lightning.evaluation.chance import draws_shown, expected_accuracy, rank
from nas_lightning.evaluation.contents import NASBENCH101, Contents, Trained
from nas_lightning.evaluation.shipped import shipped_files, shipped_spaces
from nas_lightning.spaces.nasbench201 import arch_strings

HINT = (
    "make one with task=convert convert=nasbench201 convert.source=FILE convert.target=TABLE.csv.gz (with"
    " convert=nasbench101 for the spaces of NAS-Bench-1Shot1), or of your own runs with convert=runs"
)
TFRECORD = (
    "is a TFRecord file, not a table; convert it first: task=convert convert=nasbench101 convert.source={path}"
    " convert.target=TABLE.csv.gz, then evaluation.path=TABLE.csv.gz"
)
NUMBERED: Mapping[str, Callable[[], Sequence[str]]] = {"arch_str": arch_strings}
"""Names of all architectures in the benchmark's own order, by the key that a numbered table may lack."""


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Args:
        path: The file or the name of a table that comes with the package, as messages name it.
        rows: Index of the row of each architecture, by its name.
        columns: Accuracies in percent by the name of the column, each [N]; nan for an empty cell.
        contents: Its description.
        seeds: Accuracies of single trainings in percent by the name of the column of means, each [N, S]; nan likewise.
        params: Number of parameters of the networks, [N]; None if the table does not say.
        members: For spaces that have a column of their own, 1 where the architecture is one of theirs, else 0, [N].
        space: The space that looks it up; None for the table as it is.
    """

    path: str
    rows: Mapping[str, int]
    columns: Mapping[str, np.ndarray]
    contents: Contents = field(default_factory=Contents)
    seeds: Mapping[str, np.ndarray] = field(default_factory=dict)
    params: np.ndarray | None = None
    members: Mapping[str, np.ndarray] = field(default_factory=dict)
    space: str | None = None

    def of(self, space: str) -> "Table":
        """Return the table as a space looks it up: its own architectures, where the table marks these.

        Raises:
            ConfigError: The column that marks them holds something else than 0 and 1.
        """
        if space not in self.members:
            return replace(self, space=space)
        marks = self.members[space]
        if not np.isin(marks, (0, 1)).all():
            wrong = next(mark for mark in marks.tolist() if mark not in (0, 1))
            raise ConfigError(
                f"evaluation.path={self.path}: its column in_{space} holds {wrong}; allowed are 1 for the architectures"
                f" of space {space} and 0 for others; correct or remove the column"
            )
        kept = np.flatnonzero(marks == 1)
        place = dict(zip(kept.tolist(), range(len(kept)), strict=True))
        return replace(
            self,
            rows={name: place[row] for name, row in self.rows.items() if row in place},
            columns={name: values[kept] for name, values in self.columns.items()},
            seeds={name: values[kept] for name, values in self.seeds.items()},
            params=None if self.params is None else self.params[kept],
            members={},
            space=space,
        )

    def value(self, architecture: str, name: str) -> float | None:
        """Return the accuracy of an architecture in percent; None if the cell is empty or the column missing.

        A table that is not complete has None for an architecture that it does not list.

        Raises:
            ConfigError: The table lacks the architecture, and is complete.
        """
        if architecture not in self.rows:
            if not self.contents.complete:
                return None
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

    def published_regret(self, architecture: str, name: str) -> float | None:
        """Return the error of an architecture minus the lowest published one of the space, in percentage points.

        Publications take the lowest error of single trainings, so that no mean reaches 0. None as `value`, and where
        the table does not name that error.
        """
        lowest = self.contents.lowest_errors.get(self.space or "", {}).get(name)
        value = self.value(architecture, name)
        return None if value is None or lowest is None else round(100 - value - lowest, 4)

    def spread(self, architecture: str, name: str) -> float | None:
        """Return the standard deviation of a sample over single trainings, in percentage points.

        None where the table has less than two of the architecture.
        """
        if name not in self.seeds or architecture not in self.rows:
            return None
        found = self.seeds[name][self.rows[architecture]]
        found = found[~np.isnan(found)]
        return round(float(found.std(ddof=1)), 4) if len(found) > 1 else None

    def parameters(self, architecture: str) -> int | None:
        """Return the number of parameters of a network; None where the table does not say."""
        if self.params is None or architecture not in self.rows:
            return None
        found = float(self.params[self.rows[architecture]])
        return None if np.isnan(found) else int(found)

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
        accuracies, chosen_by = self.columns[name], self._feedback(name, trained)
        feedback = self.columns[chosen_by]
        expected = expected_accuracy(accuracies, feedback, draws)
        return {
            "random_search_accuracy": None if expected is None else round(expected, 4),
            "random_search_draws": min(draws, int(np.count_nonzero(~np.isnan(accuracies + feedback)))),
            "random_search_chosen_by": chosen_by,
        }

    def random_curve(self, name: str, trained: Trained) -> list[dict[str, Any]]:
        """Return what random search is expected to find after more and more draws, and what the draws cost.

        Args:
            name: Column of the accuracy that counts.
            trained: The networks of the data set.

        Returns:
            Rows with `draws`; `test_accuracy`, as `random_search` gives it, in percent; `regret`, the best of the table
            minus that, in percentage points; and `images_spent`, the images that all draws read in the trainings
            that it chooses by, None where the table does not say. Empty for a table that lacks architectures.
        """
        if not self.contents.complete:
            return []
        chosen_by = self._feedback(name, trained)
        accuracies, feedback = self.columns[name], self.columns[chosen_by]
        parts = [(part, epochs) for part in ("test", "valid") for epochs in trained.epochs]
        part, epochs = next(one for one in parts if trained.name(*one) == chosen_by)
        images = trained.images.get(part)
        rows = []
        for draws in draws_shown(int(np.count_nonzero(~np.isnan(accuracies + feedback)))):
            expected = expected_accuracy(accuracies, feedback, draws)
            assert expected is not None  # there is one to draw
            rows.append(
                {
                    "draws": draws,
                    "test_accuracy": round(expected, 4),
                    "regret": round(self.best(name) - expected, 4),
                    "images_spent": None if images is None else draws * epochs * images,
                }
            )
        return rows

    def standing(self, name: str, test: str, accuracy: float | None) -> dict[str, Any]:
        """Return the fields of the summary on the accuracy of an architecture and its place among all."""
        return {
            "in_table": accuracy is not None,
            "test_accuracy": accuracy,
            "test_accuracy_std": self.spread(name, test),
            "test_error": None if accuracy is None else round(100 - accuracy, 4),
            "regret": self.regret(name, test),
            "regret_published": self.published_regret(name, test),
            "rank": self.rank(name, test),
            "rank_of": self.count(test),
        }

    def _feedback(self, name: str, trained: Trained) -> str:
        """Return the column that random search chooses by: the cheapest on val that is known, else `name` itself."""
        validated = (trained.name("valid", epochs) for epochs in sorted(trained.epochs))
        known = [column for column in validated if column in self.columns]
        # One that is empty where the accuracies are not says nothing.
        return next((c for c in known if not np.isnan(self.columns[c] + self.columns[name]).all()), name)


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


class _TFRecordError(Exception):
    """The file is a TFRecord file."""


# The time of change is part of the key of the cache, so that a rewritten file is read anew.
@lru_cache(maxsize=4)
def _load(path: str, file: Path, changed: int, key: str | None) -> Table:
    try:
        if is_tfrecord(file):
            raise _TFRecordError
        data = file.read_bytes()
        if lfs_pointer(data):
            raise ValueError(lfs_pointer(data))
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        lines = text.splitlines(keepends=True)
        above = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        frame = pd.read_csv(StringIO("".join(lines[above:])), index_col=False)
    except _TFRecordError as error:
        raise ConfigError(f"evaluation.path={path}: {TFRECORD.format(path=path)}") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:  # pandas raises ValueErrors
        reason = " ".join(str(error).split())
        raise ConfigError(f"evaluation.path={path}: is not a readable CSV file ({reason}); {HINT}") from error
    described = [line[1:].removeprefix(" ") for line in lines[:above]]
    contents = _contents(path, described) if described else _undescribed(frame)
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
    numbers = {str(name): frame[name] for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])}
    accuracies = {name: column.to_numpy(float) for name, column in numbers.items() if name in known}
    seeds = {
        name: np.stack([column.to_numpy(float) for key, column in numbers.items() if key.startswith(f"{name}_seed")], 1)
        for name in accuracies
        if any(key.startswith(f"{name}_seed") for key in map(str, numbers))
    }
    params = numbers["params"].to_numpy(float) if "params" in numbers else None
    members = {
        name.removeprefix("in_"): frame[name].to_numpy() for name in map(str, frame.columns) if name.startswith("in_")
    }
    rows = {name: row for row, name in enumerate(names)}
    return Table(path, rows, accuracies, contents, seeds, params, members)


def is_tfrecord(file: Path) -> bool:
    """Check whether a file is a TFRecord file, by its name or its first length, without reading it whole."""
    with file.open("rb") as stream:
        head = stream.read(12)
    # Eight bytes of length, of which the upper four are 0; no text has such bytes, and gzip's begin otherwise.
    return file.suffix == ".tfrecord" or (len(head) == 12 and head[4:8] == bytes(4) and head[:2] != b"\x1f\x8b")


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


def _undescribed(frame: pd.DataFrame) -> Contents:
    """Return the description of a table without any, by its key: of NAS-Bench-101, or else of NAS-Bench-201."""
    is_101 = NASBENCH101.key in frame and Contents().key not in frame
    return NASBENCH101 if is_101 else Contents()


def _contents(path: str, lines: list[str]) -> Contents:
    """Parse the lines above the column names.

    Raises:
        ConfigError: They are not a valid description.
    """
    try:
        return TypeAdapter(Contents).validate_python(yaml.safe_load("".join(lines)))
    except (yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"evaluation.path={path}: the lines above its column names do not describe the table ({reason}); {HINT}"
        ) from error
