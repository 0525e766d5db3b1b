"""Converter of NAS-Bench-201 and of the topology space of NATS-Bench, from the official files to one compact table.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020); Dong et al., NATS-Bench (TPAMI 2021). Their own API, the package
`nats_bench`, interprets the contents, also of the older file, whose entries have the same form.
The files are pickles, and reading a pickle can run code that it holds, so they are read by restricted readers that
accept only plain data. For an official file that holds more, `unsafe_pickle` disables the restriction.
Accuracies are averaged over the seeds of training, as the benchmark reports them.
"""

import bz2
import csv
import gzip
import importlib
import logging
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np
import torch

from nas_lightning.convert.base import Converter, Track
from nas_lightning.convert.restricted import load_plain
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import untracked

log = logging.getLogger(__name__)

SETS = {
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar10_valid": ("cifar10-valid", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "cifar100_valid": ("cifar100", "x-valid"),
    "in16_120_test": ("ImageNet16-120", "x-test"),
    "in16_120_valid": ("ImageNet16-120", "x-valid"),
}
"""The training and the images measured on, by the prefix of a column's name."""
TRAININGS = {"200": ("200", "full"), "12": ("12", "less")}
"""Names of a training in NATS-Bench and in NAS-Bench-201, by its epochs."""

Entry = Mapping[str, Any]
"""One architecture of the file: its trainings by name, each the state of an `ArchResults`."""


class NasBench201File(Converter):
    """Writes the table that `evaluation=tabular` reads; needs the package `nats_bench`.

    Args:
        source: `NAS-Bench-201-v1_1-096897.pth` or another version of it, `NATS-tss-v1_0-3ffb9.pickle.pbz2`, or the
            folder `NATS-tss-v1_0-3ffb9-simple`.
        target: The `.csv` or `.csv.gz` file to write.
        overwrite: Whether to replace an existing target.
        unsafe_pickle: Whether to read a file that holds more than plain data, which runs any code in it.
    """

    ending = (".csv.gz", ".csv")

    def __init__(
        self,
        source: str | None = None,
        target: str | None = None,
        overwrite: bool = False,
        unsafe_pickle: bool = False,
    ) -> None:
        super().__init__(source, target, overwrite)
        self.unsafe_pickle = unsafe_pickle

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target; see `Converter`.

        Raises:
            ConfigError: The API is not installed, the source cannot be used, or the target cannot be written.
        """
        source, target = self.paths()
        create = _results_factory()
        if self.unsafe_pickle:
            log.warning(
                "convert.source=%s: reading without restriction, which runs whatever code it holds", self.source
            )
        names, entry_of, indices = self._open(source)
        temporary = target.with_name(target.name + ".tmp")
        with _text_file(temporary, target.name.endswith(".gz")) as file:
            writer: csv.DictWriter[str] | None = None
            for index in track(indices, "architectures"):
                row = {"index": index, "arch_str": names[index], **_row(entry_of(index), create)}
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                writer.writerow(row)
        if writer is None:
            temporary.unlink()
            raise ConfigError(f"convert.source={self.source}: has no architecture; give the official file")
        temporary.replace(target)
        return target

    def _open(self, source: Path) -> tuple[Sequence[str], Callable[[int], Entry], list[int]]:
        """Return the names of the architectures, a function from index to entry, and the indices present.

        Raises:
            ConfigError: The source is not an official file or folder.
        """
        if source.is_dir():
            meta = source / "meta.pickle.pbz2"
            if not meta.is_file():
                raise ConfigError(
                    f"convert.source={self.source}: has no {meta.name}; give a file, or the unpacked folder"
                    " NATS-tss-v1_0-3ffb9-simple"
                )
            names = self._with_keys(self._pickle(meta), ("meta_archs",))["meta_archs"]
            files = {index: source / f"{index:06d}.pickle.pbz2" for index in range(len(names))}
            return names, lambda index: self._pickle(files[index]), [i for i in files if files[i].is_file()]
        content = self._torch(source) if source.suffix == ".pth" else self._pickle(source)
        entries = self._with_keys(content, ("meta_archs", "arch2infos"))["arch2infos"]
        return content["meta_archs"], entries.__getitem__, sorted(entries)

    def _with_keys(self, content: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Return the content, or refuse it if it lacks a key.

        Raises:
            ConfigError: It is no dictionary, or lacks a key.
        """
        if not isinstance(content, dict) or any(key not in content for key in keys):
            raise ConfigError(
                f"convert.source={self.source}: lacks {' and '.join(keys)}; give an official file of NAS-Bench-201"
                " or of the topology space of NATS-Bench"
            )
        return content

    @property
    def _remedy(self) -> str:
        return "if you trust its author, convert.unsafe_pickle=true reads the file and runs any code in it"

    def _pickle(self, file: Path) -> Any:
        """Read a pickle compressed with bzip2.

        Raises:
            ConfigError: It cannot be read, or holds more than plain data.
        """
        where = f"convert.source={self.source}: {file.name}"
        try:
            with bz2.open(file, "rb") as stream:
                if not self.unsafe_pickle:
                    return load_plain(cast(BinaryIO, stream), where, self._remedy)
                return pickle.load(stream)
        except ConfigError:
            raise
        except Exception as error:  # an unpickler can raise anything
            reason = " ".join(str(error).split())
            raise ConfigError(f"{where}: cannot be read ({reason}); download the official file again") from error

    def _torch(self, file: Path) -> Any:
        """Read a file of torch.save by torch's own restricted reader, extended by numpy's scalars.

        Raises:
            ConfigError: It cannot be read, or holds more than plain data.
        """
        scalar: Any = np.float64(0).__reduce__()[0]
        known: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
        known += [np.dtype, *{type(np.dtype(kind)) for kind in ("f8", "f4", "i8")}]
        try:
            with torch.serialization.safe_globals(known):
                return torch.load(file, map_location="cpu", weights_only=not self.unsafe_pickle)
        except Exception as error:  # an unpickler can raise anything
            refused = isinstance(error, pickle.UnpicklingError) and not self.unsafe_pickle
            remedy = self._remedy if refused else "download the official file again"
            found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))  # the rest is a long paragraph
            reason = f"it references {found.group(1)}" if found else " ".join(str(error).split())[:200]
            raise ConfigError(f"convert.source={self.source}: cannot be read ({reason}); {remedy}") from error


