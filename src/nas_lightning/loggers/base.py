"""What a logger may know of its run.

A logger is one of Lightning's, or anything of that kind. It may have further methods, which are called if it has them:

- `log_row(row, step)`: the numbers of an epoch by `<phase>/<column of metrics.csv>`; without it, `log_metrics`;
- `log_drawing(name, image, step)`: a PIL image, every `drawing_interval` epochs, an attribute of the logger;
- `log_genotype(file)`: the genotype that the run ends with;
- `log_outcome(outcome)`: the summary, flat;
- `close(status)`: nothing follows; `success`, `failed` or `interrupted`. Without it, `finalize`.

`step` counts the epochs of all phases; it never falls, whatever the search goes back to.
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
    """Names of one run, from its folder and configuration; asked for when the folder is there.

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
        """Method, space and data."""
        summary = self.folder.summary()
        return [str(summary[key]) for key in ("method", "space", "data")]

    @property
    def name(self) -> str:
        """`<method>-<space>-<data>-seed<seed>`."""
        return "-".join([*self.words, f"seed{self.config['seed']}"])

    @property
    def group(self) -> str:
        """What runs are compared within: their sweep, else their method, space and data.

        Noted in the folder, since a member of a sweep that is resumed does not know of the sweep.
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
        """The user's, then method, space, data and seed."""
        return list(dict.fromkeys([*self.config.get("tags", []), *self.words, f"seed{self.config['seed']}"]))

    @property
    def kind(self) -> str:
        """The task; `candidate` for a member of `candidates`, whose folder is inside another run's."""
        return "candidate" if self.path.parent.name == layout.CANDIDATES else self.config["task"]

    def noted(self, key: str) -> str | None:
        """What was noted in the folder by `note`, before a resume."""
        return self._notes().get(key)

    def note(self, key: str, value: str) -> None:
        """Keep an identity of the run for a resume, in loggers.json."""
        documents.write_json(self.path / layout.LOGGERS, {**self._notes(), key: value})

    def _notes(self) -> dict[str, str]:
        try:
            return documents.read_json(self.path / layout.LOGGERS)
        except (OSError, ValueError):  # none yet, or cut off: a new identity is better than none
            return {}


def require(package: str, logger: str) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        ConfigError: It is not.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f'logger={logger}: the package {package} is not installed; pip install "nas-lightning[{logger}]", or leave'
            f" the logger out"
        )
