"""Converter of NAS-Bench-101, from the official TFRecord files to one table, for the spaces of NAS-Bench-1Shot1.

Sources: Ying et al., NAS-Bench-101 (ICML 2019); Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), whose spaces hold
66,111 of its 423,624 modules, and whose released code has the errors that its regrets are counted from.
TensorFlow is not needed. The file is read once, block by block; single trainings are kept as numbers alone.
Accuracies are means of the three trainings of a module, with each of them beside; the benchmark's own query draws one
of the three at random. Left out: matrices and operations (the hash names the module), training accuracies, times.
"""

import gzip
import logging
from array import array
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nas_lightning.convert.base import Converter, Track
from nas_lightning.convert.nasbench101_trainings import read_training
from nas_lightning.convert.tfrecord import records
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import untracked
from nas_lightning.core.paths import is_file, lfs_pointer
from nas_lightning.evaluation.contents import NASBENCH101, header
from nas_lightning.runs.files import replacing
from nas_lightning.spaces.nasbench1shot1_modules import module_hashes

log = logging.getLogger(__name__)

REPEATS = 3
"""Trainings of each module and length."""
BLOCK = 2**22
"""Bytes that are read at once."""
LOWEST_ERRORS = {
    "nasbench1shot1_1": {"cifar10_test_108": 5.448717, "cifar10_valid_108": 4.927886},
    "nasbench1shot1_2": {"cifar10_test_108": 5.759215, "cifar10_valid_108": 5.158252},
    "nasbench1shot1_3": {"cifar10_test_108": 5.338544, "cifar10_valid_108": 4.847759},
}
"""Errors in percent from which the released code of NAS-Bench-1Shot1 counts regret: the lowest of single trainings."""


@dataclass
class _Trainings:
    """All trainings that are kept, as columns; `places` are indices into `names`, `lengths` all epochs that occur."""

    lengths: set[int] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    params: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    epochs: "array[int]" = field(default_factory=lambda: array("q"))
    valid: "array[float]" = field(default_factory=lambda: array("d"))
    test: "array[float]" = field(default_factory=lambda: array("d"))


