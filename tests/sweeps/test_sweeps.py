"""Sweeps as a user meets them: every launcher, what is skipped and repeated, what fails, what is refused."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nas_lightning as nl
from commands import _logging_as_found, run  # noqa: F401 - a fixture
from conftest import TINY_SIZES
from lightning_parts import CountBatches, CrashOnce
from nas_lightning.config.compose import PLUGINS, as_dict, hydra_settings, rewrite
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps import run as sweeping
from nas_lightning.sweeps.grammar import sweep_choices, sweep_members
from nas_lightning.sweeps.members import value_on_val
from nas_lightning.sweeps.processes import check_ranks
from nas_lightning.sweeps.resolvers import member_name
from nas_lightning.tasks.resume import continue_task

ROOT = Path(__file__).parents[2]
MODULES = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher",
    "ray": "hydra_ray_launcher",
    "optuna": "hydra_optuna_sweeper",
}
SEARCH = ["task=search", "search.batch_size=10"]  # 20 images a half: two steps an epoch


def need(option):
    pytest.importorskip(f"hydra_plugins.{MODULES[option]}")


def table(folder="multirun/sweep"):
    with Path(folder, "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder="multirun/sweep"):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.name in ("summary.json", "metrics.csv")}


# Configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "key", "ours"),
    [
        ("joblib", "n_jobs", 2),
        ("submitit_local", "timeout_min", 1440),
        ("submitit_slurm", "max_num_timeout", 3),
        ("ray", "ray.init.include_dashboard", False),
    ],
)
def test_launchers_have_our_values_and_the_plugins_keys(option, key, ours):
    from omegaconf import OmegaConf

    need(option)
    launcher = hydra_settings(rewrite([f"hydra/launcher={option}"])).launcher
    assert MODULES[option] in launcher._target_
    assert OmegaConf.select(launcher, key) == ours
    changed = hydra_settings(rewrite([f"hydra/launcher={option}", f"hydra.launcher.{key}=7"])).launcher
    assert OmegaConf.select(changed, key) == 7


def test_optuna_maximises_and_its_experiment_names_what_is_looked_for():
    need("optuna")
    for words in (["hydra/sweeper=optuna"], ["experiment=sweep_weight_decay"]):
        sweeper = hydra_settings(rewrite(words)).sweeper
        assert (sweeper.direction, sweeper.sampler.seed, sweeper.max_failure_rate) == ("maximize", 0, 1.0)
    assert set(sweeper.params) == {"search.weights.weight_decay", "regularizer.drop_path.maximum"}
    assert nl.compose(["experiment=sweep_weight_decay"]).evaluation["images"] == "search_halves"


@pytest.mark.slow
def test_a_plugin_that_is_not_installed_is_named(tmp_path):
    """The same interpreter with all packages but Hydra's plugins."""
    import hydra

    for entry in Path(hydra.__file__).parents[1].iterdir():
        if entry.name != "hydra_plugins":
            (tmp_path / entry.name).symlink_to(entry)
    source = str(Path(nl.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(tmp_path)])}
    for option, extra in {**PLUGINS["hydra/launcher"], **PLUGINS["hydra/sweeper"]}.items():
        group = "sweeper" if option == "optuna" else "launcher"
        code = f"from nas_lightning.cli.main import main; main(['-m', 'seed=0,1', 'hydra/{group}={option}'])"
        if option not in ("joblib", "optuna"):
            continue  # a second of starting each
        done = subprocess.run(
            [sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert f"hydra/{group}={option}: " in line
        assert f"pip install 'nas-lightning[{extra}]'" in line


def test_the_worked_sweep_has_two_methods_with_two_seeds():
    params = hydra_settings(["experiment=sweep_digits"]).sweeper.params
    members = sweep_members([f"{key}={value}" for key, value in params.items()])
    assert members == [["method=darts", "seed=0"], ["method=sdarts_rs", "seed=0"], ["method=darts", "seed=1"]]
    for member in members:
        assert nl.compose(["experiment=sweep_digits", *member]).sweep == "sweep_digits"


def test_choices_of_a_sweep():
    words = ["seed=0,1", "search.weights.lr=interval(0.1,0.5)", "method=glob(*)", "seed=range(5,8)", "space=s2"]
    assert sweep_choices(words) == {
        "seed": ["seed=5", "seed=6", "seed=7"],  # the last one wins
        "search.weights.lr": ["search.weights.lr=0.1", "search.weights.lr=0.5"],
        "method": None,
        "space": ["space=s2"],
    }


def test_whether_members_are_skipped_changes_neither_their_folder_nor_their_comparison():
    from nas_lightning.tasks.identity import comparable_hash

    plain = [as_dict(nl.compose([f"skip_finished={value}"])) for value in ("true", "false")]
    assert member_name(plain[0]) == member_name(plain[1])
    assert comparable_hash(plain[0]) == comparable_hash(plain[1])
    assert member_name(plain[0]) != member_name(plain[0] | {"seed": 1})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep=a,b"], "sweep: a sweep has one name"),
        (["search.weights.momentum=0.5,1.5"], "search.weights.momentum=1.5: must be less than 1"),
        (["search.weights.momentum=interval(0.5,1.5)"], "search.weights.momentum=1.5: must be less than 1"),
        (["hydra/launcher=jolib", "seed=0,1"], "hydra/launcher=jolib: no such option; nearest: joblib"),
        (["hydra.launcher.n_jobs=2", "seed=0,1"], "hydra.launcher.n_jobs"),
        (["seed=0,1", "hydra.sweep.dir=/proc/nowhere"], "hydra.sweep.dir=/proc/nowhere: cannot be written"),
    ],
)
def test_mistakes_in_a_sweep_are_found_before_anything_is_written(words, message, tiny, capsys):
    if "jolib" in words[0]:
        need("joblib")
    code, _, err = run([*tiny, *words, "-m"], capsys)
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert list(Path().iterdir()) == []


