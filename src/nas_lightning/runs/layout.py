"""The names of the files in a run folder."""

from nas_lightning.core import ranks


def log_name() -> str:
    """The log of this process: `run.log`, or `run.rank1.log` of the second process of a run."""
    return "run.log" if ranks.is_first() else f"run.rank{ranks.rank()}.log"