def _results_factory() -> Callable[[Any], Any]:
    """Return the API's constructor of `ArchResults` from the state in the file.

    Raises:
        ConfigError: The API is not installed.
    """
    try:
        api = importlib.import_module("nats_bench")
    except ImportError as error:
        raise ConfigError(
            "convert: needs the package nats_bench, which interprets the official files; install it:"
            " pip install 'nas-lightning[benchmarks]'"
        ) from error
    return api.ArchResults.create_from_state_dict


def _row(entry: Entry, create: Callable[[Any], Any]) -> dict[str, float | None]:
    """Return the columns of one architecture; None for a training or measurement that it lacks."""
    row: dict[str, float | None] = {}
    for epochs, names in TRAININGS.items():
        state = next((entry[name] for name in names if name in entry), None)
        results = None if state is None else create(state)
        for column, (training, images) in SETS.items():
            row[f"{column}_{epochs}"] = _accuracy(results, training, images)
        if epochs == "200":
            row["params_M_c10"] = _parameters(results)
    return row


def _accuracy(results: Any, training: str, images: str) -> float | None:
    """Return the mean accuracy over the seeds after the last epoch, in percent; None if it was not measured."""
    if results is None or training not in results.get_dataset_names():
        return None
    try:
        return round(float(results.get_metrics(training, images, is_random=False)["accuracy"]), 4)
    except (KeyError, ValueError):  # not measured on these images
        return None


def _parameters(results: Any) -> float | None:
    """Return the parameters of the network for CIFAR-10, in millions; None if it was not trained."""
    if results is None or "cifar10" not in results.get_dataset_names():
        return None
    try:
        return round(float(results.get_compute_costs("cifar10")["params"]), 6)
    except ValueError:  # the seeds disagree, and the one that the API then prefers is missing
        return None


def _text_file(path: Path, compressed: bool) -> TextIO:
    if compressed:
        return gzip.open(path, "wt", newline="")
    return path.open("w", newline="")
