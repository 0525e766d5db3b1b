"""task=plan: counts by hand and against what Lightning does, nothing written, hours of the right order."""

import csv
import json
import re
import signal
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

import nas_lightning as nl
from commands import run
from nas_lightning.config.compose import as_dict
from nas_lightning.config.sections import PlanConfig
from nas_lightning.core.errors import Interrupted
from nas_lightning.data import Cifar10, Svhn
from nas_lightning.data.stand_in import without_reading
from nas_lightning.planning.count import count
from nas_lightning.planning.plan import plan_of, total
from nas_lightning.planning.run import measure_all, run_plan
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench

Measured = namedtuple("Measured", "seconds")
HALF, FULL = 391, 521
"""Steps of an epoch on CIFAR-10: 25,000 images in batches of 64, 50,000 in batches of 96."""


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def work_of(*words):
    bench = Workbench(as_dict(nl.compose(words)), RunFolder("unused"))
    bench.data = without_reading(bench.source)
    return count(bench)


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_runs_of_a_sweep_by_hand():
    """S1 and S3, three methods, four seeds: 24 runs, of which 6 are composed."""
    words = ["data=cifar10", "method=darts_es,sdarts_rs,drnas", "space=s1,s3", "seed=1,2,3,4"]
    plan = plan_of(words)
    assert (plan.runs, len(plan.members)) == (24, 6)
    assert plan.choices == {"method": 3, "space": 2, "seed": 4}
    steps = sum(member.runs * member.work.total("search step", "weight step") for member in plan.members)
    assert steps == 24 * 50 * HALF
    assert plan_of(["task=search", "data=svhn"]).members[0].work.total("search step") == 50 * 573


def test_steps_between_architecture_steps_are_weight_steps():
    work = work_of("method=idarts", "data=cifar10", "task=search")  # an interval of four steps, across epochs
    assert work.total("search step") == 50 * HALF // 4
    assert work.total("search step", "weight step") == 50 * HALF


def test_candidates_count_as_searches_and_brief_retrainings():
    work = work_of("method=rdarts_l2", "space=s1", "data=cifar10")
    assert work.searches == 4
    assert work.total("search step") == 4 * 50 * HALF
    assert work.total("training step") == 4 * 100 * 261 + 600 * FULL  # 25,000 images in batches of 96, then all
    assert len(work.probes) == 2  # the same networks throughout, so each is timed once


def test_a_pool_counts_as_trainings_that_pause():
    """RANK-NOSH trains 990 epochs in the space of DARTS, as published; each level ends with a test."""
    work = work_of("method=rank_nosh", "data=cifar10")
    assert work.searches == work.total("search step") == work.total("weight step") == 0
    assert work.total("training step") == 990 * 261 + 600 * FULL
    assert len(work.probes) == 1  # candidates and the one that is kept take the same step
    smaller = work_of("method=rank_nosh", "data=cifar10", "candidates.pool=92")
    # A generation of 8 makes a pass over the 25,000 images of val after each epoch, and one more at each level.
    passes = (8 * 1 + 4 * 1 + 2 * 18 + 1 * 30) + (8 + 4 + 2 + 1)
    assert work.total("test batch") - smaller.total("test batch") == passes * 261
    looked_up = work_of("method=rank_nosh", "space=nasbench201", "evaluation=tabular", "candidates.levels=[12,200]",
                        "data=cifar10")  # fmt: skip
    assert looked_up.total("training step") == 0
    assert any("judged by a table" in note for note in looked_up.notes)


def test_further_methods_count_as_runs():
    work = work_of("method=darts", "space=s1", "data=cifar10", "methods=[rdarts_l2]")
    assert work.searches == 5
    assert work.total("search step") == 5 * 50 * HALF
    assert work.total("training step") == 4 * 100 * 261 + 2 * 600 * FULL


def test_random_genotypes_count_as_trainings():
    plain, compared = (work_of("space=s1", "data=cifar10", f"evaluation.random_baseline={number}") for number in (0, 3))
    assert plain.total("training step") == 600 * FULL
    for unit in ("training step", "test batch"):
        assert compared.total(unit) == 4 * plain.total(unit)
    assert compared.total("search step") == plain.total("search step")
    assert len(compared.probes) == len(plain.probes)
    assert any("random baseline: 3 trainings" in note for note in compared.notes)


