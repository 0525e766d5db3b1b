"""Tasks that look at finished searches without changing them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas_lightning.analyses.landscape import landscape_bench, name_landscape, run_landscape, start_landscape
from nas_lightning.analyses.run import analysis_bench, name_analysis, run_analysis, start_analysis
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.phases import guarded
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench


@dataclass(frozen=True)
class Looking:
    """A task that looks at finished searches in a run folder of its own, and can be resumed."""

    bench: Callable[[Mapping[str, Any], RunFolder], Workbench]
    start: Callable[[Workbench], None]
    name: Callable[[Workbench], None]
    run: Callable[[Workbench], dict[str, Any]]


LOOKING = {
    "analyse": Looking(analysis_bench, start_analysis, name_analysis, run_analysis),
    "landscape": Looking(landscape_bench, start_landscape, name_landscape, run_landscape),
}


def look(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Run such a task in a new folder; returns its summary."""
    looking = LOOKING[config["task"]]
    bench = looking.bench(config, folder)
    check_processes(bench.config.trainer, bench.config.task)
    looking.start(bench)
    with guarded(folder):
        return looking.run(bench)
