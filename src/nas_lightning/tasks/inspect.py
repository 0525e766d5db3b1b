"""`task=analyse` and `task=landscape`: tasks that look at finished searches without changing them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas_lightning.analyses.landscape import landscape_bench, name_landscape, run_landscape, start_landscape
from nas_lightning.analyses.run import analysis_bench, name_analysis, run_analysis, start_analysis
from nas_lightning.config.schema import RootConfig
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.phases import guarded
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench


@dataclass(frozen=True)
class Inspection:
    """A task that looks at finished searches in a run folder of its own, and can be resumed.

    Args:
        bench: Returns its parts: those of the run that it looks at.
        start: Refuses what cannot be inspected, then claims the folder.
        name: Writes the part of the summary that says what is inspected.
        run: Does the work, or what is left of it; returns the summary.
    """

    bench: Callable[[RootConfig, RunFolder], Workbench]
    start: Callable[[Workbench], None]
    name: Callable[[Workbench], None]
    run: Callable[[Workbench], dict[str, Any]]


INSPECTIONS = {
    "analyse": Inspection(analysis_bench, start_analysis, name_analysis, run_analysis),
    "landscape": Inspection(landscape_bench, start_landscape, name_landscape, run_landscape),
}


def run_inspection(config: RootConfig, folder: RunFolder) -> dict[str, Any]:
    """Run such a task in a new folder; return its summary.

    Raises:
        ConfigError: What it names or the folder cannot be used.
        Interrupted: The user or a signal stopped it; the folder can be resumed.
    """
    inspection = INSPECTIONS[config.task]
    bench = inspection.bench(config, folder)
    check_processes(bench.config.trainer, bench.config.task)
    inspection.start(bench)
    with guarded(folder):
        return inspection.run(bench)