def test_curvature_and_warm_up():
    """RobustDARTS: after every second epoch and the last, 26 times; PC-DARTS: 15 epochs of the weights alone."""
    work = work_of("method=pc_darts", "data=cifar10")
    assert work.total("curvature") == 26
    assert (work.total("weight step"), work.total("search step")) == (15 * 98, 35 * 98)  # batches of 256
    staged = work_of("method=drnas_progressive", "data=cifar10")
    assert (staged.total("weight step"), staged.total("search step")) == (20 * HALF, 30 * HALF)
    assert len(staged.probes) == 3  # two widths, and the retraining


def test_passes_of_the_selection():
    """DARTS-PT, 7 operations: 2·14·7 masked operations, edges of the nodes with 3, 4 and 5; 80 epochs of tuning."""
    work = work_of("method=darts_pt", "data=cifar10", "task=search")
    assert work.total("search step") == (50 + 80) * HALF
    assert work.total("val batch") == (50 + 80 + 2 * 14 * 7 + 2 * (3 + 4 + 5)) * HALF
    few = work_of("method=rs_ws", "space=s1", "data=cifar10", "task=search")
    assert few.total("weight step") == 50 * HALF
    assert few.total("val batch") == 50 * HALF + 1000 * 10 + 10 * HALF
    large = work_of("experiment=nasbench201_benchmark", "method=rsps", "data=cifar10", "task=search")
    assert large.total("val batch") == 50 * HALF + 100 * 512 // 64  # one batch of 512 images for each of 100 cells
    fixed = work_of("method=darts_pt_fixed_alpha", "space=s2", "data=cifar10", "task=search")
    assert (fixed.total("search step"), fixed.total("weight step")) == (0, 130 * HALF)
    while_searching = work_of("method=sgas_pt", "data=cifar10", "task=search")  # eight edges a cell type, 7 operations
    assert while_searching.total("val batch") == (50 + 2 * 8 * 7) * HALF


@pytest.mark.parametrize(
    "changes",
    [
        ("search.epochs=3", "search.arch.warmup_epochs=1", "callbacks.curvature.interval=2"),
        pytest.param(
            ("trainer.limit_train_batches=0.5", "candidates.key=seed", "candidates.values=2", "candidates.epochs=1"),
            marks=pytest.mark.slow,
        ),
        ("method=darts_pt", "selector.tune_epochs=1", "data.val_fraction=0.25", "search.batch_size=8"),
    ],
    ids=["curvature", "candidates", "selection"],
)
def test_planned_steps_are_the_executed_ones(changes, tracked):
    words = [*tracked, "space.num_nodes=1", *changes]
    work = work_of(*words)
    nl.search(nl.compose(words), run_dir="run")
    nl.evaluate(nl.compose(words), run_dir="judged", genotype=Path("run/genotype.json").as_posix())
    members = sorted(Path("run/candidates").glob("*")) or [Path("run")]
    searched = [torch.load(m / "checkpoints/last.ckpt", weights_only=False)["search"]["num_steps"] for m in members]
    assert sum(searched) == work.total("search step", "weight step")
    judged = [m for m in (*members, Path("judged")) if (m / "checkpoints/evaluation").exists()]
    trained = [torch.load(m / "checkpoints/evaluation/last.ckpt", weights_only=False)["global_step"] for m in judged]
    assert sum(trained) == work.total("training step")
    rows = [row for member in members for row in rows_of(member / "curvature.csv")]
    assert len(rows) == work.total("curvature")


@pytest.mark.parametrize("source", [Cifar10(root="nowhere"), Svhn(root="nowhere")], ids=["cifar10", "svhn"])
def test_a_stand_in_has_the_shape_and_the_augmentation_of_a_set(source):
    data = without_reading(source)
    assert (len(data.train_labels), len(data.test_labels)) == (source.shape.train, source.shape.test)
    images, labels = data.dataset("train", augment=True).raw([3, 49_999])
    assert (images.shape, labels.tolist()) == ((2, 3, 32, 32), [3, 9])
    assert data.dataset("train", augment=True).words > 0
    assert data.dataset("train", augment=False).words == 0


def test_a_plan_is_told_and_nothing_is_written(tiny, capsys):
    words = ["task=plan", *tiny, "plan.seconds=0.01", "seed=0,1"]
    code, out, err = run(words, capsys)
    assert (code, err) == (0, "")
    assert "plan: 2 runs = 2 seed" in out
    assert "hours on one device" in " ".join(out.split())
    peaks = r"memory, predicted for each run: search step 0\.\d GiB.*, training step of a random genotype 0\.\d GiB"
    assert re.search(peaks, " ".join(out.split()))
    assert list(Path().iterdir()) == []
    code, out, _ = run([*words, "plan.measure=false"], capsys)
    assert (code, "hours" in out) == (0, False)


