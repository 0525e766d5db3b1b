"""Run `task=analyse`: write the table, the figure and the summary of an analysis."""

from typing import Any

from nas_lightning.analyses.base import QUIET, TAKEN, Analysis
from nas_lightning.config.compose import options
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.terminal import screen
from nas_lightning.runs.folder import RunFolder, config_of_another_run
from nas_lightning.runs.versions import git_commit, versions
from nas_lightning.training.workbench import Workbench


def analysis_bench(config: RootConfig, folder: RunFolder) -> Workbench:
    """Build the parts of an analysis: those of the run whose supernet it analyses, if it does.

    Raises:
        ConfigError: No analysis or no run is given, or it cannot be used.
    """
    if config.analysis is None:
        raise ConfigError(
            "analysis=null: task=analyse needs an analysis; choose"
            f" {' or '.join(f'analysis={name}' for name in options('analysis'))}"
        )
    bench = Workbench(config, folder)
    if not _analysis_of(bench).of_supernet:
        return bench
    if config.run is None:
        raise ConfigError("run=null: this analysis needs the supernet of a search; give run=outputs/DATE/TIME")
    return Workbench(config_of_another_run(config.to_dict(), TAKEN), folder)


def start_analysis(bench: Workbench) -> None:
    """Refuse what cannot be analysed, then claim the run folder.

    Raises:
        ConfigError: The run cannot be analysed, or the folder already holds a run.
    """
    analysis = _analysis_of(bench)
    analysis.check(bench)
    if analysis.of_supernet:
        bench.plain_trainer([], max_epochs=1, **QUIET)  # the Trainer validates its own arguments
    bench.folder.claim(bench.config.to_dict())
    name_analysis(bench)


def name_analysis(bench: Workbench) -> None:
    """Write the search, if it is one, and the versions into the summary."""
    labels = about(bench) if _analysis_of(bench).of_supernet else {}
    bench.folder.update_summary(task="analyse", **labels, versions=versions(), git_commit=git_commit())


def about(bench: Workbench) -> dict[str, Any]:
    """Return the fields of the summary that identify the search."""
    return {
        "method": bench.config.method,
        "space": bench.space.name,
        "data": bench.data.name,
        "seed": bench.config.seed,
        "objective": bench.objective.goal.to_dict(),
    }


def run_analysis(bench: Workbench) -> dict[str, Any]:
    """Analyse, or resume after the last row of the folder's table; return the summary.

    Raises:
        Interrupted: The user stopped it; the folder can be resumed.
    """
    try:
        found = _analysis_of(bench)(bench)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped in the analysis; continue with {bench.folder.command()}") from error
    screen().print(f"run folder: {bench.folder}", highlight=False, soft_wrap=True)
    return bench.folder.update_summary(analysis=found)


def _analysis_of(bench: Workbench) -> Analysis:
    return bench.build("analysis", bench.config.analysis or {})
