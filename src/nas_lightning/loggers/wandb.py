"""Weights & Biases logger: one run for all phases, in the run folder, offline without a key or a network."""

import logging
import netrc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlparse

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from PIL.Image import Image
from pydantic import Field

from nas_lightning.loggers.base import RunInfo

log = logging.getLogger(__name__)

AXES = {**{f"{phase}/*": f"{phase}/epoch" for phase in ("search", "selection", "evaluation")}, "pool/*": "pool/size"}
"""What names of metrics are drawn against: the epoch of their phase, or the candidates of a pool so far."""


class Wandb(WandbLogger):
    """Log a run to W&B; after a resume under the same id.

    It never prompts for a key: `mode` null follows WANDB_MODE, else is `online` with a key and `offline` without. If no
    server answers, the run is kept offline. Nothing that could contain a secret is recorded: no environment, no
    arguments, no terminal output, no code.

    Args:
        project: Project of the run; null: WANDB_PROJECT, else nas-lightning.
        entity: User or team; null: the default of the key.
        group: Group of the run; null: the sweep, else method-space-data.
        mode: `online`, `offline` or `disabled`.
        drawing_interval: Epochs between two drawings of the cells and the mixing weights; null: none.
        init_timeout: Seconds to wait for the server at the start.
        finish_timeout: Seconds to wait for the upload at the end; unsent data stay in the run folder.
        run: Names and ids of the run; the workbench fills it in.
        others: Further arguments of `wandb.init`.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        drawing_interval: Annotated[int, Field(ge=1)] | None = 5,
        init_timeout: Annotated[float, Field(gt=0)] = 60.0,
        finish_timeout: Annotated[float, Field(gt=0)] = 300.0,
        run: RunInfo | None = None,
        **others: Any,
    ) -> None:
        assert run is not None, "filled in by the workbench"
        project = project or os.environ.get("WANDB_PROJECT") or "nas-lightning"
        super().__init__(project=project, save_dir=run.path)
        self.drawing_interval = drawing_interval
        self._run = run
        self._asked = {"entity": entity, "group": group, **others}
        self._wished_mode = mode
        self._timeouts = {"init_timeout": init_timeout, "finish_timeout": finish_timeout}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Run of W&B; the first access starts it."""
        if self._experiment is None:
            folder = self._run.path / "wandb"
            folder.mkdir(exist_ok=True)  # if this failed within wandb, it would write elsewhere
            with _writing_to(folder):
                self._experiment = self._start()
        return self._experiment

    def _start(self) -> Any:
        mode = self._mode()
        try:
            return self._init(mode)
        except wandb.Error as error:
            if mode != "online":
                raise
            reason = " ".join(str(error).split())[:200]
            log.warning("logger.wandb: no connection, the run is kept offline (%s)", reason)
            return self._init("offline")

    def _mode(self) -> str:
        settings = wandb.setup().settings
        chosen = self._wished_mode or os.environ.get("WANDB_MODE") or settings.mode
        if chosen not in ("online", "run"):
            return chosen
        return "online" if _has_key(settings.base_url) else "offline"

    def _init(self, mode: str) -> Any:
        run = self._run
        identity = run.noted("wandb")
        arguments = {
            "project": self._project,
            "dir": str(run.path),
            "id": identity,
            "name": run.name,
            "tags": [tag[:64] for tag in run.tags],
            "job_type": run.kind,
            "mode": mode,
            # Offline no server can be asked for the run; `wandb sync` joins its parts by the id.
            "resume": "allow" if identity and mode == "online" else None,
            "reinit": "create_new",
            **self._asked,
        }
        arguments["group"] = arguments["group"] or run.group
        settings: dict[str, Any] = {
            "console": "off",
            "disable_code": True,
            "disable_git": True,
            "save_code": False,
            "silent": True,
            "symlink": False,
            "x_disable_meta": True,
            "x_save_requirements": False,
            **self._timeouts,
            **(self._asked.get("settings") or {}),
        }
        known = wandb.Settings.model_fields  # one setting is newer than the oldest W&B that is supported
        arguments["settings"] = wandb.Settings(**{key: value for key, value in settings.items() if key in known})
        started = wandb.init(**arguments)
        if mode == "disabled":
            return started
        run.note("wandb", started.id)
        for names, axis in AXES.items():
            started.define_metric(axis)
            started.define_metric(names, step_metric=axis)
        where = started.url if mode == "online" else f"{mode}; upload: wandb sync {Path(started.dir).parent}"
        log.info("wandb: run %s, %s", started.id, where)
        return started

    def _log(self, values: dict[str, Any], step: int) -> None:
        # Users' callbacks may have logged a later step, and W&B drops decreasing steps.
        self.experiment.log(values, step=max(step, self.experiment.step))

    def log_row(self, row: dict[str, float], step: int) -> None:
        """Log the metrics of an epoch, plotted against the epoch of their phase."""
        self._log(row, step)

    def log_drawing(self, name: str, image: Image, step: int) -> None:
        """Log a drawing."""
        self._log({name: wandb.Image(image)}, step)

    def log_genotype(self, file: Path) -> None:
        """Log the genotype as an artifact."""
        artifact = wandb.Artifact(f"genotype-{self.experiment.id}", type="genotype")
        with _writing_to(self._run.path / "wandb"):
            artifact.add_file(str(file), policy="immutable", skip_cache=True)
            self.experiment.log_artifact(artifact)

    def log_outcome(self, outcome: dict[str, Any]) -> None:
        """Log the summary."""
        self.experiment.summary.update(outcome)

    def close(self, status: str) -> None:
        """Finish the run, so that the next one in this process is a separate run in W&B."""
        if self._experiment is not None:
            experiment, self._experiment = self._experiment, None
            experiment.finish(exit_code={"success": 0, "interrupted": 130}.get(status, 1))


def _has_key(base_url: str) -> bool:
    """Return True if W&B would find a key without a prompt."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    for file in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        try:
            if netrc.netrc(os.path.expanduser(file)).authenticators(urlparse(base_url).hostname or ""):  # noqa: PTH111
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Make W&B keep its logs and stage artifacts here instead of in the home folder, unless the user chose a place."""
    ours = [name for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR") if name not in os.environ]
    os.environ |= dict.fromkeys(ours, str(folder))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
