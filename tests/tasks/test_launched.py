"""Candidates side by side: by a real launcher, with the results of one after the other."""

import json
import logging
import shutil
import subprocess
import time

import pytest

import nas_lightning as nl
from killed import PROGRAM, environment
from nas_lightning.config.compose import checked
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.judges import TableJudge, judge_of, untrained
from nas_lightning.tasks.launched import launcher_of
from nas_lightning.tasks.pool import check_pool, run_pool
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench
from pool_parts import failing, pool_of, undo
from whole_runs import checkpoint_differences

POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
DRAWN = [*POOL, "+candidates.proposer._target_=pool_parts.Drawn", "space.num_nodes=2"]
SIZES = ["candidates.pool=6", "candidates.initial=4", "candidates.batch=2", "candidates.levels=[1,2]"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def bench_of(words, folder):
    bench = Workbench(checked(words), RunFolder(folder))
    bench.folder.path.mkdir(exist_ok=True)
    return bench


@pytest.mark.slow
def test_those_that_fail_side_by_side_are_those_that_fail_alone(tiny, tmp_path):
    """Every third one with a loss that is not finite: in the journal in the order of their indices."""
    sizes = ["candidates.pool=9", "candidates.initial=6", "candidates.batch=3", "candidates.promote=0.9"]
    words = [*tiny, *DRAWN, *SIZES, *sizes]
    alone = run_pool(bench_of(words, tmp_path / "alone"), failing)
    bench = bench_of([*words, *JOBLIB], tmp_path / "run")
    assert launcher_of(bench, judge_of(bench, failing)) is not None
    found = run_pool(bench, failing)
    assert (found[0], found[3]) == (alone[0], alone[3])

    def events(name):
        lines = (tmp_path / name / "pool.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [event if event["event"] == "judged" else {**event, "took": None} for event in found]

    assert events("run") == events("alone")
    # Each counts the second that its training says, once: neither the wall clock, nor again at the next level.
    counted = [event["took"] for event in events("run") if event["event"] == "judged"]
    assert set(counted) == {0.0, 1.0}
    assert sum(counted) == sum(index % 3 != 0 for index in range(9))
    assert (tmp_path / "run/candidates/5/run.log").exists()  # it was a job


def test_jobs_in_this_process_leave_its_log_as_it_is(tiny, tmp_path, monkeypatch):
    """A launcher with one worker runs jobs here, and Hydra sets up the log of each."""
    words = [*tiny, *DRAWN, *SIZES, *JOBLIB, "hydra.launcher.n_jobs=1"]
    root, handler = logging.getLogger(), logging.FileHandler(tmp_path / "run.log")
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    run_pool(bench_of(words, tmp_path / "run"), failing)
    assert (root.handlers, root.level) == ([handler], logging.INFO)
    handler.close()
    told = (tmp_path / "run.log").read_text()
    assert "candidates 0, 1, 2, 3 by joblib" in told
    assert "pool: generation 0, 4 of 6" in told
    assert "pool: generation 1, 6 of 6" in told


@pytest.mark.slow
def test_trainings_side_by_side_are_those_one_after_the_other(images_file, tiny, tmp_path):
    """Also where a search that was cut off within a generation goes on with a launcher."""
    words = [*tiny, *DRAWN, *SIZES]
    run_task(checked(words), RunFolder(tmp_path / "alone"))
    run_task(checked([*words, *JOBLIB]), RunFolder(tmp_path / "run"))
    whole = pool_of(tmp_path / "alone")
    assert pool_of(tmp_path / "run") == whole
    for index in range(6):
        members = [tmp_path / name / "candidates" / str(index) for name in ("run", "alone")]
        assert checkpoint_differences(*members, "evaluation/last.ckpt") == []
    shutil.copytree(tmp_path / "alone", tmp_path / "cut")
    undo(tmp_path / "cut")
    lines = (tmp_path / "cut/pool.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut/pool.jsonl").write_text("".join(lines[:2]))
    for index in range(1, 6):
        shutil.rmtree(tmp_path / "cut/candidates" / str(index))
    resume(tmp_path / "cut", JOBLIB)
    assert pool_of(tmp_path / "cut") == whole
    assert (tmp_path / "cut/candidates/2/run.log").exists()
    assert (tmp_path / "cut/pool.jsonl").read_text().startswith("".join(lines[:2]))


@pytest.mark.slow
def test_a_run_that_is_killed_while_jobs_train_is_resumed(images_file, tiny, tmp_path):
    words = [*tiny, *DRAWN, *SIZES, "candidates.levels=[3]"]
    run_task(checked(words), RunFolder(tmp_path / "alone"))
    command = [*PROGRAM, *words, *JOBLIB, f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    awaited = [tmp_path / "run/candidates" / name / "checkpoints/evaluation/last.ckpt" for name in "01"]
    try:
        while process.poll() is None and not any(file.exists() for file in awaited):
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -9
    assert '"judged"' not in (tmp_path / "run/pool.jsonl").read_text()
    resume(tmp_path / "run", JOBLIB)
    assert pool_of(tmp_path / "run") == pool_of(tmp_path / "alone")


def test_processes_that_train_together_train_one_candidate_at_a_time(tiny, tmp_path):
    words = [*tiny, *DRAWN, *SIZES, *JOBLIB, "trainer.devices=2", "trainer.strategy=ddp_spawn"]
    with pytest.raises(nl.ConfigError, match=r"^hydra/launcher=joblib: the 2 processes .* use trainer\.devices=1"):
        check_pool(bench_of(words, tmp_path / "run"))


def test_what_is_not_trained_needs_no_launcher(images_file, tmp_path):
    table = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10", "candidates.levels=null"]
    data = [f"data.path={images_file}", "data=arrays", "trainer=cpu", "~callbacks.curvature"]
    bench = bench_of([*data, *DRAWN[:-1], *SIZES, *table, *JOBLIB], tmp_path / "run")
    judge = judge_of(bench, untrained)
    assert isinstance(judge, TableJudge)
    assert launcher_of(bench, judge) is None
