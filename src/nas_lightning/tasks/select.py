"""`task=select`: another selector on the supernet of a finished search."""

from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import config_of_another_run

SELECTED = ("selector", "trainer", "logger", "epoch", "tags", "trusted", "sweep", "skip_finished", "candidates")
"""What `task=select` takes from its own command; everything else is what the other run was searched with."""


def selection_config(config: RootConfig) -> RootConfig:
    """Return the other run's configuration with this command's selector.

    Raises:
        ConfigError: No other run is named, or it cannot be used.
    """
    if config.run is None:
        raise ConfigError("run=null: task=select needs the folder of a search; give run=outputs/DATE/TIME")
    return validate(config_of_another_run(config.to_dict(), SELECTED))
