"""Hold the loggers of one run, which all of its phases share."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from lightning.pytorch.loggers import Logger

from nas_lightning.core.errors import Interrupted
from nas_lightning.loggers.base import RunInfo
from nas_lightning.loggers.guarded import Guarded
from nas_lightning.runs import layout


class RunLoggers:
    """Forward calls to all loggers; as a context manager, log the outcome and close them, even after an error.

    Args:
        loggers: Loggers by their names in the configuration.
        run: Names and ids of the run.
    """

    def __init__(self, loggers: Mapping[str, Logger], run: RunInfo) -> None:
        self.run = run
        self.all = [Guarded(key, inner, run) for key, inner in loggers.items()]

    def __iter__(self) -> Iterator[Guarded]:
        return iter(self.all)

    def start(self) -> None:
        """Open all loggers, before the first phase that has work to do."""
        for logger in self.all:
            _ = logger.experiment

    def log_row(self, row: dict[str, float], step: int) -> None:
        """Log the metrics of an epoch."""
        for logger in self.all:
            logger.log_row(row, step)

    def __enter__(self) -> "RunLoggers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = "success" if kind is None else "failed"
        if kind is not None and issubclass(kind, Interrupted | KeyboardInterrupt):
            status = "interrupted"
        outcome = flat(self.run.folder.summary()) if kind is None else {}
        genotype = self.run.path / layout.GENOTYPE
        for logger in self.all:
            if logger.started and outcome:
                logger.call("log_outcome", outcome)
                if genotype.exists():
                    logger.call("log_genotype", genotype)
            logger.close(status)


def flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a summary to names such as `evaluation/test_accuracy`, without null values and long sections."""
    sections = ("search", "selection", "evaluation")
    found = {
        f"{name}/{key}": value for name in sections for key, value in (summary[name] or {}).items() if value is not None
    }
    return found | {key: summary[key] for key in ("method", "space", "data", "seed", "config_hash", "git_commit")}
