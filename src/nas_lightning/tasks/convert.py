"""`task=convert`: convert the official files of a benchmark, or own runs, to plain tables and images."""

from nas_lightning.config.compose import options
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.terminal import screen, track_progress
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench


def run_convert(config: RootConfig, folder: RunFolder) -> None:
    """Run the converter of the section `convert`.

    Raises:
        ConfigError: There is no converter, or the files cannot be read.
    """
    if config.convert is None:
        raise ConfigError(f"convert=null: task=convert needs a converter; choose {' or '.join(options('convert'))}")
    target = Workbench(config, folder).part("convert")(track_progress)
    screen().print(f"written: {target}", highlight=False, soft_wrap=True)