# Ranks --------------------------------------------------------------------------------------------------------


RANKS = {
    "one process": ({"devices": 1, "strategy": "ddp"}, True),
    "ddp": ({"devices": 2, "strategy": "ddp"}, False),
    "chosen by Lightning": ({"devices": 2}, False),
    "finding parameters": ({"devices": [0, 1], "strategy": "ddp_find_unused_parameters_true"}, False),
    "all there are": ({"devices": "auto", "accelerator": "gpu"}, False),
    "all there are, one CPU": ({"devices": "auto", "accelerator": "cpu"}, True),
    "a list of one": ({"devices": [3], "strategy": "ddp"}, True),
    "words": ({"devices": "0,1"}, False),
    "machines": ({"devices": 1, "num_nodes": 2}, False),
    "spawned": ({"devices": 2, "strategy": "ddp_spawn"}, True),
    "forked": ({"devices": 2, "strategy": "ddp_fork_find_unused_parameters_true"}, True),
}


@pytest.mark.parametrize("case", RANKS)
def test_ranks_that_would_run_the_sweep_again_are_refused(case, monkeypatch):
    for name in ("LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    trainer, allowed = RANKS[case]
    if allowed:
        check_ranks(trainer, {})
        return
    with pytest.raises(ConfigError, match=r"trainer\.strategy=ddp_spawn.* hydra\.launcher\.tasks_per_node="):
        check_ranks(trainer, {})
    check_ranks(trainer, {"tasks_per_node": 2})
    monkeypatch.setenv("SLURM_PROCID", "0")
    check_ranks(trainer, {})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("trainer.devices=two", "trainer.devices=two: must be a number, a list or auto"),
        ("seed=range(0,3", "seed=range(0,3: cannot be read"),
        ("hydra.launcher.n_job=2", "hydra.launcher.n_job=2: there is no such key"),
    ],
)
def test_mistakes_in_a_sweep_are_one_line(tiny, capsys, wrong, told):
    code, _, err = run([*tiny, "method=darts,drnas", wrong, "-m"], capsys)
    assert code == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("multirun").exists()


