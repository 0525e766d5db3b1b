"""`task=convert`: plain tables and images of a benchmark's official files, or of own runs."""

from rich.console import Console

from nas_lightning.config.compose import options
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import track_progress
from nas_lightning.training.workbench import Workbench


def run_convert(config: RootConfig, folder: RunFolder) -> None:
    """Convert what the section `convert` names.

    Raises:
        ConfigError: It names nothing, or the files cannot be read.
    """
    if config.convert is None:
        raise ConfigError(f"convert=null: task=convert needs to know what; choose {' or '.join(options('convert'))}")
    target = Workbench(config, folder).part("convert")(track_progress)
    Console().print(f"written: {target}", highlight=False, soft_wrap=True)
