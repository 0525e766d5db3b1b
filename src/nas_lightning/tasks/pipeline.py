"""`task=pipeline`, `search`, `select` and `evaluate`: run the phases of the task in a new folder."""

from typing import Any

from nas_lightning.config.schema import RootConfig
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.genotype import evaluation_config, given_genotype
from nas_lightning.tasks.phases import guarded, run_phases, start
from nas_lightning.tasks.select import selection_config
from nas_lightning.training.workbench import Workbench


def config_of_run(config: RootConfig) -> RootConfig:
    """Return the configuration that the run folder keeps: with the sections that come from another run.

    Raises:
        ConfigError: As `selection_config`.
    """
    taken = {"select": selection_config, "evaluate": evaluation_config}.get(config.task)
    return config if taken is None else taken(config)


def run_pipeline(config: RootConfig, folder: RunFolder) -> dict[str, Any]:
    """Run the phases that the task has of search, selection and evaluation; return the summary.

    Raises:
        ConfigError: The configuration, what it names or the folder cannot be used; nothing is written then.
        MachineError: The disk, the folder or the images fail; the folder can be resumed.
        Interrupted: The user or a signal stopped it; the folder can be resumed.
    """
    bench = Workbench(config_of_run(config), folder)
    if config.task == "evaluate":
        bench.evaluator.check_genotype(given_genotype(bench), bench)  # refused before anything is written
    start(bench)
    with guarded(folder):
        return run_phases(bench)
