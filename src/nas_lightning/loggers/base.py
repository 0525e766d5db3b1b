"""Describe a run to its loggers: name, group, tags and ids that survive a resume.

A logger is a Lightning `Logger`. It may define further methods, which are called where they exist:

- `log_row(row, step)` logs the metrics of an epoch, named `<phase>/<column of metrics.csv>`; default: `log_metrics`;
- `log_drawing(name, image, step)` logs a PIL image every `drawing_interval` epochs, an attribute of the logger;
- `log_genotype(file)` logs the final genotype;
- `log_outcome(outcome)` logs the flat summary;
- `close(status)` ends the run as `success`, `failed` or `interrupted`; default: `finalize`.

`step` counts the epochs of all phases. It never decreases, even where a control sends the search back to an earlier
epoch, because loggers drop or overwrite decreasing steps.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import documents, layout
from nas_lightning.runs.folder import RunFolder


class RunInfo:
    """Names and ids of one run, from its folder and configuration; read once the folder exists.

    Args:
        folder: The run folder.
        config: The resolved configuration.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = dict(config)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def words(self) -> list[str]:
        """Names of method, space and data."""
        summary = self.folder.summary()
        return [str(summary[key]) for key in ("method", "space", "data")]

    @property
    def name(self) -> str:
        """`<method>-<space>-<data>-seed<seed>`."""
        return "-".join([*self.words, f"seed{self.config['seed']}"])

    @property
    def group(self) -> str:
        """Group in which runs are compared: their sweep, else `<method>-<space>-<data>`.

        It is noted in the folder, because a member that is resumed does not know its sweep.
        """
        noted = self.noted("group")
        if noted is not None:
            return noted
        in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        group = self.config["sweep"] if in_sweep else "-".join(self.words)
        self.note("group", group)
        return group

    @property
    def tags(self) -> list[str]:
        """Tags of the user, then method, space, data and seed, without duplicates."""
        return list(dict.fromkeys([*self.config.get("tags", []), *self.words, f"seed{self.config['seed']}"]))

    @property
    def kind(self) -> str:
        """Task of the run; of a run inside of another, `candidate`, `reading` or `random_baseline`."""
        kinds = {layout.CANDIDATES: "candidate", layout.READINGS: "reading", layout.RANDOM_BASELINE: "random_baseline"}
        return kinds.get(self.path.parent.name, self.config["task"])

    def noted(self, key: str) -> str | None:
        """Return the value that `note` stored under a key, before a resume if need be; None if there is none."""
        return self._notes().get(key)

    def note(self, key: str, value: str) -> None:
        """Store an id of the run in loggers.json, for a resume."""
        documents.write_json(self.path / layout.LOGGERS, {**self._notes(), key: value})

    def _notes(self) -> dict[str, str]:
        try:
            return documents.read_json(self.path / layout.LOGGERS)
        except (OSError, ValueError):  # missing or incomplete: a new id is better than no logger
            return {}


def require(package: str, logger: str) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        ConfigError: The package is missing.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f'logger={logger}: the package {package} is not installed; pip install "nas-lightning[{logger}]", or leave'
            f" the logger out"
        )
