"""Signals where no run has begun, in real processes: one line, exit code 130; a handler of others is left alone."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from killed import PROGRAM, environment
from nas_lightning.core.errors import Interrupted
from nas_lightning.core.signals import ending_in_one_line, pass_on, taking_over

SLOW_IMAGES = """
from pathlib import Path

from nas_lightning.data import Digits


class Slow(Digits):
    def _load(self):
        with Path("summary.json").open() as pipe:
            pipe.read()  # waits for the test
"""
CASES = {
    "images": ["data=digits", "data._target_=slow.Slow", "trusted=[slow]"],
    "report": ["task=report", "runs=."],
    "predict": ["task=predict", "run=.", "images=photos"],
}


def process_that_reads(place, pipe, words):
    """Start the program, and wait until it reads the pipe; return the process and the end that we write to."""
    os.mkfifo(place / pipe)
    (place / "photos").mkdir()
    (place / "photos/a.png").touch()
    (place / "slow.py").write_text(SLOW_IMAGES)
    env = environment() | {"PYTHONPATH": f"{place}:{environment()['PYTHONPATH']}"}
    process = subprocess.Popen([*PROGRAM, *words], cwd=place, env=env, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while True:
        assert process.poll() is None, process.stderr.read()
        try:
            return process, os.open(place / pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > limit:  # ENXIO: nobody reads it yet
                raise
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "number"),
    [
        ("report", signal.SIGTERM),
        ("report", signal.SIGINT),
        ("images", signal.SIGTERM),
        ("predict", signal.SIGTERM),
    ],
)
def test_one_line_and_the_code_of_an_interruption(tmp_path, case, number):
    pipe = "network.json" if case == "predict" else "summary.json"
    process, end = process_that_reads(tmp_path, pipe, CASES[case])
    try:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(end)
    name = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    *_, last = err.strip().splitlines()
    assert last == f"nas-lightning: stopped by {name}; there is no state to save, repeat the command"
    assert "Traceback" not in err
    assert process.returncode == 130


def test_the_handler_of_a_cluster_stays():
    """As submitit's, in whose job the program may run, and an ignored signal."""
    heard = []
    with taking_over(lambda number, frame: heard.append(number), (signal.SIGTERM,)), ending_in_one_line():
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with ending_in_one_line():
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_run_within_ends_with_its_own_line():
    with ending_in_one_line():
        ours = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="continue with resume=run"):
            pass_on(signal.SIGTERM, ours, "continue with resume=run")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    heard = []
    pass_on(signal.SIGTERM, lambda number, frame: heard.append(number), "unused")
    assert heard == [signal.SIGTERM]


FORKED = """
import os, signal, time
from nas_lightning.core.signals import ending_in_one_line

with ending_in_one_line():
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b".")  # Python drops a signal that comes within the fork
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_ends_as_if_it_had_no_handler():
    """Such as a process that reads images: nobody would read its line."""
    found = subprocess.run([sys.executable, "-c", FORKED], env=environment(), capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr) == (str(int(signal.SIGTERM)), "")
