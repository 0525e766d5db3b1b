"""The run folder: everything that a run leaves behind, and nothing outside it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.runs import checkpoints, documents, history, layout, lock, tables
from nas_lightning.runs.files import write_text
from nas_lightning.runs.tables import Row

NOT_THE_RUN = ("trainer", "logger", "callbacks", "data", "threads", "trusted")
"""Sections of the configuration that may be changed in a run folder without making it another run."""

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
    "versions": None,
    "git_commit": None,
    "config_hash": None,
}
"""Keys of summary.json in their order; parts that did not run stay null."""


class RunFolder:
    """Paths and files of one run.

    Args:
        path: The folder; it is made when the first file is written.
        key: What names the folder on the command line, for messages.
    """

    def __init__(self, path: str | Path, key: str = "resume") -> None:
        self.path = Path(path).resolve()
        self.key = key

    def __str__(self) -> str:
        try:
            return str(self.path.relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the search; those of the evaluation are in a folder below."""
        return self.path / layout.CHECKPOINTS

    @property
    def plots(self) -> Path:
        """Drawings and curves."""
        return self.path / layout.PLOTS

    @property
    def metrics(self) -> Path:
        """Table of metrics, one row an epoch."""
        return self.path / layout.METRICS

    @property
    def curvature(self) -> Path:
        """Table of what was measured of the curvature."""
        return self.path / layout.CURVATURE

    @property
    def analysis(self) -> Path:
        """Table of an analysis."""
        return self.path / layout.ANALYSIS

    @property
    def landscape(self) -> Path:
        """Table of what was measured around the architecture parameters of a search."""
        return self.path / layout.LANDSCAPE

    @property
    def candidates(self) -> Path:
        """Run folders of the members of `candidates`."""
        return self.path / layout.CANDIDATES

    @property
    def genotypes(self) -> Path:
        """The genotype after every epoch, one JSON object a line."""
        return self.path / layout.GENOTYPES

    @property
    def holds_run(self) -> bool:
        """Whether there is a configuration of a run."""
        return (self.path / layout.CONFIG).exists()

    @ranks.first_only
    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this run's own by writing its configuration.

        Raises:
            ConfigError: It already holds a run, or cannot be written.
        """
        if self.holds_run:
            raise ConfigError(
                f"hydra.run.dir={self}: the folder already holds a run; continue it with resume={self} or choose"
                " another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            documents.write_config(self.path / layout.CONFIG, config)
        except OSError as error:
            raise ConfigError(f"hydra.run.dir={self}: cannot be written ({error.strerror})") from error

    def config(self) -> dict[str, Any]:
        """The configuration of the run that the folder holds.

        Raises:
            ConfigError: The folder holds no run.
        """
        try:
            config = documents.read_config(self.path / layout.CONFIG)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"{self.key}={self}: there is no run ({' '.join(str(error).split())})") from error
        if not isinstance(config, dict):
            raise ConfigError(f"{self.key}={self}: config.yaml there is not a configuration")
        return config

    def summary(self) -> dict[str, Any]:
        """The summary so far; all parts null before the first is written.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return {**SUMMARY, **documents.read_json(self.path / layout.SUMMARY)}
        except FileNotFoundError:
            return dict(SUMMARY)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.key}={self}: summary.json there is damaged ({error}); delete it: what is finished is in the"
                " checkpoints"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder; the system lets go when the process ends, however it ends.

        Raises:
            ConfigError: A run is at work there.
        """
        with lock.locked(self.path, str(self)):
            yield

    def fingerprint(self) -> str | None:
        """Of the run that the folder holds; its checkpoints carry it. None where parts ran without a configuration."""
        if not self.holds_run:
            return None
        kept = {key: value for key, value in self.config().items() if key not in NOT_THE_RUN}
        return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()

    def checkpoint(self, name: str) -> dict[str, Any] | None:
        """A checkpoint by its path below `checkpoints`, or None where there is none.

        Raises:
            DamagedCheckpointError: The file is not whole, is no checkpoint, or is one of another run.
            ConfigError: Another version of nas_lightning wrote it.
        """
        return checkpoints.read(self, name)

    def resumable(self, phase: str = "") -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint of a phase that is sound, and its path; None where there is none at all.

        Args:
            phase: Its folder below `checkpoints`, none for the search.

        Raises:
            ConfigError: Those that are there are damaged, or another version wrote them.
        """
        return checkpoints.resumable(self, phase)

    def update_summary(self, **parts: Any) -> dict[str, Any]:
        """Fill parts of the summary; the file is replaced in one step, so a kill leaves the old or the new one."""
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
        """Write network.json: what was trained, for `task=export` and `task=predict`."""
        write_text(self.path / layout.NETWORK, text)

    def genotype(self) -> Genotype:
        """Read genotype.json."""
        return Genotype.load(self.path / layout.GENOTYPE)

    @ranks.first_only
    def append_metrics(self, row: Row) -> None:
        """Add a row to metrics.csv; new columns are added to the rows before, empty."""
        tables.append_row(self.metrics, row)

    def read_metrics(self) -> list[dict[str, str]]:
        """All rows of metrics.csv, as text."""
        return tables.read_if_there(self.metrics)

    @ranks.first_only
    def append_curvature(self, row: Row) -> None:
        """Add a row to curvature.csv."""
        tables.append_row(self.curvature, row)

    def read_curvature(self) -> list[dict[str, str]]:
        """All rows of curvature.csv, as text."""
        return tables.read_if_there(self.curvature)

    @ranks.first_only
    def save_analysis(self, rows: Sequence[Row]) -> None:
        """Write analysis.csv: what was measured so far; a kill leaves the old or the new table."""
        tables.write(self.analysis, rows)

    def read_analysis(self) -> list[dict[str, str]]:
        """All rows of analysis.csv, as text."""
        return tables.read_if_there(self.analysis)

    @ranks.first_only
    def append_landscape(self, row: Row) -> None:
        """Add a point to landscape.csv."""
        tables.append_row(self.landscape, row)

    def mended_landscape(self) -> list[dict[str, str]]:
        """All rows of landscape.csv, as text; half a row, which a kill can leave, is cut off."""
        tables.cut(self.landscape, lambda row: True)
        return tables.read_if_there(self.landscape)

    def read_genotypes(self, skip_damaged: bool = False) -> list[Row]:
        """All whole lines of genotypes.jsonl; `skip_damaged` leaves out those that are not JSON."""
        return history.read(self.genotypes, skip_damaged)

    @ranks.first_only
    def append_genotype(self, row: Row) -> None:
        """Add a line to genotypes.jsonl."""
        history.append_row(self.genotypes, row)

    @ranks.first_only
    def save_decisions(self, rows: Sequence[Row]) -> None:
        """Write decisions.csv: what was settled before the end, in order."""
        if rows:
            tables.write(self.path / layout.DECISIONS, rows)

    @ranks.first_only
    def save_trajectory(self, rows: Sequence[Row]) -> None:
        """Write trajectory.csv: the tabulated accuracy of the genotype after every epoch."""
        tables.write(self.path / layout.TRAJECTORY, rows)

    @ranks.first_only
    def truncate(self, phase: str, first_epoch: int) -> None:
        """Drop the rows of a phase from `first_epoch` on: the epochs that a resumed run is about to repeat.

        The search and the selection after it count their epochs on, so they are cut together.
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
    """The configuration of the run that `run` names, for the task of this command.

    Args:
        config: This command's configuration.
        taken: The sections that come from it; everything else is what the other run had.

    Raises:
        ConfigError: The folder holds no run.
    """
    source = RunFolder(config["run"], "run")
    own = {key: config[key] for key in (*taken, "task")}
    return {**source.config(), **own, "run": str(source.path)}
