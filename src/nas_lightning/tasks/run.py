"""Run the task that a configuration names."""

from collections.abc import Callable, Mapping
from typing import Any

from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.convert import run_convert
from nas_lightning.tasks.costs import run_costs
from nas_lightning.tasks.export import run_export
from nas_lightning.tasks.inspect import INSPECTIONS, run_inspection
from nas_lightning.tasks.pipeline import run_pipeline
from nas_lightning.tasks.predict import run_predict
from nas_lightning.tasks.report import run_report


def run_task(config: RootConfig | Mapping[str, Any], folder: RunFolder) -> dict[str, Any] | None:
    """Run the configured task in a new folder.

    Args:
        config: The configuration; a plain one is validated here.
        folder: The run folder.

    Returns:
        The summary of the run; None for a task without a summary.

    Raises:
        ConfigError: The configuration, a part or run that it names, or the folder cannot be used.
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
    "report": _without_summary(run_report),
    "convert": run_convert,
    "costs": _without_summary(run_costs),
    "export": _without_summary(run_export),
    "predict": _without_summary(run_predict),
}
"""Function of each task; the command line handles `list` and `plan` itself."""
