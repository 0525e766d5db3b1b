"""Guard a run against failures of its loggers."""

import logging
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment, rank_zero_experiment

from nas_lightning.loggers.base import RunInfo

log = logging.getLogger(__name__)


class Guarded(Logger):
    """Forward calls to a logger until it fails; then warn once and drop all further calls.

    The trainers of all phases share it, so `finalize` does nothing and only `close` ends the run of the logger.

    Args:
        key: Name of the logger in the configuration.
        inner: The logger.
        run: Names and ids of the run.
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
        """Call a method of the logger, on rank 0 only.

        Returns:
            The value that it returns; None if the logger fails, has failed before or lacks the method.
        """
        if self.failed or not hasattr(self.inner, method):
            return None
        try:
            self._start()
            return getattr(self.inner, method)(*arguments)
        except Exception as error:  # any kind of error: no disk, no server, no such project
            self._give_up(error)
            return None

    def _start(self) -> None:
        if not self.started:
            self.started = True
            _ = self.inner.experiment  # type: ignore[attr-defined] # on this access loggers open their files and connections
            self.inner.log_hyperparams(self.run.config)

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        reason = " ".join(str(error).split())[:300]
        log.warning("logger.%s failed, the run continues without it (%s: %s)", self.key, type(error).__name__, reason)
        # Only the log of the run gets the traceback; the terminal shows warnings.
        log.info("logger.%s", self.key, exc_info=error)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Object of the library, for users' callbacks; after a failure a dummy that ignores every call."""
        try:
            if not self.failed:
                self._start()
                return self.inner.experiment  # type: ignore[attr-defined]
        except Exception as error:
            self._give_up(error)
        return DummyExperiment()

    @property
    def name(self) -> str | None:
        """Name of the logger in the configuration."""
        return self.key

    @property
    def version(self) -> str | None:
        """None, because only the library knows the id of the run."""
        return None

    @property
    def save_dir(self) -> str:
        """Path of the run folder."""
        return str(self.run.path)

    @property
    def drawing_interval(self) -> int | None:
        """Epochs between two drawings; None if the logger takes no drawings."""
        return None if self.failed else getattr(self.inner, "drawing_interval", None)

    def log_row(self, row: dict[str, float], step: int) -> None:
        """Log the metrics of an epoch."""
        self.call("log_row" if hasattr(self.inner, "log_row") else "log_metrics", row, step)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log the metrics of users' callbacks.

        Rows of Lightning, recognized by their `epoch`, are dropped: `RunLogging` sends the same metrics once.
        """
        if "epoch" not in metrics:
            self.call("log_metrics", metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Forward the parameters."""
        self.call("log_hyperparams", params)

    def save(self) -> None:
        """Save the logger, if it has started."""
        if self.started:
            self.call("save")

    def finalize(self, status: str) -> None:
        """Do nothing, because another phase may follow."""

    def close(self, status: str) -> None:
        """End the run of the logger as `success`, `failed` or `interrupted`; a later call restarts it."""
        if self.started:
            self.call("close" if hasattr(self.inner, "close") else "finalize", status)
        self.started = False
