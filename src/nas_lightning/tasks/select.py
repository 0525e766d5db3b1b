"""`task=select`: apply another selector to the supernet of a finished search."""

from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import config_of_another_run

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
