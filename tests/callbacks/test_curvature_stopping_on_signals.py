"""Signals around a measurement of the curvature: what is saved, and that the resumed run equals an undisturbed one."""

import csv
import os
import signal
import subprocess
import time

import pytest

import nas_lightning as nl
from killed import PROGRAM, SMALL, environment
from nas_lightning.callbacks import CurvatureTracking, stopping
from nas_lightning.core.errors import Interrupted
from nas_lightning.searches.one_shot import OneShotModel
from whole_runs import checkpoint_differences, outcome, run

PART = """
import time
from pathlib import Path

from nas_lightning.callbacks import CurvatureTracking


class Waiting(CurvatureTracking):
    def _batch(self, trainer, module):
        if module.search_epoch == 1 and not Path("measuring").exists():
            Path("measuring").touch()
            time.sleep(6)  # the signal comes now, and products follow when its grace is over
        return super()._batch(trainer, module)
"""
WORDS = ["task=search", "search.epochs=3", "callbacks.curvature.interval=1"]
OURS = ["callbacks.curvature._target_=waiting.Waiting", "trusted=[waiting]", "hydra.run.dir=run"]
OURS += ["trainer.limit_train_batches=4"]
HERE = [f"callbacks.curvature._target_={__name__}.Signalled", f"trusted=[{__name__}]"]
SIGNALS = pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.slow),
    ],
)


class Signalled(CurvatureTracking):
    """Sends a signal to this process: in epoch 1, after its first batch or within the measurement after it."""

    number: signal.Signals | None = None
    within = True

    def _send(self, module, within):
        if Signalled.number is not None and module.search_epoch == 1 and Signalled.within == within:
            number, Signalled.number = Signalled.number, None
            os.kill(os.getpid(), number)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._send(pl_module, within=False)

    def _batch(self, trainer, module):
        self._send(module, within=True)
        return super()._batch(trainer, module)


@pytest.fixture(scope="module")
def whole(images_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals") / "whole"
    words = [*SMALL, *WORDS, *HERE, "data=arrays", f"data.path={images_file}"]
    run(words, folder)
    return words, folder


def interrupted(whole, folder, number, within, grace, monkeypatch):
    """Run until the signal ends it; return the line, and the epochs whose curvature was measured."""
    monkeypatch.setattr(stopping, "GRACE_SECONDS", grace)
    monkeypatch.setattr(Signalled, "number", number)
    monkeypatch.setattr(Signalled, "within", within)
    with pytest.raises(Interrupted, match="continue with resume=") as caught:
        run(whole[0], folder)
    rows = (folder / "curvature.csv").read_text().splitlines()[1:]
    return str(caught.value), len(rows)


def results(folder):
    """Everything that must agree, without times."""
    found = outcome(folder)
    del found["summary"]["search"]["curvature_seconds"]
    with (folder / "curvature.csv").open() as table:
        return found, [{**row, "seconds": None} for row in csv.DictReader(table)]


def resumed_equals(whole, folder):
    nl.resume(folder)
    assert results(folder) == results(whole[1])
    assert checkpoint_differences(folder, whole[1], "last.ckpt") == []


@pytest.mark.slow
@SIGNALS
def test_a_long_measurement_is_left_and_its_epoch_repeated(whole, tmp_path, number, monkeypatch, caplog):
    _, measured = interrupted(whole, tmp_path / "run", number, True, -1.0, monkeypatch)
    assert measured == 1
    assert any("curvature after epoch 1" in line and "repeats the epoch" in line for line in caplog.messages)
    resumed_equals(whole, tmp_path / "run")


@pytest.mark.slow
@SIGNALS
def test_a_short_measurement_ends_and_its_epoch_is_saved(whole, tmp_path, number, monkeypatch, caplog):
    _, measured = interrupted(whole, tmp_path / "run", number, True, 600.0, monkeypatch)
    assert measured == 2
    assert not any("repeats" in line for line in caplog.messages)
    resumed_equals(whole, tmp_path / "run")


@pytest.mark.slow
def test_ctrl_c_before_a_measurement_waits_for_it(whole, tmp_path, monkeypatch):
    """It promises to finish the epoch, however long its measurement takes."""
    line, measured = interrupted(whole, tmp_path / "run", signal.SIGINT, False, -1.0, monkeypatch)
    assert (measured, "after epoch 1 (2/3)" in line) == (2, True), line
    resumed_equals(whole, tmp_path / "run")


@SIGNALS
@pytest.mark.slow
def test_a_long_decision_of_a_selector_is_left_and_repeated(images_file, tmp_path, number, monkeypatch, caplog):
    """The second decision: the epoch of tuning after the first is saved."""
    words = [*SMALL, "task=search", "method=darts_pt", "search.epochs=1", "selector.tune_epochs=1"]
    words += ["~callbacks.curvature", "data=arrays", f"data.path={images_file}"]
    run(words, tmp_path / "whole")
    monkeypatch.setattr(stopping, "GRACE_SECONDS", -1.0)
    measure, sent = OneShotModel.accuracy, []

    def accuracy(self, *args, **kwargs):
        if self.module.search_epoch == 2 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return measure(self, *args, **kwargs)

    monkeypatch.setattr(OneShotModel, "accuracy", accuracy)
    with pytest.raises(Interrupted, match="continue with resume="):
        run(words, tmp_path / "run")
    assert any("leaving the decision before epoch 2" in line for line in caplog.messages)
    nl.resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert checkpoint_differences(tmp_path / "run", tmp_path / "whole", "last.ckpt") == []


@pytest.mark.slow
@SIGNALS
def test_a_signal_ends_a_measurement_of_a_process(tmp_path, number):
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
    assert "leaving the measurement of the curvature after epoch 1" in err
    rows = (tmp_path / "run" / "curvature.csv").read_text().splitlines()
    assert len(rows) == 2  # of the first epoch: that of the second was left
    resumed = [*PROGRAM, "resume=run"]
    subprocess.run(resumed, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=300)
    assert len((tmp_path / "run" / "curvature.csv").read_text().splitlines()) == 4