class NasBench101File(Converter):
    """Writes the table that `evaluation=tabular` reads for the spaces of NAS-Bench-1Shot1.

    Args:
        source: `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`.
        target: The `.csv` or `.csv.gz` file to write.
        overwrite: Whether to replace an existing target.
        spaces: Numbers of the spaces of NAS-Bench-1Shot1 whose modules are kept; `all` keeps the whole benchmark.
        epochs: Lengths of training to keep; None is all of the file.
        check_crc: Whether to check the checksums of all records; those of their lengths are always checked.
    """

    ending = (".csv.gz", ".csv")

    def __init__(
        self,
        source: str | None = None,
        target: str | None = None,
        overwrite: bool = False,
        spaces: Sequence[Literal[1, 2, 3]] | Literal["all"] = (1, 2, 3),
        epochs: Sequence[int] | None = None,
        check_crc: bool = True,
    ) -> None:
        super().__init__(source, target, overwrite)
        self.everything = spaces == "all"
        numbers = (1, 2, 3) if spaces == "all" else sorted(set(spaces))
        self.spaces = [f"nasbench1shot1_{number}" for number in numbers]
        self.epochs = None if epochs is None else sorted(set(epochs), reverse=True)
        self.check_crc = check_crc
        if not self.spaces:
            raise ConfigError("convert.spaces=[]: no space is named; use convert.spaces=[1,2,3] or convert.spaces=all")
        if self.epochs == []:
            raise ConfigError("convert.epochs=[]: no length of training is named; use convert.epochs=null for all")

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target; see `Converter`.

        Raises:
            ConfigError: The source is no such file, is corrupt, lacks trainings, or the target cannot be written.
        """
        source, target = self.paths()
        if not is_file(source):
            raise ConfigError(
                f"convert.source={self.source}: is a folder; give the file nasbench_only108.tfrecord or"
                " nasbench_full.tfrecord"
            )
        with closing(self._blocks(source, untracked)) as blocks:  # refuse other files before the hashes are computed
            next(records(blocks, f"convert.source={self.source}", self.check_crc), None)
        members = {name: module_hashes(name, track) for name in self.spaces}
        trainings = self._read(source, members, track)
        frame = self._frame(trainings, members)
        found = {name: len(hashes & trainings.names.keys()) for name, hashes in members.items()}
        complete = all(found[name] == len(hashes) for name, hashes in members.items())
        if not complete:
            log.warning(
                "convert.source=%s: the file lacks architectures, the table is partial: %s",
                self.source,
                "; ".join(f"{found[name]:,} of {len(members[name]):,} of {name}" for name in members),
            )
        lengths = sorted(set(trainings.epochs), reverse=True)
        text = (self._header(lengths, found, complete) + frame.to_csv(index=False)).encode()
        with replacing(target) as file:
            # Without a time stamp, equal tables are equal files.
            file.write(gzip.compress(text, mtime=0) if target.suffix == ".gz" else text)
        return target

    def _blocks(self, source: Path, track: Track) -> Generator[bytes]:
        """Yield the bytes of the file.

        Raises:
            ConfigError: It cannot be read, or is a pointer of Git LFS.
        """
        try:
            with source.open("rb") as file:
                for index in track(range(-(-source.stat().st_size // BLOCK)), f"blocks of {BLOCK // 2**20} MiB"):
                    block = file.read(BLOCK)
                    if index == 0 and lfs_pointer(block):
                        raise ConfigError(f"convert.source={self.source}: {lfs_pointer(block)}")
                    yield block
        except OSError as error:
            raise ConfigError(f"convert.source={self.source}: cannot be read ({error})") from error

    def _read(self, source: Path, members: Mapping[str, frozenset[str]], track: Track) -> _Trainings:
        """Read the trainings to keep.

        Raises:
            ConfigError: The file is corrupt, a record is not one of the benchmark, or none is to be kept.
        """
        where = f"convert.source={self.source}"
        wanted = None if self.everything else frozenset().union(*members.values())
        kept, seen = _Trainings(), 0
        for seen, record in enumerate(records(self._blocks(source, track), where, self.check_crc), start=1):
            try:
                training = read_training(record, wanted)
            except ValueError as error:
                raise ConfigError(
                    f"{where}: record {seen - 1} is no training of NAS-Bench-101: it {error}; give"
                    " nasbench_only108.tfrecord or nasbench_full.tfrecord"
                ) from error
            if training is None:
                continue
            kept.lengths.add(training.epochs)
            if self.epochs is not None and training.epochs not in self.epochs:
                continue
            place = kept.names.setdefault(training.module_hash, len(kept.names))
            if place == len(kept.params):
                kept.params.append(training.params)
            kept.places.append(place)
            kept.epochs.append(training.epochs)
            kept.valid.append(training.valid)
            kept.test.append(training.test)
        if not kept.lengths:
            raise ConfigError(
                f"{where}: none of its {seen:,} trainings is of an architecture of {', '.join(self.spaces)}; give the"
                " official file, or use convert.spaces=all"
            )
        lacking = sorted(set(self.epochs or ()) - kept.lengths)
        if lacking:
            has = ",".join(map(str, sorted(kept.lengths)))
            raise ConfigError(
                f"convert.epochs={self.epochs}: the file has no trainings of {lacking[0]} epochs, only of {has}; use"
                f" convert.epochs=[{has}], or give nasbench_full.tfrecord, which has 4, 12, 36 and 108"
            )
        return kept

    def _frame(self, trainings: _Trainings, members: Mapping[str, frozenset[str]]) -> pd.DataFrame:
        """Return the table, in the order of the hashes.

        Raises:
            ConfigError: A module has another number of trainings than three.
        """
        names = np.array(list(trainings.names))
        places, epochs = np.array(trainings.places), np.array(trainings.epochs)
        columns: dict[str, Any] = {"module_hash": names}
        for length in sorted(set(epochs.tolist()), reverse=True):
            rows = np.flatnonzero(epochs == length)
            counts = np.bincount(places[rows], minlength=len(names))
            if (counts != REPEATS).any():
                first = int(np.flatnonzero(counts != REPEATS)[0])
                raise ConfigError(
                    f"convert.source={self.source}: module {names[first]} has {counts[first]} trainings of {length}"
                    f" epochs; {REPEATS} are expected; download the official file again"
                )
            order = rows[np.argsort(places[rows], kind="stable")]
            for part, values in (("valid", trainings.valid), ("test", trainings.test)):
                percent = 100 * np.array(values)[order].reshape(-1, REPEATS)
                column = NASBENCH101.datasets["cifar10"].name(part, length)
                columns[column] = percent.mean(axis=1).round(4)
                columns |= {f"{column}_seed{seed}": percent[:, seed].round(4) for seed in range(REPEATS)}
        columns["params"] = np.array(trainings.params)
        for name, hashes in members.items():
            columns[f"in_{name}"] = np.array([int(one in hashes) for one in trainings.names])
        return pd.DataFrame(columns).sort_values("module_hash", ignore_index=True)

    def _header(self, lengths: list[int], found: Mapping[str, int], complete: bool) -> str:
        """Return the description of the table."""
        trained = asdict(NASBENCH101.datasets["cifar10"]) | {"epochs": lengths}
        return header(
            {
                "space": self.spaces,
                "key": NASBENCH101.key,
                "recipe": NASBENCH101.recipe,
                "complete": complete,
                "datasets": {"cifar10": trained},
                "lowest_errors": {name: LOWEST_ERRORS[name] for name in self.spaces},
                "about": {
                    "source": "NAS-Bench-101, Ying et al., ICML 2019, https://github.com/google-research/nasbench",
                    "architectures": dict(found),
                    "accuracies": "percent at the end of the training, means of three and each of them, to 4 decimals",
                    "params": "number of parameters of the benchmark's own network",
                    "in_SPACE": "1 where the module is an architecture of the space",
                    "lowest_errors": "percent, lowest of single trainings, from the released code of NAS-Bench-1Shot1",
                },
            }
        )
