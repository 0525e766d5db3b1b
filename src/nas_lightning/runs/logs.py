"""The log of a run folder, and which lines of it the terminal shows."""

import logging
import warnings
from pathlib import Path

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import log_name

log = logging.getLogger(__name__)


def log_to(folder: Path) -> None:
    """Log as Hydra's configuration does for a new run: all to a file of the run folder, warnings to the terminal.

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
    """Send Lightning's notes to run.log with everything else, and advice that does not apply here nowhere."""
    if not ranks.is_first():  # it says the same in its own file
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.CRITICAL)
    logging.raiseExceptions = False  # a full disk is told once, by the run, not by each line of the log
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    warnings.showwarning = _log_warning  # type: ignore[assignment] # it needs only the message
    for message in (
        ".*does not have many workers",  # small sets load faster in the training process
        ".*treespec",  # Lightning calls torch by a name that newer versions deprecate
        "The number of training batches .* is smaller than the logging interval",
        ".*Checkpoint directory .* exists",
    ):
        warnings.filterwarnings("ignore", message=message)


def _log_warning(message: Warning | str, *_: object) -> None:
    """A warning is one line for the user, without the place in the code that gave it."""
    log.warning("%s", message)
