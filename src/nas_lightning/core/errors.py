"""The hierarchy of errors. Each carries one line that a user can act on.

The line about a user's mistake names the problem, the value, the allowed values and the override that fixes it; the
command line prints it and exits with code 2. Everything else is a fault of ours or of the machine (exit code 1).
"""

import re

_NO_MEMORY = re.compile(r"[^\s:]+: (?:failed to map segment from shared object|cannot allocate memory[^:]*)", re.I)


class NasLightningError(Exception):
    """Base class of all errors of this package."""


class ConfigError(NasLightningError, ValueError):
    """A mistake in the configuration: a wrong key, type, value or combination."""


class DataError(ConfigError):
    """Images that are missing, unreadable or cannot be used as they are."""


class GenotypeError(ConfigError):
    """A genotype that is malformed or does not belong to the space."""


class DamagedCheckpointError(ConfigError):
    """A checkpoint that is incomplete, or of another run; the previous one may be usable."""


class MachineError(NasLightningError):
    """The disk, the folder or the images failed during a run, which can be resumed."""


class LoadingError(MachineError):
    """Processes that load images have ended or could not be started, between two batches."""


class NonFiniteError(NasLightningError, ArithmeticError):
    """A non-finite loss; the run stopped before the step that it would have entered.

    Attributes:
        images: Images that the training had read in the steps before; None where nobody has counted them.
        seconds: Seconds of its training up to here.
    """

    images: int | None = None
    seconds: float = 0.0


class FaultError(NasLightningError):
    """A fault of a part or of this program; run.log has its traceback."""


class SweepError(NasLightningError):
    """Members of a sweep failed, not all of them by the user's mistakes."""


class Interrupted(BaseException):
    """The user asked twice to stop, or once where nothing is lost.

    Not an Exception, so that no handler for errors swallows it.
    """


def in_one_line(error: BaseException) -> str:
    """Return the message of an error without its line breaks."""
    return " ".join(str(error).split())


def lack_of_memory(error: BaseException) -> str | None:
    """Return the line about too little memory, for a library or an array; None for another error.

    What exceeds a limit of the address space (`ulimit -v`) is a MemoryError, or where a library is loaded, an
    ImportError, which numpy wraps in advice of a page.
    """
    found = _NO_MEMORY.search(in_one_line(error))
    if not isinstance(error, MemoryError) and not (isinstance(error, ImportError) and found):
        return None
    more = "free some, or allow more, ulimit -v unlimited"
    if found:
        return f"too little memory ({found.group()}): {more}; torch alone takes up to 4 GiB of address space"
    return f"too little memory ({in_one_line(error) or 'MemoryError'}): {more}"


def exit_code(error: Exception) -> tuple[int, str]:
    """Map an error to the exit code and the message of the command line.

    Returns:
        2 for a user's mistake, 1 for a fault; and one line about it.
    """
    line = in_one_line(error)
    # Hydra's and Lightning's errors are matched by name: importing either here would slow down `--help`.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ConfigError) or "HydraException" in kinds:
        return 2, line
    if "MisconfigurationException" in kinds:  # Lightning's error for arguments of the Trainer that do not fit
        return 2, f"trainer: {line}"
    memory = lack_of_memory(error)
    if memory is not None:
        return 1, memory
    if isinstance(error, NasLightningError):  # its message is complete without the name of the class
        return 1, line
    return 1, f"{type(error).__name__}: {line}"