def test_a_plan_goes_beyond_the_last_epoch(tiny, capsys):
    """A path would be dropped for certain in epoch 1/`drop_path` times `epochs`, and the loss be nan."""
    words = ["task=plan", *tiny, "task=evaluate", "genotype=random", "plan.seconds=0.5", "evaluation.epochs=1"]
    words += ["evaluation.drop_path=0.5"]
    code, _, err = run([*words, "evaluation.batch_size=32"], capsys)
    assert (code, err) == (0, "")


def test_what_does_not_fit_is_refused_before_it_is_timed(tiny, capsys, monkeypatch):
    monkeypatch.setattr("nas_lightning.planning.run.free_for", lambda bench: 2**18)
    words = ["task=plan", *tiny]
    code, _, err = run(words, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(r"search\.batch_size=\d+: a search step needs about .* use ", err)
    assert run([*words, "plan.measure=false"], capsys)[0] == 0


@pytest.mark.slow
def test_a_plan_of_another_machine(tiny, capsys):
    """Its seconds, times the counts, are the hours."""
    words = ["task=plan", *tiny, "plan.seconds=0.01", "hydra.run.dir=there"]
    assert run(words, capsys)[0] == 0
    (row,), steps = rows_of(Path("there/plan.csv")), rows_of(Path("there/steps.csv"))
    assert float(row["hours"]) == pytest.approx(sum(float(s["times"]) * float(s["median"]) for s in steps) / 3600)
    again = run_plan([*words[:-2], "plan.step_seconds=there/steps.csv"])
    assert total(again)[0] == pytest.approx(float(row["hours"]))
    code, _, err = run([*words[:-2], "plan.step_seconds=there/steps.csv", "search.layers=4"], capsys)
    assert (code, "it is of another plan" in err) == (2, True)
    code, _, err = run([*words[:-2], "plan.step_seconds=there/plan.csv"], capsys)
    assert (code, "cannot be read as a steps.csv" in err) == (2, True)


def test_what_cannot_be_planned_is_said_in_one_line(tiny, capsys):
    code, _, err = run(["task=plan", *tiny, "plan.seconds=0"], capsys)
    assert (code, "plan.seconds=0" in err) == (2, True)
    code, _, err = run(["task=plan", *tiny, "method=dart"], capsys)
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.slow
def test_hours_are_of_the_right_order(tmp_path, monkeypatch):
    """Against the main job, within a factor of three."""
    monkeypatch.chdir(tmp_path)
    planned = 3600 * total(run_plan(["task=plan", "trainer=cpu"]))[0]
    start = time.perf_counter()
    nl.search(nl.compose(["trainer=cpu"]), run_dir="run")
    nl.evaluate(nl.compose(["trainer=cpu"]), genotype="run", run_dir="judged")
    took = time.perf_counter() - start
    assert took / 3 < planned < took * 3, json.dumps([planned, took])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_plan_at_once(number, tiny, monkeypatch):
    before = signal.getsignal(number)
    steps = []

    def begin(self, module, kind):
        steps.append(kind)
        signal.raise_signal(number)

    monkeypatch.setattr("nas_lightning.planning.measure.SearchTiming.begin", begin)
    with pytest.raises(Interrupted, match="keeps nothing"):
        run_plan([*tiny, "task=search"])
    assert len(steps) == 1
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("seconds", "times"), [(0.1, 2), (60.0, 1)])
def test_long_measurements_of_the_curvature_have_no_warm_up(seconds, times, tracked, monkeypatch):
    measured = []

    def long(self, trainer, module, on_grid=True):
        measured.append(seconds)
        return Measured(seconds)

    monkeypatch.setattr("nas_lightning.callbacks.CurvatureTracking.measured", long)
    plan = plan_of([*tracked, "task=search"])
    measure_all(plan, PlanConfig(seconds=0.01))
    assert len(measured) == times
    assert [s.median for unit, s in plan.seconds.items() if unit.kind == "curvature"] == [seconds]


def test_what_a_control_does_inside_a_step_is_timed_with_it(tiny, monkeypatch):
    measured = []
    monkeypatch.setattr("nas_lightning.control.OperationStopping._measure", lambda *_: measured.append(1))
    measure_all(plan_of([*tiny, "method=oles", "task=search"]), PlanConfig(seconds=0.01))
    assert len(measured) >= 4  # two steps to warm up, two that are timed
