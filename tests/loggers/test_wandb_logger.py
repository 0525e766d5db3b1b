"""Weights & Biases, offline: what a run leaves is read back from W&B's own files."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas_lightning as nl
from conftest import TINY_SIZES
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from wandb_files import offline_runs

pytestmark = pytest.mark.xdist_group("wandb")  # in one worker, which makes what they share once
ROOT = Path(__file__).parents[2]
VARIABLES = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")
ROLLBACK = [
    "method=darts_ada",
    "hypergradient=first_order",
    "trusted=[lightning_parts]",
    "callbacks.curvature._target_=lightning_parts.InjectedCurvature",
    "+callbacks.curvature.series=[[1,2,2,2],[1,1,1,1],[1,1,1,1]]",
    "callbacks.curvature.interval=1",
    *(f"control.adaptive_rollback.{rule}" for rule in ("window=1", "delta=1", "offset=1", "start_epoch=0")),
]
"""Eigenvalues that double after the first epoch: the search goes back once, to the end of epoch 0."""


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory):
    """A home folder without a key; what a run writes there is a mistake."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        yield home


def tiny_run(images_file):
    return ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2", "trainer=cpu", *TINY_SIZES]


def run(overrides, folder):
    run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


@pytest.fixture(scope="module")
def logged(images_file, nowhere, tmp_path_factory):
    """Run folder of a search that goes back once, smooths and drops paths, and of the evaluation after it."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    more = ["search.epochs=3", "perturbation=random", "logger=[wandb,tensorboard,csv]", "tags=[mine,paper]"]
    noise = ["+regularizer=drop_path", "logger.wandb.drawing_interval=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        run([*tiny_run(images_file), *ROLLBACK, *more, *noise], folder)
    return folder


@pytest.mark.slow
def test_history_is_the_table_of_metrics(logged):
    (found,) = offline_runs(logged)
    table = RunFolder(logged).read_metrics()
    assert [row["phase"] for row in table] == ["search"] * len(found.column("search/epoch")) + ["evaluation"] * 2
    for row, history in zip(table, found.history, strict=True):
        for name, text in row.items():
            if name != "phase" and text:
                assert history[f"{row['phase']}/{name}"] == pytest.approx(float(text), rel=1e-6), name
    for column in (
        *("train_loss", "arch_loss", "val_loss", "train_accuracy", "val_accuracy", "lr", "arch_lr", "weight_decay"),
        *("epsilon", "drop_path", "entropy/normal", "skip_share/reduce", "dominant_eigenvalue"),
    ):
        assert column in table[0], column


@pytest.mark.slow
def test_steps_grow_through_a_rollback_and_the_phases(logged):
    (found,) = offline_runs(logged)
    assert found.column("_step") == list(range(len(found.history)))
    assert found.column("search/search_epoch") == [0, 1, 1, 2]
    assert found.column("search/attempt") == [0, 0, 1, 1]
    assert found.column("search/rolled_back_to") == [0]
    assert found.column("search/smoothed_eigenvalue")[:2] == [1, 2]
    assert found.column("evaluation/epoch") == [0, 1]
    assert found.metrics["search/*"] == "search/epoch"
    assert found.metrics["evaluation/*"] == "evaluation/epoch"


def test_schedules_are_told(logged):
    (found,) = offline_runs(logged)
    epsilon, dropped = found.column("search/epsilon"), found.column("search/drop_path")
    assert epsilon[1] == epsilon[2] > epsilon[0]  # search epoch 1 twice: before and after going back
    assert dropped == pytest.approx([0, 0.1, 0.1, 0.2])
    assert found.column("search/weight_decay") == pytest.approx([3e-4, 3e-4, 3e-3, 3e-3])
    for share in found.column("search/skip_share/normal"):
        assert math.isclose(share, 1 / 3, abs_tol=0.05)  # of three operations, hardly trained


def test_drawings(logged):
    (found,) = offline_runs(logged)
    for name in ("cell_normal", "cell_reduce", "mixing_normal", "mixing_reduce"):
        paths = found.column(f"search/{name}/path")
        drawn = [row["_step"] for row in found.history if f"search/{name}/path" in row]
        assert drawn == [0, 2, 3]  # every second epoch, and the last
        for path in paths:
            assert (found.file.parent / "files" / path).read_bytes().startswith(b"\x89PNG")


def test_a_dashboard_can_sort_the_run(logged):
    (found,) = offline_runs(logged)
    summary = RunFolder(logged).summary()
    words = [summary[key] for key in ("method", "space", "data")]
    assert found.run.project == "nas-lightning"
    assert found.run.run_group == "-".join(words) == "darts_ada-s3-arrays"
    assert list(found.run.tags) == ["mine", "paper", *words, "seed0"]
    assert (found.run.display_name, found.run.job_type) == ("darts_ada-s3-arrays-seed0", "pipeline")
    assert found.config["search"]["epochs"] == 3
    assert found.config["method"] == "darts_ada"


def test_outcome_and_genotype(logged):
    (found,) = offline_runs(logged)
    summary = RunFolder(logged).summary()
    assert found.summary["evaluation/test_accuracy"] == summary["evaluation"]["test_accuracy"]
    assert found.summary["evaluation/params"] == summary["evaluation"]["params"]
    assert found.summary["search/rolled_back_to"] == 0
    assert found.summary["config_hash"] == summary["config_hash"]
    (artifact,) = found.artifacts
    assert artifact.type == "genotype"
    assert [Path(entry.local_path) for entry in artifact.manifest.contents] == [logged / "genotype.json"]
    assert found.exit_codes == [0]


def test_nothing_is_written_outside_the_run_folder(logged, nowhere):
    assert list(nowhere.rglob("*")) == []
    assert list(logged.parent.iterdir()) == [logged]


def test_tensorboard_shows_the_same_numbers(logged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logged / "tensorboard")).Reload()
    (found,) = offline_runs(logged)
    for name in ("search/val_accuracy", "search/epsilon", "search/dominant_eigenvalue", "evaluation/test_accuracy"):
        scalars = events.Scalars(name)
        assert [scalar.value for scalar in scalars] == pytest.approx(found.column(name), rel=1e-6)
        assert [scalar.step for scalar in scalars] == [row["_step"] for row in found.history if name in row]
    assert {"search/cell_normal", "search/mixing_reduce"} <= set(events.Tags()["images"])
    assert {"genotype/text_summary", "summary/text_summary"} <= set(events.Tags()["tensors"])


@pytest.fixture(scope="module")
def pooled(images_file, nowhere, tmp_path_factory):
    """Run folder of a search over a pool that a table judges at two levels."""
    folder = tmp_path_factory.mktemp("pooled") / "run"
    table = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10", "candidates.levels=[12,200]"]
    sizes = ["candidates.pool=12", "candidates.initial=4", "candidates.batch=4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        run(["data=arrays", f"data.path={images_file}", "method=evolution", *table, *sizes, "logger=wandb"], folder)
    return folder


def test_a_pool_is_drawn_against_what_it_has_judged_and_cost(pooled):
    (found,) = offline_runs(pooled)
    rows = RunFolder(pooled).read_generations()
    assert len(rows) == 3
    for name in ("size", "at_level_0", "at_level_1", "best_accuracy", "regret", "epochs_spent", "images_spent"):
        assert found.column(f"pool/{name}") == pytest.approx([float(row[name]) for row in rows]), name
    assert found.column("pool/size") == [4, 8, 12]
    assert found.metrics["pool/*"] == "pool/size"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own pydantic models
def test_the_dashboard_shows_what_is_logged(logged, pooled):
    pytest.importorskip("wandb_workspaces")
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "docs/wandb/dashboard.py")
    dashboard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dashboard)
    text = dashboard.workspace("me", "mine")._to_model().model_dump_json()
    (found,), (pool,) = offline_runs(logged), offline_runs(pooled)
    told = {name for row in pool.history for name in row}
    told |= {name.removesuffix("/path") for row in found.history for name in row} | set(found.summary)
    told |= {"search/cutout", "search/temperature"}  # of methods with such a schedule
    named = {*dashboard.RESULTS, *dashboard.DRAWINGS, *dashboard.POOL, *dashboard.POOL.values()}
    named |= {*(name for names in dashboard.CURVES.values() for name in names)}
    assert named <= told
    for name in named:
        assert name in text


def test_a_resumed_run_goes_on_under_its_id_and_others_do_not_mix(images_file, nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crash = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    crash += ["+callbacks.crash.phase=search", "+callbacks.crash.epoch=2", "~callbacks.curvature"]
    logger = ["logger=wandb", "logger.wandb.drawing_interval=null", "task=search"]
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run([*tiny_run(images_file), "search.epochs=4", *logger, *crash], tmp_path / "cut")
    run([*tiny_run(images_file), "search.epochs=1", "seed=1", *logger, "~callbacks.curvature"], tmp_path / "other")
    nl.resume(tmp_path / "cut")
    first, second = offline_runs(tmp_path / "cut")
    assert first.run.run_id == second.run.run_id
    assert (first.exit_codes, second.exit_codes) == ([1], [0])
    assert first.column("_step") + second.column("_step") == [0, 1, 2, 3]
    assert first.run.run_group == second.run.run_group
    (other,) = offline_runs(tmp_path / "other")
    assert other.run.run_id != first.run.run_id
    assert other.column("_step") == [0]
    nl.resume(tmp_path / "cut")  # it is finished: nothing is told again
    assert len(offline_runs(tmp_path / "cut")) == 2


def test_disabled_leaves_nothing(images_file, nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = ["logger=wandb", "task=search", "search.epochs=1", "~callbacks.curvature"]
    run([*tiny_run(images_file), *words], tmp_path / "run")
    assert offline_runs(tmp_path / "run") == []
    assert RunFolder(tmp_path / "run").summary()["search"] is not None


def test_the_run_goes_on_where_the_folder_cannot_be_written(images_file, nowhere, tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/wandb").write_text("a file where W&B needs a folder")
    words = ["logger=[wandb,tensorboard]", "task=search", "search.epochs=2", "~callbacks.curvature"]
    run([*tiny_run(images_file), *words], tmp_path / "run")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in warnings if "logger" in text] == [
        f"logger.wandb failed, the run continues without it (FileExistsError: [Errno 17] File exists:"
        f" '{tmp_path / 'run/wandb'}')"
    ]
    assert RunFolder(tmp_path / "run").summary()["search"] is not None
    assert list((tmp_path / "run/tensorboard").glob("events*"))


def process(words, folder, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, str(ROOT / "run.py"), *words, "logger=wandb", f"hydra.run.dir={folder}"]
    return subprocess.run(
        command, env={**kept, **environment}, cwd=folder.parent, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_server_that_refuses_leaves_the_run_offline(images_file, nowhere, tmp_path):
    words = [*tiny_run(images_file), "~callbacks.curvature", "task=search", "+logger.wandb.init_timeout=2"]
    key = "local-0123456789abcdef0123456789abcdef01234567"
    done = process(words, tmp_path / "run", WANDB_API_KEY=key, WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "logger.wandb: no connection, the run is kept offline" in done.stderr
    (found,) = offline_runs(tmp_path / "run")
    assert found.column("search/epoch") == [0, 1]
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert key.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_no_prompt_on_a_terminal(images_file, nowhere, tmp_path):
    """Without a key, on a terminal, W&B by itself would ask."""
    import pty

    words = [*tiny_run(images_file), "~callbacks.curvature", "task=search", "logger=wandb"]
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, str(ROOT / "run.py"), *words, f"hydra.run.dir={tmp_path / 'run'}"]
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(command, env=kept, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        text = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other end was closed
                break
            if not piece:
                break
            text += piece
        assert child.wait(timeout=60) == 0, text.decode()
    finally:
        os.close(master)
    (found,) = offline_runs(tmp_path / "run")
    assert found.exit_codes == [0]
    assert b"Enter your choice" not in text


@pytest.mark.slow
def test_secrets_of_the_environment_stay_there(images_file, nowhere, tmp_path):
    hidden = {
        "WANDB_API_KEY": "a" * 39 + "z",
        "MY_TOKEN": "sesame-sesame-open",
        "AWS_SECRET_ACCESS_KEY": "hush-hush-hush",
    }
    words = [*tiny_run(images_file), "~callbacks.curvature", "task=search", "logger.wandb.mode=offline"]
    done = process(words, tmp_path / "run", **hidden)
    assert done.returncode == 0, done.stderr
    (found,) = offline_runs(tmp_path / "run")
    assert found.column("search/epoch") == [0, 1]
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        for secret in hidden.values():
            assert secret.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_members_of_a_sweep_share_a_group(images_file, nowhere, tmp_path):
    words = [*tiny_run(images_file), "~callbacks.curvature", "task=search", "search.epochs=1", "logger=wandb"]
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, str(ROOT / "run.py"), "-m", *words, "seed=0,1", "sweep=mysweep"]
    done = subprocess.run(command, env=kept, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    members = sorted((tmp_path / "multirun/mysweep").glob("darts*"))
    found = [run for member in members for run in offline_runs(member)]
    assert [run.run.run_group for run in found] == ["mysweep"] * 2
    assert {tuple(run.run.tags)[-1] for run in found} == {"seed0", "seed1"}
    assert len({run.run.run_id for run in found}) == 2
    assert json.loads((members[0] / "loggers.json").read_text())["group"] == "mysweep"