def test_a_long_check_shows_how_far_it_is(tiny, capsys, monkeypatch):
    told = []
    for many in (2, 3):
        monkeypatch.setattr(sweeping, "MANY", many)
        code, out, _ = run([*tiny, "seed=0,1", "search.epochs=2,0", "-m"], capsys)
        assert code == 2
        told.append("runs to check: 3" in out)  # the first, and one of each further value
    assert told == [True, False]


def test_lightnings_ranks_are_refused_on_the_command_line(tiny, capsys):
    code, _, err = run([*tiny, "seed=0,1", "trainer.strategy=ddp", "trainer.devices=2", "-m"], capsys)
    assert code == 2
    assert "trainer.devices=2" in err


# Skipping, repeating, failing ---------------------------------------------------------------------------------


def test_what_a_member_is_compared_by():
    assert value_on_val({"search": {"val_accuracy": 70.0}, "evaluation": {"val_accuracy": 80.0}}) == 80.0
    assert value_on_val({"search": {"val_accuracy": 70.0}, "evaluation": {"test_accuracy": 90.0}}) == 70.0
    assert value_on_val({"search": None, "evaluation": {"test_accuracy": 90.0}}) is None


@pytest.fixture
def crashing(monkeypatch):
    """Overrides of a search that dies once in its second epoch; and every batch that is trained is counted."""
    monkeypatch.setattr(CrashOnce, "armed", True)
    monkeypatch.setattr(CountBatches, "seen", {})
    crash = ["+callbacks.c._target_=lightning_parts.CrashOnce", "+callbacks.c.phase=search", "+callbacks.c.epoch=1"]
    return [*crash, "+callbacks.n._target_=lightning_parts.CountBatches", "trusted=[lightning_parts]"]


@pytest.mark.slow
def test_a_sweep_run_again_skips_the_finished_and_continues_the_failed(tiny, crashing, capsys):
    words = [*tiny, *SEARCH, *crashing, "seed=0,1", "-m"]
    code, out, err = run(words, capsys)
    assert code == 1
    assert "1 of 2 members of the sweep failed" in err
    assert err.strip().endswith("multirun/sweep/sweep.csv; repeat the command to run them again")  # which is done below
    assert "RuntimeError: the machine died" in err
    assert len(err.strip().splitlines()) == 1
    assert [(row["seed"], row["status"]) for row in table()] == [("0", "failed"), ("1", "finished")]
    assert table()[0]["reason"].startswith("callbacks.c.on_train_batch_start: RuntimeError: the machine died; ")
    assert "sweep: 1 of 2 ended: multirun/sweep/darts-s3-arrays-seed0" in out
    assert "sweep: 2 of 2 ended: multirun/sweep/darts-s3-arrays-seed1" in out
    (log,) = Path("multirun/sweep").glob("*seed0*/run.log")
    assert "Traceback" in log.read_text()
    finished = {path: content for path, content in contents().items() if "seed1" in str(path)}
    assert len(finished) == 2

    CountBatches.seen.clear()
    code, out, err = run(words, capsys)
    assert (code, err) == (0, "")
    assert CountBatches.seen == {"search": 2}  # the second epoch of the first seed, nothing else
    assert [(row["seed"], row["status"]) for row in table()] == [("0", "finished"), ("1", "skipped")]
    assert all(float(row["val_accuracy"]) >= 0 for row in table())
    assert "skipped, finished before" in out
    assert out.splitlines()[-1] == "compare them: task=report 'runs=multirun/sweep/**'"
    code, report, err = run(shlex.split(out.splitlines()[-1].partition(": ")[2]), capsys)
    assert (code, err) == (0, "")
    assert "darts" in report
    assert {path: content for path, content in contents().items() if "seed1" in str(path)} == finished

    assert not list(Path("multirun/sweep").glob(".members*"))

    before = contents()
    code, _, err = run([*words, "skip_finished=false"], capsys)
    assert code == 2
    assert "2 of 2 members of the sweep failed" in err
    assert "already holds a run; use skip_finished=true, or another name, sweep=NAME" in err
    assert contents() == before


