"""The log of a run folder: everything to its file, warnings to the terminal."""

import logging
import warnings
from pathlib import Path

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import log_name

log = logging.getLogger(__name__)


def log_to(folder: Path) -> None:
    """Set up logging as Hydra's configuration does for a new run: all to a file, warnings to the terminal.

    Args:
        folder: The run folder, which must exist.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        file = logging.FileHandler(folder / log_name())
    except OSError as error:
        raise ConfigError(
            f"resume={RunFolder(folder)}: cannot be written ({error.strerror}); make it writable"
        ) from error
    file.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] %(message)s"))
    console = logging.StreamHandler()
    console.setLevel(logging.WARNING)
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[file, console], force=True)
    quiet()


def quiet() -> None:
    """Route Lightning's log and all warnings to run.log; silence warnings that do not apply here."""
    if not ranks.is_first():  # its lines are in run.rankN.log; the terminal would repeat them
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.CRITICAL)
    logging.raiseExceptions = False  # a full disk is reported once, by the run, not for each line
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    warnings.showwarning = _log_warning  # type: ignore[assignment] # only the message is used
    for message in (
        ".*does not have many workers",  # small sets load faster in the training process
        ".*treespec",  # Lightning calls torch by a name that newer versions deprecate
        "The number of training batches .* is smaller than the logging interval",
        ".*Checkpoint directory .* exists",
    ):
        warnings.filterwarnings("ignore", message=message)


def _log_warning(message: Warning | str, *_: object) -> None:
    """Log a warning as one line, without the place in the code that raised it."""
    log.warning("%s", message)
