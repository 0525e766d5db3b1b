"""`task=select`: apply another selector to the supernet of a finished search."""

import logging

from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import config_of_another_run
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

SELECTION_SECTIONS = (
    "selector",
    "trainer",
    "graph",
    "logger",
    "epoch",
    "tags",
    "trusted",
    "sweep",
    "skip_finished",
    "candidates",
)
"""Sections that `task=select` takes from its own command; all others come from the searched run."""


def selection_config(config: RootConfig) -> RootConfig:
    """Return the configuration of the searched run with the selector of this command.

    Raises:
        ConfigError: No run is named, or it cannot be used.
    """
    if config.run is None:
        raise ConfigError("run=null: task=select needs the folder of a search; give run=outputs/DATE/TIME")
    return validate({**config_of_another_run(config.to_dict(), SELECTION_SECTIONS), "readings": {}, "methods": []})


def is_looked_up(bench: Workbench) -> bool:
    """Return True if the run is a selection whose genotype a table can judge: at once, since nothing is trained."""
    if bench.config.task != "select":
        return False
    try:
        if not bench.evaluator.looks_up:
            return False
        bench.evaluator.check(bench)
    except ConfigError as error:  # the table may be gone since the search; the selection needs none
        log.warning("the genotype is not looked up: %s", error)
        return False
    return True