@pytest.mark.parametrize("cut", ["between the first files", "in the first epoch"])
def test_a_run_cut_off_before_its_first_checkpoint_starts_again(cut, tiny, tmp_path):
    config = as_dict(nl.compose([*tiny, *SEARCH, "search.epochs=1"]))
    folder = RunFolder(tmp_path / "run")
    assert continue_task(config, folder)[1] is False
    before = folder.metrics.read_bytes()
    shutil.rmtree(folder.checkpoints)
    if cut == "between the first files":
        for name in ("summary.json", "metrics.csv", "genotypes.jsonl", "genotype.json"):
            (folder.path / name).unlink()
    else:
        folder.update_summary(search=None, genotype=None)
    summary, finished_before = continue_task(config, folder)
    assert not finished_before
    assert summary["search"]["epochs"] == 1
    assert folder.metrics.read_bytes() == before
    assert continue_task(config, folder) == (summary, True)


def test_mistakes_and_faults_leave_the_others(tiny, crashing, capsys):
    crash = [word.replace("=search", "=evaluation") for word in crashing]
    words = [*tiny, *crash, "task=evaluate", "genotype=darts_v2,random", "-m"]
    for code, status in ((1, "failed"), (2, "finished")):  # the machine dies the first time only
        got, out, err = run(words, capsys)
        assert got == code, err
        assert f"{3 - code} of 2 members of the sweep failed" in err
        assert "sweep.csv" in err
        assert len(err.strip().splitlines()) == 1
        assert [(row["genotype"], row["status"]) for row in table()] == [("darts_v2", "failed"), ("random", status)]
        assert "space" in table()[0]["reason"]
        assert "darts_v2" in out


# Launchers: real processes ------------------------------------------------------------------------------------


def command(*words):
    return [sys.executable, str(ROOT / "run.py"), "-m", *words]


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def launched(option):
    """Overrides that have two members run at once."""
    need(option)
    batches = ["hydra.sweeper.max_batch_size=2"] if option == "submitit_local" else []
    return [f"hydra/launcher={option}", *batches]


LAUNCHERS = ["joblib", "submitit_local", "ray"]


@pytest.fixture(scope="module")
def four(images_file):
    """Overrides of two methods with two seeds, whose workers load the images."""
    words = [f"data.path={images_file}", "space=s3", "space.num_nodes=2", "trainer=cpu", "~callbacks.curvature"]
    words += [*TINY_SIZES, "experiment=sweep_digits", "data=arrays", "search.epochs=1", "evaluation.epochs=1"]
    return [*words, "threads=1", "data.num_workers=2"]


@pytest.fixture(scope="module")
def plain(four, environment, tmp_path_factory):
    """The sweep of the basic launcher, with which those of the others are compared."""
    folder = tmp_path_factory.mktemp("basic")
    words = command(*four, "hydra.sweep.dir=plain")
    assert subprocess.run(words, cwd=folder, env=environment, capture_output=True).returncode == 0
    return folder / "plain"


