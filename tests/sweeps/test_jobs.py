"""Functions as jobs of a real launcher: what comes back, in which order, and that none outlives its run."""

import os
import subprocess
import sys
import time
from pathlib import Path

from job_parts import job
from killed import environment
from nas_lightning.sweeps.jobs import launcher_words, run_jobs

JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def test_what_jobs_return_and_raise_comes_back_in_their_order(tmp_path):
    found = run_jobs(job, launcher_words(JOBLIB), [tmp_path / str(number) for number in (4, 6, 7, 8, 9)])
    assert [one.value[0] for one in (found[0], found[4])] == [0, 4]
    assert os.getpid() not in [one.value[1] for one in (found[0], found[4])]
    assert (found[1].problem, found[1].mistake, found[1].value) == ("a=1: is not allowed", True, None)
    assert (found[2].problem, found[2].mistake) == ("ValueError: a fault", False)
    assert [one.stopped for one in found] == [False, False, False, True, False]
    assert "Traceback" in (tmp_path / "7/run.log").read_text()


def test_words_of_a_launcher_are_those_that_choose_one():
    assert launcher_words(["seed=1", "hydra.launcher.n_jobs=3"]) == []
    assert launcher_words([*JOBLIB, "hydra/launcher=basic"]) == []
    assert launcher_words(["method=darts", *JOBLIB, "hydra.run.dir=a"])[-1] == "hydra.launcher.n_jobs=2"


def test_jobs_end_with_the_run_that_is_killed(tmp_path):
    code = f"import job_parts, pathlib; job_parts.jobs_of_a_run(pathlib.Path({str(tmp_path)!r}))"
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.DEVNULL)
    files = [tmp_path / "0.pid", tmp_path / "1.pid"]
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and not all(file.exists() and file.read_text() for file in files):
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.wait()
    alive = [int(file.read_text()) for file in files]
    end = time.monotonic() + 30
    while alive and time.monotonic() < end:
        alive = [process for process in alive if runs(process)]
        time.sleep(0.1)
    assert alive == []


def runs(process):
    """Whether a process runs; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
