"""The run folder: everything that a run leaves behind, and nothing outside it."""

import csv
import hashlib
import io
import json
import logging
import os
import platform
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, DamagedCheckpointError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.runs.files import append, replacing, whole_lines

log = logging.getLogger(__name__)

Row = dict[str, Any]

LOCK_SECONDS = 10
"""How long the workers of a run that was killed may hold its folder; they look for their parent every 5 seconds."""
_LOCKED: set[str] = set()
"""Folders that this process has locked."""

FORMAT = 2
"""Of checkpoints: another number means that what they hold has changed."""

NOT_THE_RUN = ("trainer", "logger", "callbacks", "data", "threads", "trusted")
"""Sections of the configuration that may be mended in a run folder without making it another run."""

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
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """Drawings and curves."""
        return self.path / "plots"

    @property
    def metrics(self) -> Path:
        """Table of metrics, one row an epoch."""
        return self.path / "metrics.csv"

    @property
    def curvature(self) -> Path:
        """Table of what was measured of the curvature."""
        return self.path / "curvature.csv"

    @property
    def analysis(self) -> Path:
        """Table of an analysis."""
        return self.path / "analysis.csv"

    @property
    def landscape(self) -> Path:
        """Table of what was measured around the architecture parameters of a search."""
        return self.path / "landscape.csv"

    @property
    def candidates(self) -> Path:
        """Run folders of the members of `candidates`."""
        return self.path / "candidates"

    @property
    def genotypes(self) -> Path:
        """The genotype after every epoch, one JSON object a line."""
        return self.path / "genotypes.jsonl"

    @ranks.first_only
    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this run's own by writing its configuration.

        Raises:
            ConfigError: It already holds a run, or cannot be written.
        """
        if (self.path / "config.yaml").exists():
            raise ConfigError(
                f"hydra.run.dir={self}: the folder already holds a run; continue it with resume={self} or choose"
                " another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise ConfigError(f"hydra.run.dir={self}: cannot be written ({error.strerror})") from error

    def config(self) -> dict[str, Any]:
        """The configuration of the run that the folder holds.

        Raises:
            ConfigError: The folder holds no run.
        """
        try:
            config = yaml.safe_load((self.path / "config.yaml").read_text())
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
            return {**SUMMARY, **json.loads((self.path / "summary.json").read_text())}
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
        if ranks.STARTED_HERE in os.environ:  # the process that has started this one holds it
            yield
            return
        held = self.path / "config.yaml"  # written once, never replaced
        if fcntl is None or not ranks.is_first() or str(self.path) in _LOCKED or not held.exists():
            yield
            return
        with held.open() as file:
            end = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        raise ConfigError(
                            f"resume={self}: another process runs it; wait for its end, or stop it"
                        ) from error
                    time.sleep(0.2)
                    continue
                except OSError as error:  # a file system without locks
                    log.info("%s cannot be locked: %s", self, error)
                break
            _LOCKED.add(str(self.path))
            try:
                yield
            finally:
                _LOCKED.remove(str(self.path))

    def fingerprint(self) -> str | None:
        """Of the run that the folder holds; its checkpoints carry it. None where parts ran without a configuration."""
        if not (self.path / "config.yaml").exists():
            return None
        kept = {key: value for key, value in self.config().items() if key not in NOT_THE_RUN}
        return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()

    def checkpoint(self, name: str) -> dict[str, Any] | None:
        """A checkpoint by its path below `checkpoints`, or None where there is none.

        Raises:
            DamagedCheckpointError: The file is not whole, is no checkpoint, or is one of another run.
            ConfigError: Another version of nas_lightning wrote it.
        """
        path = self.checkpoints / name
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as file:
                if (part := file.testzip()) is not None:  # torch does not look at the sums
                    raise ValueError(f"{part} is not what was written")
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(saved, dict) or "state_dict" not in saved:
                raise ValueError("it holds no state")
        except Exception as error:  # torch raises errors of many kinds for a damaged file
            reason = " ".join(str(error).split())[:200]
            raise DamagedCheckpointError(
                f"{self.key}={self}: checkpoints/{name} is damaged ({reason}); delete it, and resume={self} trains"
                " that phase again"
            ) from error
        written = saved.get("nas_lightning", {"format": 1})
        if written["format"] != FORMAT:
            raise ConfigError(
                f"{self.key}={self}: checkpoints/{name} is of format {written['format']}, this version reads {FORMAT};"
                " go on with the version of nas-lightning that wrote it (summary.json names it), or start a new run"
            )
        if written["run"] != self.fingerprint():
            raise DamagedCheckpointError(
                f"{self.key}={self}: checkpoints/{name} belongs to another run than config.yaml there; put that run's"
                f" own file there, or delete it, and resume={self} trains that phase again"
            )
        return saved

    def resumable(self, phase: str = "") -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint of a phase that is sound, and its path; None where there is none at all.

        Args:
            phase: Its folder below `checkpoints`, none for the search.

        Raises:
            ConfigError: Those that are there are damaged, or another version wrote them.
        """
        damaged: list[DamagedCheckpointError] = []
        for name in ("last.ckpt", "previous.ckpt"):
            path = Path(phase) / name
            try:
                saved = self.checkpoint(str(path))
            except DamagedCheckpointError as error:
                damaged.append(error)
                continue
            if saved is not None:
                if damaged:
                    log.warning("%s; going on from %s, the state before it", str(damaged[0]).partition(";")[0], name)
                    # Out of the way: it would become previous.ckpt, and a kill could leave nothing else.
                    if ranks.is_first():
                        (self.checkpoints / phase / "last.ckpt").replace(self.checkpoints / phase / "damaged.ckpt")
                return self.checkpoints / path, saved
        if len(damaged) > 1:
            raise DamagedCheckpointError(
                f"{str(damaged[0]).partition(';')[0]}; so is previous.ckpt, the state before it: delete both, or start"
                " a new run"
            )
        if damaged:
            raise damaged[0]
        return None

    def update_summary(self, **parts: Any) -> dict[str, Any]:
        """Fill parts of the summary; the file is replaced in one step, so a kill leaves the old or the new one."""
        summary = {**self.summary(), **parts}
        if ranks.is_first():
            _write(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")
        return summary

    @ranks.first_only
    def save_genotype(self, genotype: Genotype) -> None:
        """Write genotype.json."""
        _write(self.path / "genotype.json", json.dumps(genotype.to_dict(), indent=2) + "\n")

    @ranks.first_only
    def save_network(self, text: str) -> None:
        """Write network.json: what was trained, for `task=export` and `task=predict`."""
        _write(self.path / "network.json", text)

    def genotype(self) -> Genotype:
        """Read genotype.json."""
        return Genotype.load(self.path / "genotype.json")

    @ranks.first_only
    def append_metrics(self, row: Row) -> None:
        """Add a row to metrics.csv; new columns are added to the rows before, empty."""
        _append(self.metrics, row)

    def read_metrics(self) -> list[dict[str, str]]:
        """All rows of metrics.csv, as text."""
        return _read(self.metrics)

    @ranks.first_only
    def append_curvature(self, row: Row) -> None:
        """Add a row to curvature.csv."""
        _append(self.curvature, row)

    def read_curvature(self) -> list[dict[str, str]]:
        """All rows of curvature.csv, as text."""
        return _read(self.curvature)

    @ranks.first_only
    def save_analysis(self, rows: Sequence[Row]) -> None:
        """Write analysis.csv: what was measured so far; a kill leaves the old or the new table."""
        _write_table(self.analysis, rows)

    def read_analysis(self) -> list[dict[str, str]]:
        """All rows of analysis.csv, as text."""
        return _read(self.analysis)

    @ranks.first_only
    def append_landscape(self, row: Row) -> None:
        """Add a point to landscape.csv."""
        _append(self.landscape, row)

    def mended_landscape(self) -> list[dict[str, str]]:
        """All rows of landscape.csv, as text; half a row, which a kill can leave, is cut off."""
        _cut(self.landscape, lambda row: True)
        return _read(self.landscape)

    @ranks.first_only
    def append_genotype(self, row: Row) -> None:
        """Add a line to genotypes.jsonl."""
        append(self.genotypes, json.dumps(row) + "\n")

    @ranks.first_only
    def save_decisions(self, rows: Sequence[Row]) -> None:
        """Write decisions.csv: what was settled before the end, in order."""
        if rows:
            _write_table(self.path / "decisions.csv", rows)

    @ranks.first_only
    def truncate(self, phase: str, first_epoch: int) -> None:
        """Drop the rows of a phase from `first_epoch` on: the epochs that a resumed run is about to repeat.

        The search and the selection after it count their epochs on, so they are cut together.
        """
        evaluation = phase == "evaluation"

        def keep(row: Mapping[str, Any]) -> bool:
            return (row["phase"] == "evaluation") != evaluation or int(row["epoch"]) < first_epoch

        _cut(self.metrics, keep)
        if evaluation:
            return
        _cut(self.curvature, lambda row: int(row["epoch"]) < first_epoch)
        if self.genotypes.exists():
            lines = [json.loads(line) for line in whole_lines(self.genotypes)]
            kept = [row for row in lines if row["epoch"] < first_epoch]
            _write(self.genotypes, "".join(json.dumps(row) + "\n" for row in kept))


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


def _append(path: Path, row: Row) -> None:
    rows = _read(path)
    columns = list(rows[0]) if rows else []
    if rows and set(row) <= set(columns):
        append(path, _csv([row], columns, header=False))
    else:
        _write_table(path, [*rows, row])


def _read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(whole_lines(path))) if path.exists() else []


def _cut(path: Path, keep: Callable[[Mapping[str, Any]], bool]) -> None:
    if not path.exists():
        return
    lines = whole_lines(path)
    rows = list(csv.DictReader(lines))
    if not all(map(keep, rows)) or sum(len(line.encode()) for line in lines) != path.stat().st_size:
        _write_table(path, [row for row in rows if keep(row)])


def _write_table(path: Path, rows: Iterable[Row]) -> None:
    rows = list(rows)
    _write(path, _csv(rows, list(dict.fromkeys(key for row in rows for key in row)), header=True))


def _csv(rows: Iterable[Row], columns: Sequence[str], header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = ("nas-lightning", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str | None:
    """Commit of the checkout that the code runs from, `-dirty` where files differ from it; None outside one."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():  # installed: a repository further up would be somebody else's
        return None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changes else head or None