# No shorter limit than that of all tests: a first start of Ray, and of its workers, takes minutes on a busy machine.
@pytest.mark.slow
@pytest.mark.xdist_group("launchers")  # in one worker, which makes `plain` once
@pytest.mark.parametrize("option", LAUNCHERS)
def test_two_methods_with_two_seeds(option, four, plain, tmp_path, monkeypatch, environment):
    """Results are those of the basic launcher, to the bit; run again, all are skipped."""
    monkeypatch.chdir(tmp_path)
    launcher = launched(option)
    quiet = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    for status in ("finished", "skipped"):
        done = subprocess.run(command(*four, *launcher), **quiet)
        assert done.returncode == 0, done.stderr
        rows = table("multirun/sweep_digits")
        assert [(row["method"], row["seed"], row["status"]) for row in rows] == [
            (method, seed, status) for method in ("darts", "sdarts_rs") for seed in "01"
        ]
        assert "sweep: 4 of 4 ended" in done.stdout
        assert "(1/1)" not in done.stdout  # members that run side by side do not write over each other
    for name in ("genotype.json", "metrics.csv"):
        files = sorted(plain.glob(f"*/{name}"))
        assert len(files) == 4
        for file in files:
            assert file.read_bytes() == Path("multirun/sweep_digits", file.relative_to(plain)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("option", LAUNCHERS)
def test_failing_members_leave_the_others(option, tiny, tmp_path, environment):
    words = [*tiny, *SEARCH, "search.epochs=1", "search.weights.clip=null", "search.weights.lr=0.05,1e30", "seed=0,1"]
    done = subprocess.run(
        command(*words, *launched(option)), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("nas-lightning: 2 of 4 members of the sweep failed")
    rows = table()
    assert [row["status"] for row in rows] == ["finished", "finished", "failed", "failed"]
    assert all("the arch loss is nan in epoch 0" in row["reason"] for row in rows[2:])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("everybody", [True, False], ids=["terminal", "one process"])
@pytest.mark.parametrize("option", ["basic", *LAUNCHERS])
def test_ctrl_c_stops_the_whole_sweep(option, everybody, tiny, tmp_path, environment):
    """To all processes, as a terminal sends it, or to the one that was called; nothing goes on, and the rest can."""
    launcher = [] if option == "basic" else launched(option)
    words = [*tiny, *SEARCH, "search.epochs=60", "seed=0,1", *launcher]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(*words), cwd=tmp_path, env=environment, start_new_session=True, **pipes)
    while not any(len(path.read_text().splitlines()) > 2 for path in Path("multirun").rglob("metrics.csv")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    # Not always the last line: submitit's own processes tell that they were interrupted, too, when they come to it.
    assert "of 2 members are finished; repeat the command to run the rest" in err
    assert {row["status"] for row in table()} <= {"finished", "interrupted"}
    unfinished = [path for path in Path("multirun/sweep").glob("*seed*") if not (path / "genotype.json").exists()]
    assert unfinished
    last = [(path / "metrics.csv") for path in unfinished if (path / "metrics.csv").exists()]
    while any(time.time() - path.stat().st_mtime < 3 for path in last):  # orphans would go on writing to their end
        time.sleep(0.2)
    assert all(len(path.read_text().splitlines()) < 61 for path in last)
    done = subprocess.run(command(*words), cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in table()} <= {"finished", "skipped"}
    assert len(table()) == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_optuna_looks_for_strengths_judged_on_val(tiny, tmp_path, environment):
    need("optuna")
    words = [*tiny, "experiment=sweep_weight_decay", "data=arrays", "search.epochs=1", "evaluation.epochs=1"]
    words += ["hydra.sweeper.n_trials=3", "evaluation.images=search_halves"]
    for status in ("finished", "skipped"):  # the same values are proposed again
        done = subprocess.run(command(*words), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = table("multirun/sweep_weight_decay")
        assert [row["status"] for row in rows] == [status] * 3
    import yaml

    best = yaml.safe_load(Path("multirun/sweep_weight_decay/optimization_results.yaml").read_text())
    judged = [json.loads(path.read_text())["evaluation"] for path in Path("multirun").rglob("summary.json")]
    assert best["best_value"] == max(one["val_accuracy"] for one in judged)
    assert all(one["test_accuracy"] is None for one in judged)
    chosen = max(rows, key=lambda row: float(row["val_accuracy"]))
    assert best["best_params"]["search.weights.weight_decay"] == pytest.approx(
        float(chosen["search.weights.weight_decay"])
    )
