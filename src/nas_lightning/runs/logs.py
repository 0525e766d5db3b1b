"""The log of a run folder: everything to its file, warnings to the terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import log_name

log = logging.getLogger(__name__)

FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] %(message)s"
LIGHTNING = ("lightning", "lightning.pytorch", "lightning.fabric")
"""Names of Lightning's loggers, which have handlers of their own."""


def log_to(folder: Path) -> None:
    """Set up logging as Hydra's configuration does for a new run: all to a file, warnings to the terminal.

    Args:
        folder: The run folder, which must exist.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        file = logging.FileHandler(folder / log_name(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"resume={RunFolder(folder)}: cannot be written ({error.strerror}); make it writable"
        ) from error
    file.setFormatter(logging.Formatter(FORMAT))
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
    for name in LIGHTNING:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)  # below are adverts, and what the run tells by itself
    _quiet_warnings()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what Lightning and other libraries say from a Python program within the block, whose own log is untouched.

    Warnings of this package are shown.
    """
    loggers = [logging.getLogger(name) for name in LIGHTNING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            _quiet_warnings()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def also_logging_to(folder: Path) -> Iterator[None]:
    """Write this package's log to run.log as well, within the block; the log of the Python program is untouched."""
    package = logging.getLogger(__name__.partition(".")[0])
    level, propagate = package.level, package.propagate
    upwards = _Upwards(package.getEffectiveLevel())
    file = logging.FileHandler(folder / log_name(), encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT))
    for handler in (file, upwards):
        package.addHandler(handler)
    package.setLevel(min(logging.INFO, upwards.level))
    package.propagate = False  # what is logged for the file alone must not reach the program's own log
    try:
        yield
    finally:
        for handler in (file, upwards):
            package.removeHandler(handler)
            handler.close()
        package.setLevel(level)
        package.propagate = propagate


class _Upwards(logging.Handler):
    """Passes records from its level on to the root logger, and without handlers there to Python's last resort."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        logging.getLogger().callHandlers(record)


def _quiet_warnings() -> None:
    warnings.showwarning = _log_warning  # type: ignore[assignment] # only the message is used
    for message in (
        ".*does not have many workers",  # small sets load faster in the training process
        ".*treespec",  # Lightning calls torch by a name that newer versions deprecate
        "The number of training batches .* is smaller than the logging interval",
        ".*Checkpoint directory .* exists",
    ):
        warnings.filterwarnings("ignore", message=message)


def _log_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Log a warning as one line, without the place in the code that raised it.

    What a library will change one day is for those who develop with it: run.log has it, the terminal has not.
    """
    coming = issubclass(category, (FutureWarning, DeprecationWarning, PendingDeprecationWarning))
    log.log(logging.INFO if coming else logging.WARNING, "%s", message)
