"""`task=report`: tables, figures and a page of any set of run folders."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from nas_lightning import reports
from nas_lightning.config.compose import as_dict, compose
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.terminal import screen
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench


def run_report(config: RootConfig, folder: RunFolder) -> pd.DataFrame:
    """Write tables, figures and a page of the runs that match `runs`; print the main table and return it.

    Raises:
        ConfigError: `runs` is null or matches no run.
    """
    if config.runs is None:
        raise ConfigError("runs=null: task=report needs run folders; give a glob, runs='multirun/**'")
    compared = None
    if config.baseline is not None:
        compared = reports.comparison.compare(reports.collect(config.runs), config.baseline)
    table, paths = reports.write_report(
        config.runs,
        folder.path,
        lambda words: as_dict(compose(words)),
        _choices_of_run,
        None if compared is None else reports.comparison.sheet(compared),
    )
    reports.show(table)
    if compared is not None:
        reports.comparison.show(compared)
        paths += reports.comparison.write(compared, folder.path)
    shown = [path for path in paths if path.parent == folder.path]
    for path in shown:
        screen().print(f"written: {path}", highlight=False, soft_wrap=True)
    screen().print(f"and {len(paths) - len(shown)} figures and tables in its subfolders", highlight=False)
    return table


def _choices_of_run(path: Path) -> Mapping[str, Choice]:
    folder = RunFolder(path, "runs")
    return Workbench(folder.config(), folder).space.choices
