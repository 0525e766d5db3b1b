"""The run folder: the only place that a run writes to."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.paths import exists, path_of, shown
from nas_lightning.runs import checkpoints, documents, history, layout, lock, tables
from nas_lightning.runs.files import write_text
from nas_lightning.runs.pool import Journal
from nas_lightning.runs.tables import Row

OUTSIDE_FINGERPRINT = ("trainer", "logger", "callbacks", "data", "threads", "trusted", "graph")
"""Sections of the configuration that are not part of the fingerprint: changing them keeps the checkpoints valid."""

SUMMARY: dict[str, Any] = {
    "task": None,
    "method": None,
    "space": None,
    "data": None,
    "seed": None,
    "genotype": None,
    "objective": None,
    "search": None,
    "selection": None,
    "evaluation": None,
    "candidates": None,
    "readings": None,
    "methods": None,
    "versions": None,
    "git_commit": None,
    "config_hash": None,
}
"""Keys of summary.json in order; a part that did not run stays null."""


class RunFolder:
    """Paths and files of one run.

    Args:
        path: The folder; `claim` creates it.
        key: Override that names the folder on the command line, for messages.
    """

    def __init__(self, path: str | Path, key: str = "resume") -> None:
        self.path = path_of(path).resolve()
        self.key = key

    def __str__(self) -> str:
        try:
            return str(self.path.relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)

    @property
    def whole(self) -> "RunFolder":
        """The run that this one is a part of, such as a candidate or a reading; itself where it is a run of its own."""
        above = self.path.parents
        if len(above) > 1 and above[0].name in layout.PARTS and exists(above[1] / layout.CONFIG):
            return RunFolder(above[1], self.key).whole
        return self

    def command(self, *overrides: str) -> str:
        """Return the words that resume the run, as a shell takes them: `resume=FOLDER`, and overrides.

        Of a part of a run the whole is resumed: the part alone would be finished, and the whole left stopped.

        >>> RunFolder("/runs/best of 4").command("data.num_workers=0")
        "'resume=/runs/best of 4' data.num_workers=0"
        """
        return shlex.join([f"resume={self.whole}", *overrides])

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the search; those of other phases are in folders below."""
        return self.path / layout.CHECKPOINTS

    @property
    def plots(self) -> Path:
        """Folder of drawings and curves."""
        return self.path / layout.PLOTS

    @property
    def metrics(self) -> Path:
        """Table of metrics, one row per epoch."""
        return self.path / layout.METRICS

    @property
    def curvature(self) -> Path:
        """Table of curvature measurements."""
        return self.path / layout.CURVATURE

    @property
    def analysis(self) -> Path:
        """Table of an analysis."""
        return self.path / layout.ANALYSIS

    @property
    def landscape(self) -> Path:
        """Table of the loss landscape around the architecture parameters of a search."""
        return self.path / layout.LANDSCAPE

    @property
    def candidates(self) -> Path:
        """Run folders of the members of `candidates`."""
        return self.path / layout.CANDIDATES

    @property
    def generations(self) -> Path:
        """Table of the generations of a search over a pool."""
        return self.path / layout.GENERATIONS

    def journal(self) -> Journal:
        """Open pool.jsonl, the events of a search over a pool.

        Raises:
            ConfigError: It is damaged.
        """
        return Journal(self.path / layout.POOL, (str(self), self.command()))

    @property
    def readings(self) -> Path:
        """Run folders of further selectors that read the supernet."""
        return self.path / layout.READINGS

    @property
    def methods(self) -> Path:
        """Run folders of further methods."""
        return self.path / layout.METHODS

    @property
    def random_baseline(self) -> Path:
        """Run folders of the random genotypes of `evaluation.random_baseline`."""
        return self.path / layout.RANDOM_BASELINE

    @property
    def genotypes(self) -> Path:
        """Genotype after every epoch, one JSON object per line."""
        return self.path / layout.GENOTYPES

    @property
    def holds_run(self) -> bool:
        """True if the folder contains the configuration of a run."""
        return exists(self.path / layout.CONFIG)

    @ranks.first_only
    def claim(self, config: Mapping[str, Any]) -> None:
        """Create the folder and write the configuration, which makes it the folder of this run.

        Raises:
            ConfigError: The folder already holds a run or cannot be written.
        """
        if self.holds_run:
            raise ConfigError(
                f"hydra.run.dir={self}: the folder already holds a run; continue it with {self.command()} or choose"
                " another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            documents.write_config(self.path / layout.CONFIG, config)
        except OSError as error:
            raise ConfigError(f"hydra.run.dir={self}: cannot be written ({error.strerror})") from error

    def config(self) -> dict[str, Any]:
        """Read config.yaml.

        Raises:
            ConfigError: The folder holds no run, or the file is no configuration.
        """
        try:
            config = documents.read_config(self.path / layout.CONFIG)
        except (OSError, ValueError, yaml.YAMLError) as error:
            if isinstance(error, FileNotFoundError) and exists(self.path / layout.LOG):
                raise ConfigError(
                    f"{self.key}={shown(self)}: was stopped before it had saved anything; repeat its command"
                ) from error
            raise ConfigError(f"{self.key}={shown(self)}: there is no run ({shown(str(error), 120)})") from error
        if not isinstance(config, dict):
            raise ConfigError(f"{self.key}={self}: config.yaml there is not a configuration")
        return config

    def summary(self) -> dict[str, Any]:
        """Read summary.json; before it is written, every part is null.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return {**SUMMARY, **documents.read_json(self.path / layout.SUMMARY)}
        except FileNotFoundError:
            return dict(SUMMARY)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.key}={self}: summary.json there is damaged ({error}); delete it (the checkpoints hold"
                f" the results), then continue with {self.command()}"
            ) from error

    def data_record(self) -> dict[str, Any]:
        """Read data.json: `places` of the images by dotted key, and their `fingerprint`; empty where there is none.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            record = documents.read_json(self.path / layout.DATA)
            return {"places": dict(record["places"]), "fingerprint": dict(record["fingerprint"])}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self.key}={self}: data.json there is damaged ({error}); delete it: it only says where the images"
                " are, and what they were"
            ) from error

    @ranks.first_only
    def save_data_record(self, places: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
        """Write data.json."""
        documents.write_json(self.path / layout.DATA, {"places": dict(places), "fingerprint": dict(fingerprint)})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder; the system releases it when the process ends, however it ends.

        Raises:
            ConfigError: Another process runs the folder.
        """
        with lock.locked(self.path, str(self)):
            yield

    def fingerprint(self) -> str | None:
        """Hash the configuration that checkpoints must match; return None if the folder has no configuration."""
        if not self.holds_run:
            return None
        kept = {key: value for key, value in self.config().items() if key not in OUTSIDE_FINGERPRINT}
        if isinstance(kept.get("evaluation"), dict):
            kept["evaluation"] = {key: value for key, value in kept["evaluation"].items() if key != "graph"}
        return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()

    def checkpoint(self, name: str) -> dict[str, Any] | None:
        """Read and verify the checkpoint `name`, a path below `checkpoints`; return None if there is no such file.

        Raises:
            DamagedCheckpointError: The file is incomplete, is no checkpoint, or belongs to another run.
            ConfigError: Another version of nas_lightning wrote it.
        """
        return checkpoints.read(self, name)

    def resumable(self, phase: str = "") -> tuple[Path, dict[str, Any]] | None:
        """Return the path and the content of the newest sound checkpoint of a phase; None if the phase has none.

        Args:
            phase: Folder below `checkpoints`; empty for the search.

        Raises:
            ConfigError: Every checkpoint there is damaged, or another version wrote it.
        """
        return checkpoints.resumable(self, phase)

    def update_summary(self, **parts: Any) -> dict[str, Any]:
        """Fill parts of the summary, write it atomically on rank 0 and return it."""
        summary = {**self.summary(), **parts}
        if ranks.is_first():
            documents.write_json(self.path / layout.SUMMARY, summary)
        return summary

    @ranks.first_only
    def save_genotype(self, genotype: Genotype) -> None:
        """Write genotype.json."""
        documents.write_json(self.path / layout.GENOTYPE, genotype.to_dict())

    @ranks.first_only
    def save_network(self, text: str) -> None:
        """Write network.json, the description of the trained network for `task=export` and `task=predict`."""
        write_text(self.path / layout.NETWORK, text)

    def genotype(self) -> Genotype:
        """Read genotype.json."""
        return Genotype.load(self.path / layout.GENOTYPE)

    @ranks.first_only
    def append_metrics(self, row: Row) -> None:
        """Append a row to metrics.csv; earlier rows get empty cells in new columns."""
        tables.append_row(self.metrics, row)

    def read_metrics(self) -> list[dict[str, str]]:
        """Read all rows of metrics.csv, cells as text."""
        return tables.read_if_there(self.metrics)

    @ranks.first_only
    def append_curvature(self, row: Row) -> None:
        """Append a row to curvature.csv."""
        tables.append_row(self.curvature, row)

    def read_curvature(self) -> list[dict[str, str]]:
        """Read all rows of curvature.csv, cells as text."""
        return tables.read_if_there(self.curvature)

    @ranks.first_only
    def save_analysis(self, rows: Sequence[Row]) -> None:
        """Write analysis.csv atomically, with all measurements so far."""
        tables.write(self.analysis, rows)

    def read_analysis(self) -> list[dict[str, str]]:
        """Read all rows of analysis.csv, cells as text."""
        return tables.read_if_there(self.analysis)

    @ranks.first_only
    def append_landscape(self, row: Row) -> None:
        """Append a point to landscape.csv."""
        tables.append_row(self.landscape, row)

    def repair_landscape(self) -> list[dict[str, str]]:
        """Remove the partial last row that a kill can leave in landscape.csv; return all rows, cells as text."""
        # A later append would continue the partial row instead of starting a new one.
        tables.cut(self.landscape, lambda row: True)
        return tables.read_if_there(self.landscape)

    @ranks.first_only
    def save_generations(self, rows: Sequence[Row]) -> None:
        """Write generations.csv atomically, with all generations so far."""
        tables.write(self.generations, rows)

    def read_generations(self) -> list[dict[str, str]]:
        """Read all rows of generations.csv, cells as text."""
        return tables.read_if_there(self.generations)

    def read_genotypes(self, skip_damaged: bool = False) -> list[Row]:
        """Read all complete lines of genotypes.jsonl; `skip_damaged` leaves out those that are not JSON."""
        return history.read(self.genotypes, skip_damaged)

    @ranks.first_only
    def append_genotype(self, row: Row) -> None:
        """Append a line to genotypes.jsonl."""
        history.append_row(self.genotypes, row)

    @ranks.first_only
    def save_decisions(self, rows: Sequence[Row]) -> None:
        """Write decisions.csv: choices settled before the end of the search, in order; no rows write nothing."""
        if rows:
            tables.write(self.path / layout.DECISIONS, rows)

    @ranks.first_only
    def save_trajectory(self, rows: Sequence[Row]) -> None:
        """Write trajectory.csv: the tabulated accuracy of the genotype after every epoch."""
        tables.write(self.path / layout.TRAJECTORY, rows)

    @ranks.first_only
    def save_random_search(self, rows: Sequence[Row]) -> None:
        """Write random_search.csv: what random search is expected to find in a table; no rows write nothing."""
        if rows:
            tables.write(self.path / layout.RANDOM_SEARCH, rows)

    @ranks.first_only
    def truncate(self, phase: str, first_epoch: int) -> None:
        """Drop the rows of a phase from `first_epoch` on, which a resumed run is about to repeat.

        The selection continues the epoch count of the search, so the rows of both are dropped together.
        """
        evaluation = phase == "evaluation"

        def keep(row: Mapping[str, Any]) -> bool:
            return (row["phase"] == "evaluation") != evaluation or int(row["epoch"]) < first_epoch

        tables.cut(self.metrics, keep)
        if evaluation:
            return
        tables.cut(self.curvature, lambda row: int(row["epoch"]) < first_epoch)
        history.cut(self.genotypes, first_epoch)


def config_of_another_run(config: Mapping[str, Any], taken: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of the run that `run` names, with the task and some sections of this command.

    Args:
        config: This command's configuration.
        taken: Sections taken from this command; all others come from the other run.

    Raises:
        ConfigError: The folder holds no run.
    """
    source = RunFolder(config["run"], "run")
    own = {key: config[key] for key in (*taken, "task")}
    return {**source.config(), **own, "run": str(source.path)}
