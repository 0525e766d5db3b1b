"""Which task a configuration names, and what runs it."""

from collections.abc import Callable, Mapping
from typing import Any

from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.convert import run_convert
from nas_lightning.tasks.export import run_export
from nas_lightning.tasks.inspect import INSPECTIONS, run_inspection
from nas_lightning.tasks.pipeline import run_pipeline
from nas_lightning.tasks.predict import run_predict
from nas_lightning.tasks.report import run_report


def run_task(config: RootConfig | Mapping[str, Any], folder: RunFolder) -> dict[str, Any] | None:
    """Run the configured task in a new folder.

    Args:
        config: The configuration, checked here unless it is typed already.
        folder: The folder.

    Returns:
        The summary of a run; None of a task that is no run.

    Raises:
        ConfigError: The configuration, what it names or the folder cannot be used.
    """
    config = validate(config)
    return TASKS[config.task](config, folder)


def _without_summary(task: Callable[[RootConfig, RunFolder], object]) -> Callable[[RootConfig, RunFolder], None]:
    def run(config: RootConfig, folder: RunFolder) -> None:
        task(config, folder)

    return run


TASKS: dict[str, Callable[[RootConfig, RunFolder], dict[str, Any] | None]] = {
    **dict.fromkeys(("pipeline", "search", "select", "evaluate"), run_pipeline),
    **dict.fromkeys(INSPECTIONS, run_inspection),
    "report": run_report,
    "convert": run_convert,
    "export": _without_summary(run_export),
    "predict": _without_summary(run_predict),
}
"""What each task does with its configuration and folder; the command line itself has `list` and `plan`."""
