"""Functions that tests run as jobs of a launcher: without torch, which would take longer to import than they take."""

import os
import time
from functools import partial

from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.sweeps.jobs import launcher_words, run_jobs


def job(number):
    """Three kinds of jobs, by number: one that returns its process, one that raises, one that is stopped."""
    time.sleep(0.2 if number == 0 else 0)
    if number == 1:
        raise ConfigError("a=1: is not allowed")
    if number == 2:
        raise ValueError("a fault")
    if number == 3:
        raise Interrupted("stopped")
    return number, os.getpid()


def noting_its_process(folder, number):
    """Write the process id to a file and stay."""
    (folder / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(120)


def jobs_of_a_run(folder):
    """Run two jobs that stay: for a process that is killed."""
    words = launcher_words(["hydra/launcher=joblib"])
    run_jobs(partial(noting_its_process, folder), words, [folder / "0", folder / "1"])
