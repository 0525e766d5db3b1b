"""Random genotypes trained beside a run: each the run of its own command, kept for other runs, resumed after kills."""

import json
import os
import signal
import statistics
import subprocess
import time

import pytest

import nas_lightning as nl
from commands import _logging_as_found  # noqa: F401 - a fixture
from commands import run as command
from conftest import write_images
from killed import PROGRAM, SMALL, environment
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import Interrupted
from nas_lightning.runs.completeness import is_pending
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks import random_baseline
from nas_lightning.tasks.resume import is_finished
from nas_lightning.tasks.run import run_task

TWO = ["evaluation.random_baseline=2", "evaluation.random_folder=kept", "space.num_nodes=2"]
THREE = ["evaluation.random_baseline=3", *TWO[1:]]
WITHOUT_SEARCH = ["task=evaluate", "genotype=random"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def accuracies(summary):
    return [member["accuracy"] for member in summary["evaluation"]["random_baseline"]["members"]]


def reused(summary):
    return [member["reused"] for member in summary["evaluation"]["random_baseline"]["members"]]


@pytest.mark.slow
def test_members_are_runs_of_their_own_command(tiny, tmp_path):
    summary = run([*tiny, *TWO, "seed=7", "evaluation.lr=0.1"], tmp_path / "run")
    plain = run([*tiny, "seed=7", "evaluation.lr=0.1", "space.num_nodes=2"], tmp_path / "plain")
    baseline = summary["evaluation"]["random_baseline"]
    assert summary["evaluation"]["test_accuracy"] == plain["evaluation"]["test_accuracy"]
    assert summary["config_hash"] == plain["config_hash"]  # averaged with runs that have none
    assert "random_baseline" not in plain["evaluation"]
    alone = [
        run([*tiny, "task=evaluate", "genotype=random", f"seed={seed}", "evaluation.lr=0.1", "space.num_nodes=2"],
            tmp_path / f"alone{seed}")
        for seed in range(2)
    ]  # fmt: skip
    expected = [other["evaluation"]["test_accuracy"] for other in alone]
    assert accuracies(summary) == expected
    assert len({json.dumps(other["genotype"]) for other in alone}) == 2
    assert baseline["mean"] == pytest.approx(statistics.mean(expected), abs=1e-4)
    assert baseline["std"] == pytest.approx(statistics.stdev(expected), abs=1e-4)
    for seed, other in enumerate(alone):
        member = RunFolder(tmp_path / "run" / "random_baseline" / str(seed))
        assert member.summary()["genotype"] == other["genotype"]
        assert member.read_metrics() == RunFolder(tmp_path / f"alone{seed}").read_metrics()
    assert is_finished(summary)
    frame = reports.collect(str(tmp_path / "run"))
    assert len(frame) == 1  # members are no runs
    assert frame["random_baseline"].tolist() == [baseline["mean"]]


@pytest.mark.slow
def test_another_run_of_the_evaluation_takes_what_is_kept(tiny, tmp_path):
    first = run([*tiny, *TWO], tmp_path / "first")
    # Another method and seed, another number of members; where images lie and how they are loaded changes nothing.
    other = [*tiny, "method=random_search", "candidates.key=null", "candidates.values=null", "seed=5", "space=s3"]
    second = run([*other, *TWO, "evaluation.random_baseline=3", "data.prefetch_factor=2"], tmp_path / "second")
    assert reused(first) == [False, False]
    assert reused(second) == [True, True, False]
    assert accuracies(second)[:2] == accuracies(first)
    assert [path.name for path in (tmp_path / "second" / "random_baseline").iterdir()] == ["2"]
    assert len(list((tmp_path / "kept").iterdir())) == 3
    nowhere = run([*other, *TWO, "evaluation.random_folder=null"], tmp_path / "nowhere")
    assert (reused(nowhere), accuracies(nowhere)) == ([False, False], accuracies(first))


@pytest.mark.parametrize(
    "change",
    [
        ["evaluation.epochs=1"],
        ["evaluation.lr=0.2"],
        ["space.num_nodes=3"],
        ["objective.metric=balanced_accuracy"],
        ["trainer.limit_train_batches=1"],
        ["evaluation.images=search_halves"],
        ["data.path=OTHER"],
    ],
    ids=lambda words: words[0],
)
def test_another_evaluation_is_another_result(tiny, tmp_path, change):
    """What decides the result of a member, without running any: all members of both differ."""
    if change == ["data.path=OTHER"]:
        write_images(tmp_path / "other.npz", train=44)
        change = [f"data.path={tmp_path / 'other.npz'}"]
    keys = []
    for words in ([], change):
        bench = random_baseline.Workbench(as_dict(nl.compose([*tiny, *THREE, *words])), RunFolder(tmp_path / "none"))
        _, images = random_baseline.checked_record(bench)
        members = [random_baseline.member_bench(bench, seed) for seed in range(2)]
        keys += [json.dumps(random_baseline.what_decides(member, images), sort_keys=True) for member in members]
    assert len(set(keys)) == 4


def test_an_accuracy_that_was_not_measured_is_not_kept(tiny, tmp_path):
    untested = run([*tiny, *TWO, *WITHOUT_SEARCH, "trainer.limit_test_batches=0"], tmp_path / "untested")
    baseline = untested["evaluation"]["random_baseline"]
    assert (accuracies(untested), baseline["mean"], baseline["std"]) == ([None] * 2, None, None)
    assert is_finished(untested)
    assert not (tmp_path / "kept").exists()


def test_images_are_known_by_their_content(tiny, tmp_path, images_file):
    (tmp_path / "elsewhere.npz").write_bytes(images_file.read_bytes())
    run([*tiny, *TWO, *WITHOUT_SEARCH], tmp_path / "first")
    second = run([*tiny, *TWO, *WITHOUT_SEARCH, f"data.path={tmp_path / 'elsewhere.npz'}"], tmp_path / "second")
    assert reused(second) == [True, True]


def test_members_on_the_search_halves_are_measured_on_val(tiny, tmp_path):
    summary = run([*tiny, *TWO, "evaluation.images=search_halves", *WITHOUT_SEARCH], tmp_path / "a")
    told = [
        RunFolder(tmp_path / "a" / "random_baseline" / str(seed)).summary()["evaluation"]["val_accuracy"]
        for seed in range(2)
    ]
    assert accuracies(summary) == told
    assert None not in told
    assert accuracies(summary)[0] == summary["evaluation"]["val_accuracy"]  # this run is that of member 0


@pytest.mark.slow
def test_candidates_have_no_baselines_of_their_own(tiny, tmp_path):
    two = ["candidates.key=seed", "candidates.values=[3,5]", "candidates.epochs=1"]
    summary = run([*tiny, *TWO, *two], tmp_path / "run")
    assert len(accuracies(summary)) == 2
    for index in range(2):
        folder = tmp_path / "run" / "candidates" / str(index)
        assert not (folder / "random_baseline").exists()
        assert "random_baseline" not in RunFolder(folder).summary()["evaluation"]


def test_readings_share_the_baseline_of_their_run(tiny, tmp_path):
    """Another selector reads the supernet of the run: its genotype is compared with the same random genotypes."""
    words = [*tiny, *THREE, "evaluation.random_baseline=1", "+selector@readings.again=magnitude"]
    summary = run(words, tmp_path / "run")
    assert list(summary["readings"]) == ["again"]
    assert "random_baseline" not in summary["readings"]["again"]["evaluation"]
    assert len(accuracies(summary)) == 1
    assert not (tmp_path / "run" / "random_baseline" / "0" / "readings").exists()
    assert is_finished(summary)


def test_a_table_refuses_it(tiny, tmp_path, capsys):
    words = [word for word in tiny if not word.startswith(("evaluation.", "space="))]
    words += ["space=s5", "evaluation=tabular_s5", "evaluation.dataset=digits", "task=evaluate", "genotype=0"]
    code, _, err = command([*words, "evaluation.random_baseline=3", f"hydra.run.dir={tmp_path / 'run'}"], capsys)
    assert code == 2
    assert err.strip().endswith("use evaluation.draws=3 instead")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_stopped_in_a_member_it_names_the_command_of_the_whole_run(tiny, tmp_path):
    bench = random_baseline.Workbench(as_dict(nl.compose([*tiny, *THREE])), RunFolder(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    section = {"test_accuracy": 50.0, **random_baseline.begun(bench.config.evaluation)}
    evaluation = {"val_accuracy": None, "params": 1, "macs": 2, "seconds": 3.0}

    def second_is_stopped(member):
        assert member.config.genotype == "random"
        if member.config.seed == 1:
            raise KeyboardInterrupt
        return {"evaluation": {"test_accuracy": 40.0, **evaluation}}

    with pytest.raises(Interrupted, match=r"stopped in random genotype 1; continue with resume=run$"):
        random_baseline.run_baseline(bench, section, second_is_stopped)
    told = bench.folder.summary()["evaluation"]
    assert told["test_accuracy"] == 50.0
    assert told["random_baseline"]["members"] == [
        {"seed": 0, "accuracy": 40.0, "params": 1, "macs": 2, "seconds": 3.0, "reused": False}
    ]
    assert is_pending(told)


def test_a_wrong_number_is_refused(tiny):
    with pytest.raises(nl.ConfigError, match=r"evaluation\.random_baseline=-1"):
        nl.compose([*tiny, "evaluation.random_baseline=-1"])


def start(words, folder):
    return subprocess.Popen(
        [*PROGRAM, *words], cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


@pytest.fixture
def evaluating(images_file):
    return [*SMALL, "data=arrays", f"data.path={images_file}", "task=evaluate", "genotype=random", "seed=9", *THREE]


@pytest.mark.slow
def test_killed_between_two_members_it_goes_on(tmp_path, evaluating):
    finish(start([*evaluating, "evaluation.random_folder=others", "hydra.run.dir=whole"], tmp_path))
    process = start([*evaluating, "hydra.run.dir=cut"], tmp_path)
    while not (tmp_path / "cut/random_baseline/1/checkpoints/evaluation/last.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    cut = RunFolder(tmp_path / "cut")
    assert len(accuracies(cut.summary())) < 3
    assert cut.summary()["evaluation"]["test_accuracy"] is not None  # the run's own result is there already
    assert not is_finished(cut.summary())
    before = (tmp_path / "cut/random_baseline/0/summary.json").stat().st_mtime_ns
    (tmp_path / "elsewhere").mkdir()
    finish(start(["resume=../cut"], tmp_path / "elsewhere"))  # the kept results stay where they were
    whole = RunFolder(tmp_path / "whole").summary()
    assert accuracies(cut.summary()) == accuracies(whole)
    assert cut.summary()["evaluation"]["random_baseline"]["mean"] == whole["evaluation"]["random_baseline"]["mean"]
    assert is_finished(cut.summary())
    assert (tmp_path / "cut/random_baseline/0/summary.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "kept").glob("*.json"))) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
def test_two_runs_at_once_agree(tmp_path, evaluating):
    both = [start([*evaluating, f"hydra.run.dir={name}"], tmp_path) for name in ("a", "b")]
    for process in both:
        finish(process)
    first, second = (RunFolder(tmp_path / name).summary() for name in ("a", "b"))
    assert accuracies(first) == accuracies(second)
    assert len(accuracies(first)) == 3
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 3
    assert sorted(json.loads(path.read_text())["result"]["accuracy"] for path in kept) == sorted(accuracies(first))
