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


class Interrupted(BaseException):
    """The user asked twice to stop; not an Exception, so no handler swallows it."""
