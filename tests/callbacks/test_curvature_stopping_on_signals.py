"""A signal in the middle of a curvature measurement, in a real process: it ends between two products, and resumes."""

import signal
import subprocess
import time

import pytest

from killed import PROGRAM, SMALL, environment

PART = """
import time
from pathlib import Path

from nas_lightning.callbacks import CurvatureTracking


class Waiting(CurvatureTracking):
    def _batch(self, trainer, module):
        if module.search_epoch == 1 and not Path("measuring").exists():
            Path("measuring").touch()
            time.sleep(3)  # the signal comes now, and products follow
        return super()._batch(trainer, module)
"""
WORDS = ["task=search", "search.epochs=3", "hydra.run.dir=run", "callbacks.curvature.interval=1"]
OURS = ["callbacks.curvature._target_=waiting.Waiting", "trusted=[waiting]"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_a_measurement(tmp_path, number):
    (tmp_path / "waiting.py").write_text(PART)
    env = environment() | {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}
    process = subprocess.Popen(
        [*PROGRAM, *SMALL, *WORDS, *OURS], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        limit = time.monotonic() + 240
        while not (tmp_path / "measuring").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "continue with resume=run" in err
    rows = (tmp_path / "run" / "curvature.csv").read_text().splitlines()
    assert len(rows) == 2  # of the first epoch: that of the second was left
    resumed = [*PROGRAM, "resume=run"]
    subprocess.run(resumed, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=300)
    assert len((tmp_path / "run" / "curvature.csv").read_text().splitlines()) == 4
