"""Several searches, brief retraining on the search halves, the best on val."""

import json

import pytest

import nas_lightning as nl
from commands import _logging_as_found  # noqa: F401 - a fixture
from lightning_parts import CrashOnce
from nas_lightning import reports
from nas_lightning.cli.main import main
from nas_lightning.config.compose import as_dict
from nas_lightning.data.module import EvaluationData
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


TWO = ["candidates.key=seed", "candidates.values=[3,5]", "candidates.epochs=1"]


@pytest.mark.slow
def test_best_of_two_seeds(tiny, tmp_path, monkeypatch):
    seen = []
    setup = EvaluationData.setup
    monkeypatch.setattr(EvaluationData, "setup", lambda self, stage: (seen.append(self.images), setup(self, stage))[1])
    summary = run([*tiny, *TWO, "seed=7"], tmp_path / "run")
    members = summary["candidates"]
    assert [member["values"] for member in members] == [{"seed": 3}, {"seed": 5}]
    best = max(members, key=lambda member: member["val_accuracy"])
    assert [member["chosen"] for member in members] == [member is best for member in members]
    assert summary["genotype"] == best["genotype"]
    assert summary["seed"] == 7
    assert summary["evaluation"]["epochs"] == 2
    assert summary["evaluation"]["test_accuracy"] is not None
    assert summary["search"]["seconds"] == pytest.approx(sum(m["search_seconds"] for m in members), abs=1e-2)
    for index, member in enumerate(members):
        folder = RunFolder(tmp_path / "run" / "candidates" / str(index))
        told = folder.summary()
        assert told["seed"] == member["values"]["seed"]
        assert told["evaluation"]["epochs"] == 1
        assert told["evaluation"]["test_accuracy"] is None  # the test images choose nothing
        assert told["evaluation"]["val_accuracy"] == member["val_accuracy"]
        assert not any(row.get("test_accuracy") for row in folder.read_metrics())
        # A member is the very run that its configuration makes by itself.
        alone = run([*tiny, f"seed={told['seed']}", "evaluation.images=search_halves", "evaluation.epochs=1"],
                    tmp_path / f"alone{index}")  # fmt: skip
        assert alone["genotype"] == told["genotype"]
        assert alone["evaluation"]["val_accuracy"] == told["evaluation"]["val_accuracy"]
    assert set(seen) == {"full", "search_halves"}
    frame = reports.collect(str(tmp_path / "run"))
    assert len(frame) == 1  # members are no runs


@pytest.mark.slow
def test_finished_members_are_not_run_again(tiny, tmp_path):
    whole = run([*tiny, *TWO], tmp_path / "whole")
    crash = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce",
             "+callbacks.crash.phase=search", "+callbacks.crash.epoch=1"]  # fmt: skip
    CrashOnce.armed = False
    run([*tiny, *TWO, *crash], tmp_path / "other")  # the part alone changes nothing
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run([*tiny, *TWO, *crash], tmp_path / "cut")
    CrashOnce.armed = False
    first = resume(tmp_path / "cut")
    summaries = [tmp_path / "cut" / "candidates" / str(i) / "summary.json" for i in range(2)]
    times = [path.stat().st_mtime_ns for path in summaries]
    told = json.loads((tmp_path / "cut" / "summary.json").read_text())
    (tmp_path / "cut" / "summary.json").write_text(json.dumps({**told, "search": None, "candidates": None}))
    second = resume(tmp_path / "cut")
    assert [path.stat().st_mtime_ns for path in summaries] == times
    for summary in (first, second):
        assert [m["val_accuracy"] for m in summary["candidates"]] == [m["val_accuracy"] for m in whole["candidates"]]
        assert summary["genotype"] == whole["genotype"]


