"""`task=analyse` and `task=landscape`: inspect finished searches without changing them."""

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
    """A resumable task that inspects finished searches and has its own run folder.

    Args:
        bench: Builds the workbench from the configuration of the inspected run.
        start: Refuses runs that cannot be inspected, then claims the folder.
        name: Writes the identity of the inspected runs to the summary.
        run: Does or resumes the work and returns the summary.
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
    """Run an inspection in a new folder; return its summary.

    Raises:
        ConfigError: A run that it names, or the folder, cannot be used.
        MachineError: The disk, the folder or the images fail; the folder can be resumed.
        Interrupted: The user or a signal stopped it; the folder can be resumed.
    """
    inspection = INSPECTIONS[config.task]
    bench = inspection.bench(config, folder)
    check_processes(bench.config.trainer, bench.config.task)
    inspection.start(bench)
    with guarded(folder):
        return inspection.run(bench)
