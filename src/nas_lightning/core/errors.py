"""One family of errors. Each carries one line that a user can act on.

A user's mistake says what is wrong, the value, what is allowed and the override that mends it; the command
line prints that line and leaves with exit code 2. All else is a fault of ours or of the machine (exit code 1).
"""


class NasLightningError(Exception):
    """Root of the family."""


class ConfigError(NasLightningError, ValueError):
    """A mistake in the configuration: a wrong key, type, value or combination."""


class DataError(ConfigError):
    """Images that are missing, unreadable or cannot be used as they are."""


class GenotypeError(ConfigError):
    """A genotype that is malformed or does not belong to the space."""


class DamagedCheckpointError(ConfigError):
    """A checkpoint that is not whole, or of another run; the one before it may do."""


class MachineError(NasLightningError):
    """The disk, the folder or the images failed during a run, which can be resumed."""


class NonFiniteError(NasLightningError, ArithmeticError):
    """A loss that is no number; the run stopped before the step that would have followed."""


class FaultError(NasLightningError):
    """A fault of a part or of this program; run.log has its traceback."""


class SweepError(NasLightningError):
    """Members of a sweep failed, not all of them by the user's mistakes."""


class Interrupted(BaseException):
    """The user asked twice to stop, or once where nothing is lost; not an Exception, so no handler swallows it."""


def in_one_line(error: BaseException) -> str:
    """Return the message of an error without its line breaks."""
    return " ".join(str(error).split())


def exit_code(error: Exception) -> tuple[int, str]:
    """What the command line makes of an error.

    Returns:
        2 for a user's mistake, 1 for a fault; and one line about it.
    """
    line = in_one_line(error)
    # Hydra and Lightning by name: this module must wait for neither.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ConfigError) or "HydraException" in kinds:
        return 2, line
    if "MisconfigurationException" in kinds:  # Lightning's word for arguments that do not fit
        return 2, f"trainer: {line}"
    if isinstance(error, NasLightningError):  # it says all that is to be said
        return 1, line
    return 1, f"{type(error).__name__}: {line}"
