"""The look-up of a selection's genotype in a table is a part of the task, which a stop leaves unfinished."""

import pytest

import nas_lightning as nl
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.evaluation import Tabular
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import continue_task, is_finished, resume
from nas_lightning.tasks.run import run_task


def run(words, folder):
    return run_task(as_dict(nl.compose(words)), RunFolder(folder))


@pytest.fixture
def searched201(tiny, tmp_path):
    words = [word for word in tiny if not word.startswith(("evaluation.", "space="))]
    words += ["space=nasbench201", "search.layers=1", "search.epochs=1", "task=search"]
    run([*words, "evaluation=tabular", "evaluation.dataset=cifar10"], tmp_path / "search")
    return ["task=select", f"run={tmp_path / 'search'}", "selector=magnitude"]


@pytest.fixture
def stopped(searched201, tmp_path, monkeypatch):
    """Words and folder of a selection that is stopped when its genotype is known, before the look-up."""

    def stop(self, genotype, bench):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tabular, "__call__", stop)
        with pytest.raises(Interrupted):
            run(searched201, tmp_path / "cut")
    return searched201, RunFolder(tmp_path / "cut")


def test_a_stop_before_the_look_up_leaves_it_unfinished(stopped, tmp_path):
    words, folder = stopped
    summary = folder.summary()
    assert summary["search"] is not None
    assert not is_finished(summary)
    missing = [text for _, text in reports.collect(str(folder)).attrs["unfinished"]]
    assert missing == ["evaluation not finished; its other results are counted"]
    whole = run(words, tmp_path / "whole")
    assert whole["evaluation"]["test_accuracy"] > 0
    found, finished_before = continue_task(as_dict(nl.compose(words)), folder)  # as a sweep that skips what is finished
    assert not finished_before
    assert found["evaluation"]["test_accuracy"] == whole["evaluation"]["test_accuracy"]
    assert is_finished(found)
    assert reports.collect(str(folder)).attrs["unfinished"] == []
    assert continue_task(as_dict(nl.compose(words)), folder)[1]


def test_a_table_that_is_gone_since_then_ends_the_task(stopped, monkeypatch, caplog):
    def gone(self, bench):
        raise ConfigError("gone")

    _, folder = stopped
    monkeypatch.setattr(Tabular, "check", gone)
    summary = resume(folder.path)
    assert summary["evaluation"] is folder.summary()["evaluation"] is None
    assert is_finished(summary)
    assert "the genotype is not looked up: gone" in caplog.text
