"""A logger that cannot end a run."""

import logging
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment, rank_zero_experiment

from nas_lightning.loggers.base import RunInfo

log = logging.getLogger(__name__)


class Guarded(Logger):
    """Passes everything on to a logger until that fails, says so once, and is silent from then on.

    It is shared by the trainers of all phases: the end of one phase does not finish it.

    Args:
        key: The logger's name in the configuration.
        inner: The logger.
        run: What it may know of the run.
    """

    def __init__(self, key: str, inner: Logger, run: RunInfo) -> None:
        super().__init__()
        self.key = key
        self.inner = inner
        self.run = run
        self.started = False
        self.failed = False

    @rank_zero_only
    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the logger, on the first rank alone.

        Returns:
            What it returns; None where it fails, has failed before or has no such method.
        """
        if self.failed or not hasattr(self.inner, method):
            return None
        try:
            self._start()
            return getattr(self.inner, method)(*arguments)
        except Exception as error:  # of any library's kind: no disk, no server, no such project
            self._give_up(error)
            return None

    def _start(self) -> None:
        if not self.started:
            self.started = True
            _ = self.inner.experiment  # type: ignore[attr-defined] # loggers open their files with it
            self.inner.log_hyperparams(self.run.config)

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        reason = " ".join(str(error).split())[:300]
        log.warning("logger.%s failed, the run goes on without it (%s: %s)", self.key, type(error).__name__, reason)
        log.info("logger.%s", self.key, exc_info=error)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The library's own object, for users' callbacks; one that swallows everything after a failure."""
        try:
            if not self.failed:
                self._start()
                return self.inner.experiment  # type: ignore[attr-defined]
        except Exception as error:
            self._give_up(error)
        return DummyExperiment()

    @property
    def name(self) -> str | None:
        """The logger's name in the configuration."""
        return self.key

    @property
    def version(self) -> str | None:
        """None: only the library knows the run's id."""
        return None

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run.path)

    @property
    def drawing_interval(self) -> int | None:
        """Epochs between two drawings; None where the logger takes none."""
        return None if self.failed else getattr(self.inner, "drawing_interval", None)

    def log_row(self, row: dict[str, float], step: int) -> None:
        """The numbers of an epoch."""
        self.call("log_row" if hasattr(self.inner, "log_row") else "log_metrics", row, step)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """What callbacks log by themselves.

        Lightning's own rows, which carry its `epoch`, are left out: `RunLogging` sends what they hold, once.
        """
        if "epoch" not in metrics:
            self.call("log_metrics", metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Passed on."""
        self.call("log_hyperparams", params)

    def save(self) -> None:
        """Passed on."""
        if self.started:
            self.call("save")

    def finalize(self, status: str) -> None:
        """Nothing: another phase may follow."""

    def close(self, status: str) -> None:
        """The end of the run: `success`, `failed` or `interrupted`. A later call starts the logger again."""
        if self.started:
            self.call("close" if hasattr(self.inner, "close") else "finalize", status)
        self.started = False
