"""A logger that fails at any time costs a warning, never the run."""

import logging
from pathlib import Path

import pytest
from lightning.pytorch.loggers import Logger

import nas_lightning as nl
from nas_lightning.loggers import Guarded, RunInfo, RunLoggers
from nas_lightning.runs.folder import RunFolder


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


class FullDisk(Logger):
    """Writes to a device without space left, from a chosen method on."""

    def __init__(self, fails_in: str) -> None:
        super().__init__()
        self.fails_in = fails_in
        self.lines: list[str] = []

    def _write(self, method):
        self.lines.append(method)
        if method == self.fails_in:
            Path("/dev/full").write_text("a line")

    name, version = "full", 0

    @property
    def experiment(self):
        self._write("experiment")
        return self

    def log_hyperparams(self, params):
        self._write("log_hyperparams")

    def log_metrics(self, metrics, step=None):
        self._write("log_metrics")

    def finalize(self, status):
        self._write("finalize")


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    config = {"seed": 0, "sweep": "s", "task": "search", "tags": []}
    folder.claim(config)
    folder.update_summary(method="m", space="s", data="d")
    return RunInfo(folder, config)


@pytest.mark.parametrize("place", ["experiment", "log_hyperparams", "log_metrics", "finalize"])
def test_full_disk(run, caplog, place):
    caplog.set_level(logging.WARNING)
    full, sound = FullDisk(place), FullDisk("nothing")
    with RunLoggers({"full": full, "sound": sound}, run) as loggers:
        loggers.start()
        for step in range(3):
            loggers.log_row({"search/x": 1.0}, step)
    (warning,) = [record.message for record in caplog.records]
    assert warning.startswith("logger.full failed, the run continues without it (OSError: [Errno 28]")
    assert full.lines.count(place) == 1
    assert sound.lines.count("log_metrics") == 3
    assert sound.lines[-1] == "finalize"


def test_lightnings_own_rows_are_not_sent_again(run):
    sound = FullDisk("nothing")
    guarded = Guarded("sound", sound, run)
    guarded.log_metrics({"train_loss": 1.0, "epoch": 0}, step=12)
    assert sound.lines == []
    guarded.log_metrics({"lr-SGD": 1.0}, step=12)  # a user's callback that logs by itself
    assert sound.lines[-1] == "log_metrics"


def test_after_a_failure_users_callbacks_meet_something_that_takes_everything(run):
    guarded = Guarded("full", FullDisk("experiment"), run)
    guarded.experiment.log({"x": 1})
    assert guarded.failed


def test_a_users_own_logger_gets_the_rows(tiny, tmp_path):
    """Any logger of Lightning's, without the further methods."""
    own = ["+logger.mine._target_=lightning.pytorch.loggers.CSVLogger", f"+logger.mine.save_dir={tmp_path}/mine"]
    folder = nl.search(nl.compose([*tiny, *own, "task=search"]), run_dir=tmp_path / "run").run_dir
    (written,) = (tmp_path / "mine").rglob("metrics.csv")
    header, *rows = written.read_text().splitlines()
    assert len(rows) == 2
    assert "search/val_accuracy" in header
    assert folder == tmp_path / "run"


def test_what_is_no_logger_is_refused_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(nl.ConfigError, match=r"logger\.x\._target_=torch\.nn\.ReLU: logger consists of Loggers"):
        nl.search(nl.compose([*tiny, "+logger.x._target_=torch.nn.ReLU"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_takes_another_logger(tiny, tmp_path):
    nl.search(nl.compose([*tiny, "task=search", "search.epochs=1"]), run_dir=tmp_path / "run")
    nl.resume(tmp_path / "run", ["logger=[csv,tensorboard]"])
    nl.resume(tmp_path / "run", ["+logger=tensorboard"])
    with pytest.raises(nl.ConfigError, match="logger=nope: no such option"):
        nl.resume(tmp_path / "run", ["logger=nope"])


@pytest.mark.parametrize("words", [["logger=csv"], ["+logger=csv"]])
def test_csv_is_always_on(words):
    assert nl.compose(words).logger == {}


def test_several_at_once():
    assert set(nl.compose(["logger=[wandb,csv]", "+logger=tensorboard"]).logger) == {"wandb", "tensorboard"}