def test_random_search_trains_no_supernet(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("nas_lightning.spaces.cell_space.CellSpace.supernet", lambda *a, **k: pytest.fail("a supernet"))
    summary = run(
        [*tiny, "method=random_search", "candidates.values=3", "candidates.epochs=1"],
        tmp_path / "run",
    )
    assert len({json.dumps(member["genotype"]) for member in summary["candidates"]}) == 3
    assert (summary["search"]["seconds"], summary["search"]["epochs"]) == (0, 0)
    assert summary["selection"]["seconds"] > 0
    other = run(
        [*tiny, "method=random_search", "candidates.values=1", "candidates.epochs=1", "seed=1"],
        tmp_path / "b",
    )
    assert other["candidates"][0]["genotype"] != summary["candidates"][0]["genotype"]


@pytest.mark.slow
def test_members_of_several_keys(tiny, tmp_path):
    summary = run(
        [*tiny, "method=rdarts_dp", "space=s3", "hypergradient=first_order", "candidates.epochs=1",
         "candidates.values=[[0.0,0.0],[0.3,1.0]]"],
        tmp_path / "run",
    )  # fmt: skip
    assert [list(member["values"].values()) for member in summary["candidates"]] == [[0.0, 0.0], [0.3, 1.0]]
    regularizers = [RunFolder(tmp_path / "run" / "candidates" / str(i)).config()["regularizer"] for i in range(2)]
    assert [(r["drop_path"]["maximum"], r["cutout"]["probability"]) for r in regularizers] == [(0.0, 0.0), (0.3, 1.0)]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["candidates.key=seed"], "candidates.values=null"),
        (["candidates.key=sede", "candidates.values=[1,2]"], "there is no such key"),
        (["candidates.key=space", "candidates.values=[s2,s3]"], "members cannot differ in it"),
        (["candidates.key=seed", "candidates.values=[1,1]"], "contains duplicates"),
        (["candidates.values=[1,2]"], "needs the key that they are values of"),
        (["candidates.key=[seed,seed]", "candidates.values=[[1,2],[3,4]]"], "several different ones"),
        (["candidates.key=data.val_fraction", "candidates.values=[0.0,0.3]"], "members cannot differ in it"),
        (
            ["candidates.key=seed", "candidates.values=[1,2]", "evaluation.warmup_epochs=3", "candidates.epochs=2"],
            "warms",
        ),
        (["candidates.key=evaluation.lr", "candidates.values=[0.1,0.2]"], "members cannot differ in it"),
        (["candidates.key=[seed,search.epochs]", "candidates.values=[1,2]"], "a list of 2 values"),
        (["candidates.key=search.weights.lr", "candidates.values=[0.1,-1.0]"], "search.weights.lr=-1.0"),
    ],
)
def test_wrong_members_are_refused(tiny, tmp_path, capsys, overrides, told):
    with pytest.raises(SystemExit) as left:
        main([*tiny, *overrides, f"hydra.run.dir={tmp_path / 'run'}"])
    assert left.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_members_are_retrained_where_the_winner_is_looked_up(tiny, tmp_path):
    words = [word for word in tiny if not word.startswith(("evaluation.", "space"))]
    words += ["method=random_search", "space=s5", "candidates.values=2", "candidates.epochs=1", "evaluation=tabular_s5"]
    words += ["evaluation.dataset=digits"]
    with pytest.raises(nl.ConfigError, match=r"cannot do; .*evaluation@candidates\.evaluation=digits"):
        run(words, tmp_path / "refused")
    words += ["evaluation@candidates.evaluation=digits", "candidates.evaluation.init_channels=4"]
    summary = run([*words, "candidates.evaluation.layers=2"], tmp_path / "run")
    best = max(summary["candidates"], key=lambda member: member["val_accuracy"])
    assert summary["genotype"] == best["genotype"]
    assert (summary["evaluation"]["recipe"], summary["evaluation"]["layers"]) == ("tabular", 3)
    member = RunFolder(tmp_path / "run" / "candidates" / "0").summary()["evaluation"]
    assert (member["recipe"], member["init_channels"], member["layers"], member["epochs"]) == ("digits", 4, 2, 1)
    with pytest.raises(nl.ConfigError, match=r"candidates\.evaluation\.epoch"):
        nl.compose([*words, "+candidates.evaluation.epoch=3"])
