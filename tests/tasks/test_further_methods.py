"""Further methods in one command: each as its own command would run it, resumed and reported with the whole."""

import pytest

import nas_lightning as nl
from commands import _logging_as_found  # noqa: F401 - a fixture
from commands import run as run_command
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import Interrupted
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks import phases
from nas_lightning.tasks.members import stopping_in
from nas_lightning.tasks.methods import method_benches
from nas_lightning.tasks.resume import is_finished, resume
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench

RS = "methods=[sdarts_rs]"


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def test_a_further_method_is_the_command_with_that_method(tiny, tmp_path):
    with_another = run([*tiny, RS], tmp_path / "both")
    alone = run([*tiny, "method=sdarts_rs", "space=s3"], tmp_path / "alone")
    plain = run(tiny, tmp_path / "plain")
    kept = with_another["methods"]["sdarts_rs"]
    for key in ("genotype", "config_hash"):
        assert RunFolder(tmp_path / "both/methods/sdarts_rs").summary()[key] == alone[key]
        assert with_another[key] == plain[key]  # nothing of the run itself changes
    assert kept["genotype"] == alone["genotype"]
    assert kept["evaluation"]["test_accuracy"] == alone["evaluation"]["test_accuracy"]
    assert plain["methods"] is None
    frame = reports.collect(str(tmp_path / "both"))
    assert sorted(frame["method"]) == ["darts", "sdarts_rs"]


@pytest.mark.slow
def test_a_further_method_that_was_stopped_is_resumed(tiny, tmp_path, monkeypatch):
    words = [*tiny, RS, "+selector@readings.same=magnitude"]

    def stop(member):
        raise Interrupted("stopped")

    monkeypatch.setattr(phases, "_run_method", stop)
    with pytest.raises(Interrupted, match=r"^stopped in method sdarts_rs; continue with resume=run$"):
        run(words, tmp_path / "run")
    monkeypatch.undo()
    before = RunFolder(tmp_path / "run").summary()
    assert before["readings"]["same"]["genotype"] == before["genotype"]
    assert not is_finished(before)
    after = resume(tmp_path / "run")
    assert is_finished(after)
    assert list(after["methods"]) == ["sdarts_rs"]


def test_the_method_of_the_run_is_not_run_twice(tmp_path):
    words = ["data=digits", "method=sdarts_rs", RS]
    assert method_benches(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path))) == {}
    assert list(method_benches(Workbench(as_dict(nl.compose([*words, "method=darts"])), RunFolder(tmp_path)))) == [
        "sdarts_rs"
    ]


@pytest.mark.slow
def test_members_of_a_sweep_have_them_too(tiny, tmp_path, capsys):
    code, _, err = run_command([*tiny, RS, "search.epochs=1", "evaluation.epochs=1", "seed=5", "-m"], capsys)
    assert code == 0, err
    (folder,) = (tmp_path / "multirun" / "sweep").glob("darts-*")
    assert list(RunFolder(folder).summary()["methods"]) == ["sdarts_rs"]
    assert "test_accuracy/sdarts_rs" in (folder.parent / "sweep.csv").read_text()


def test_only_a_stop_is_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        pytest.raises(Interrupted, match="stopped in candidate 3; continue with resume="),
        stopping_in("candidate 3", folder),
    ):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), stopping_in("candidate 3", folder):
        raise ZeroDivisionError
