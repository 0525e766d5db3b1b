"""The command line as a user meets it: run folder, summary, exit codes, errors before anything is written."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nas_lightning as nl
from commands import _logging_as_found, run  # noqa: F401 - a fixture
from conftest import TINY_SIZES
from followed import advised
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


@pytest.fixture(scope="module")
def finished(images_file, tmp_path_factory):
    """Run folder of a search and its evaluation."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2", "trainer=cpu"]
    run_task(as_dict(nl.compose([*words, "~callbacks.curvature", *TINY_SIZES])), RunFolder(folder))
    return folder


def only_run(folder=Path()):
    (found,) = (folder / "outputs").glob("*/*")
    return found


SEARCH_KEYS = [
    "epochs",
    "seconds",
    "curvature_seconds",
    "device",
    "precision",
    "engine",
    "peak_memory_mib",
    "images",
    "images_per_second",
    "val_accuracy",
    "margin",
    "entropy_percent",
    "open_edges",
    "stopped_at",
    "rolled_back_to",
    "dominant_eigenvalue",
]
EVALUATION_KEYS = [
    "images",
    "images_per_second",
    "peak_memory_mib",
    "device",
    "precision",
    "recipe",
    "test_accuracy",
    "test_error",
    "best_epoch_accuracy",
    "params",
    "params_auxiliary",
    "macs",
    "epochs",
    "init_channels",
    "layers",
    "seconds",
]


def test_pipeline_leaves_a_complete_run_folder(tiny, capsys):
    code, out, err = run(tiny, capsys)
    assert (code, err) == (0, "")
    folder = only_run()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "data.json", "summary.json", "genotype.json", "genotypes.jsonl", "network.json", "metrics.csv",
        "run.log",
        "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/evaluation/last.ckpt",
        "checkpoints/evaluation/previous.ckpt", "plots/cell_normal.svg", "plots/cell_reduce.svg",
        "plots/search.svg", "plots/evaluation.svg",
    }  # fmt: skip
    assert {path.name for path in Path().iterdir()} == {"outputs"}
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary) == [
        "task",
        "method",
        "space",
        "data",
        "seed",
        "genotype",
        "objective",
        "search",
        "selection",
        "evaluation",
        "candidates",
        "readings",
        "methods",
        "versions",
        "git_commit",
        "config_hash",
    ]
    assert (summary["task"], summary["method"], summary["space"], summary["seed"]) == ("pipeline", "darts", "s3", 0)
    assert summary["objective"] == {"metric": "accuracy", "unit": "%", "direction": "max"}
    assert set(summary["search"]) == set(SEARCH_KEYS)
    assert set(summary["evaluation"]) == set(EVALUATION_KEYS)
    assert set(summary["selection"]) == {"seconds", "images", "validation_passes"}
    assert summary["candidates"] is None
    evaluation = summary["evaluation"]
    assert evaluation["test_accuracy"] + evaluation["test_error"] == pytest.approx(100)
    assert summary["genotype"] == json.loads((folder / "genotype.json").read_text())
    for words in (
        "search: epoch 1 (2/2)",
        "arch loss",
        "evaluation: epoch 1 (2/2)",
        "genotype in space s3",
        str(folder),
    ):
        assert words in out.replace("\n", "")
    assert "Traceback" not in (folder / "run.log").read_text()
    assert out.splitlines()[-2:] == [f"run folder: {folder}", f"  export its network: task=export run={folder}"]


def test_a_search_alone_names_the_command_that_trains_its_genotype(tiny, capsys):
    code, out, _ = run([*tiny, "task=search", "hydra.run.dir=my run"], capsys)
    assert code == 0
    before, _, advice = out.splitlines()[-1].partition(" the same command, in a folder of its own, with ")
    assert before == "  train its genotype:"
    code, out, err = run([*tiny, *shlex.split(advice)], capsys)
    assert code == 0, err
    found = json.loads((only_run() / "summary.json").read_text())
    assert found["genotype"] == json.loads(Path("my run/genotype.json").read_text())
    assert found["evaluation"]["epochs"] == 2
    code, _, err = run(["resume=my run", "evaluation.epochs=3"], capsys)
    assert code == 2
    assert "with evaluation.epochs=3; to train its genotype again, also task=evaluate genotype=FOLDER" in err
    again = [*tiny, "evaluation.epochs=3", "task=evaluate", "genotype=my run", "hydra.run.dir=again"]
    assert run(again, capsys)[0] == 0
    assert json.loads(Path("again/summary.json").read_text())["evaluation"]["epochs"] == 3


def test_parameters_and_accuracy_are_those_of_the_network(tiny, capsys):
    assert run(tiny, capsys)[0] == 0
    folder = only_run()
    summary = json.loads((folder / "summary.json").read_text())
    space = nl.build_space(nl.compose(tiny))
    network = space.network(nl.genotype(str(folder)), num_classes=4, in_channels=1, init_channels=4, layers=3)
    assert summary["evaluation"]["params"] == nl.count_parameters(network)
    last = (folder / "metrics.csv").read_text().splitlines()[-1].split(",")
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert float(last[header.index("test_accuracy")]) == pytest.approx(summary["evaluation"]["test_accuracy"])


def test_python_api(tiny, tmp_path):
    result = nl.search(nl.compose([*tiny, "space=s2"]), run_dir=tmp_path / "a")
    assert result.summary["search"]["epochs"] == 2
    assert result.genotype.space == "s2"
    judged = nl.evaluate(nl.compose([*tiny, "space=s2"]), genotype=result.genotype, run_dir=tmp_path / "b")
    assert judged.test_accuracy == judged.summary["evaluation"]["test_accuracy"]
    assert judged.summary["task"] == "evaluate"
    assert judged.summary["search"] is None
    default = nl.evaluate(nl.compose([*tiny, "space=s2"]), genotype=str(tmp_path / "a"))
    assert default.run_dir.parents[1] == tmp_path / "outputs"
    assert default.test_accuracy == judged.test_accuracy


def test_evaluate_and_random_baseline(tiny, capsys):
    assert run([*tiny, "task=evaluate", "genotype=random", "hydra.run.dir=a"], capsys)[0] == 0
    assert run([*tiny, "task=evaluate", "genotype=a", "hydra.run.dir=b"], capsys)[0] == 0
    a, b = (json.loads(Path(name, "summary.json").read_text()) for name in "ab")
    assert a["genotype"] == b["genotype"]
    assert a["evaluation"]["test_accuracy"] == b["evaluation"]["test_accuracy"]


def test_sweep_has_fixed_folders_and_a_report(tiny, capsys):
    words = [*tiny, "task=search", "search.epochs=1", "seed=0,1", "-m"]
    assert run(words, capsys)[0] == 0
    members = sorted(path.name for path in Path("multirun/sweep").iterdir() if path.is_dir())
    assert [name.rsplit("-", 1)[0] for name in members] == ["darts-s3-arrays-seed0", "darts-s3-arrays-seed1"]
    code, out, _ = run(["task=report", "runs=multirun/**", "hydra.run.dir=report"], capsys)
    assert code == 0
    assert "darts" in out
    names = {path.name for path in Path("report").iterdir()}
    assert names == {"report.html", "report.md", "report.csv", "figures", "tables", "run.log"}
    assert "written: report/report.html" in out.replace(f"{Path.cwd()}/", "")
    figures = {path.stem for path in Path("report/figures").iterdir()}
    assert figures >= {"costs", "cell_1_1", "cell_1_2", "mixing_1_1", "mixing_1_2"}
    assert "could not be read" not in Path("report/report.html").read_text()


def test_one_failing_member_leaves_the_others(tiny, capsys):
    four_nodes = [word for word in tiny if word != "space.num_nodes=2"]
    code, _, err = run([*four_nodes, "task=evaluate", "genotype=random,darts_v2", "-m"], capsys)
    assert code == 2
    assert "darts_v2" in err or "space 'darts'" in err
    assert len(list(Path("multirun/sweep").glob("*/summary.json"))) == 1


def test_trainer_arguments_reach_the_trainer(tiny, capsys):
    words = [*tiny, "trainer.limit_train_batches=1", "+callbacks.look._target_=lightning_parts.CountBatches"]
    assert run([*words, "trusted=[lightning_parts]", "trainer.precision=bf16-mixed"], capsys)[0] == 0
    from lightning_parts import CountBatches

    assert CountBatches.seen == {"search": 2, "evaluation": 2}
    assert json.loads((only_run() / "summary.json").read_text())["search"]["precision"] == "bf16-mixed"


@pytest.mark.parametrize("debug", ["default", "overfit", "profiler"])
def test_debug_configurations_run(tiny, capsys, debug):
    assert run([*tiny, f"debug={debug}"], capsys)[0] == 0


def test_fast_dev_run(tiny, capsys):
    assert run([*tiny, "trainer.fast_dev_run=true"], capsys)[0] == 0


# Mistakes -----------------------------------------------------------------------------------------------------


def corrupt(path):
    path.write_bytes(b"this is no archive")
    return [f"data.path={path}"]


def one_class(path):
    path.mkdir()
    (path / "cats").mkdir()
    from PIL import Image

    for number in range(4):
        Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(path / "cats" / f"{number}.png")
    return ["data=image_folder", f"data.path={path}"]


def foreign(path):
    path.write_text(json.dumps(nl.genotype("darts_v2").to_dict()))
    return ["task=evaluate", f"genotype={path}"]


MISTAKES = {
    "wrong key": (lambda p: ["search.epoch=3"], "did you mean"),
    "missing data": (lambda p: ["data=cifar10", f"data.root={p}"], "data.download=true"),
    "no network": (lambda p: ["data=cifar10", f"data.root={p}", "data.download=true"], "cifar10"),
    "no such file": (lambda p: [f"data.path={p}"], "data.path"),
    "corrupt file": (corrupt, "data.path"),
    "one class": (one_class, "class"),
    "foreign genotype": (foreign, "space=darts"),
    "no genotype": (lambda p: ["task=evaluate"], "genotype=darts_v2"),
    "unknown genotype": (lambda p: ["task=evaluate", "genotype=dart_v2"], "darts_v2"),
    "batch too large": (lambda p: ["search.batch_size=999"], "search.batch_size"),
    "image too small for the strides": (lambda p: ["data.image_size=10"], "data.image_size=8"),
    "cutout too large": (lambda p: ["evaluation.cutout=99", "task=evaluate", "genotype=random"], "cutout"),
    "unwritable folder": (lambda p: ["hydra.run.dir=/proc/nowhere"], "/proc/nowhere"),
    "report without runs": (lambda p: ["task=report"], "runs='multirun/**'"),
    "report of nothing": (lambda p: ["task=report", "runs=nowhere"], "nowhere"),
    "no accelerator": (lambda p: ["trainer.accelerator=tpu"], "trainer"),
    "flag without a value": (lambda p: ["--config-dir"], "--config-dir needs a value"),
    "unknown flag": (lambda p: ["--confg-dir", "x"], "--confg-dir"),
    "mistake beside --cfg": (lambda p: ["--cfg", "job", "space=s9"], "space=s9: no such option"),
    "callback of another kind": (lambda p: ["+callbacks.x._target_=torch.nn.ReLU"], "consists of Callbacks"),
    "resume of no name": (lambda p: ["resume="], "resume=: names no folder"),
    "resume of nothing": (lambda p: [f"resume={p}"], "there is no run"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_leave_with_code_2_and_one_line(case, tiny, tmp_path, capsys, monkeypatch):
    make, words = MISTAKES[case]
    here = tmp_path / "here"
    here.mkdir()
    extra = make(tmp_path / "thing")
    monkeypatch.chdir(here)
    if "data=image_folder" in extra or "data=cifar10" in extra:
        tiny = [word for word in tiny if not word.startswith("data")]
    tiny = [word for word in tiny if word != "space.num_nodes=2"]
    alone = [word for word in extra if word.startswith("resume=") or word == "task=report"]
    code, _, err = run(extra if alone else [*tiny, *extra], capsys)
    lines = err.strip().splitlines()
    assert code == 2, err
    assert len(lines) == 1, err
    assert words in lines[0]
    written = {path.name for path in here.rglob("*") if path.is_file()}
    assert written <= {"run.log"}, written


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny, capsys):
    assert run([*tiny, "task=search", "hydra.run.dir=mine"], capsys)[0] == 0
    before = Path("mine/summary.json").read_bytes()
    code, _, err = run([*tiny, "task=search", "hydra.run.dir=mine"], capsys)
    assert code == 2
    assert "already holds a run; continue it with resume=mine" in err
    assert Path("mine/summary.json").read_bytes() == before


def test_a_fault_leaves_with_code_1_and_its_traceback_in_the_log(tiny, capsys):
    from lightning_parts import CrashOnce

    CrashOnce.armed = True
    crash = ["+callbacks.c._target_=lightning_parts.CrashOnce", "+callbacks.c.phase=search", "+callbacks.c.epoch=1"]
    code, _, err = run([*tiny, "trusted=[lightning_parts]", *crash, "hydra.run.dir=mine"], capsys)
    assert code == 1
    assert "RuntimeError: the machine died" in err.strip().splitlines()[-1]
    assert "Traceback" in Path("mine/run.log").read_text()
    assert run(["resume=mine"], capsys)[0] == 0
    assert json.loads(Path("mine/summary.json").read_text())["evaluation"]["test_accuracy"] is not None


@pytest.mark.filterwarnings("default:auxiliary head off")
def test_small_images_switch_the_auxiliary_head_off_with_a_warning(tiny, capsys):
    words = [*tiny, "evaluation.auxiliary=0.4", "task=evaluate", "genotype=random"]
    code, _, err = run(words, capsys)
    assert code == 0, err
    (line,) = err.strip().splitlines()
    assert line.startswith("auxiliary head off: images of side 8")
    assert json.loads((only_run() / "summary.json").read_text())["evaluation"]["params_auxiliary"] == 0


# Help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["task=list"]])
def test_help_and_list_name_everything(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(words, capsys)
    assert code == 0
    for word in ("darts_nonone", "unrolled_exact", "imagenet_mobile", "image_folder", "python run.py"):
        assert word in out
    begins = {line.split()[0].rstrip(":") for line in out.splitlines() if line[:1].strip()}
    assert {"method", "data", "protocol"} <= begins
    assert not begins & {"hydra", "when", "method_data", "method_scale", "space_data", "paper_data"}
    assert "_loader" not in out
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_wait_for_torch():
    code = "import sys, nas_lightning.cli.main as app; app.main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# Real processes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(tiny, tmp_path, times):
    """Once: the epoch is finished and saved; twice: at once. Both leave with 130 and can be resumed."""
    words = [sys.executable, str(ROOT / "run.py"), *tiny, "search.epochs=400", "hydra.run.dir=mine"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "mine" / "metrics.csv"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert advised(err.strip().splitlines()[-1]) == ["resume=mine"]
    assert ("stopped at once" in err) == (times == 2)
    assert not (tmp_path / "mine" / "genotype.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_kill_and_resume_end_like_an_undisturbed_run(tiny, tmp_path, num_workers):
    """kill -9 during the search and again during the evaluation; workers 0 and 2."""
    words = [*tiny, "search.epochs=8", "evaluation.epochs=8", f"data.num_workers={num_workers}"]
    program = [sys.executable, str(ROOT / "run.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"cwd": tmp_path, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*program, *words, "hydra.run.dir=whole"], check=True, **quiet)
    command = [*words, "hydra.run.dir=cut"]
    for rows in (4, 12):
        process = subprocess.Popen([*program, *command], **quiet, start_new_session=True)
        metrics = tmp_path / "cut" / "metrics.csv"
        while not metrics.exists() or len(metrics.read_text().splitlines()) < rows:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        command = ["resume=cut"]
    subprocess.run([*program, *command], check=True, **quiet)
    for name in ("genotype.json", "genotypes.jsonl", "metrics.csv"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text(), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoints/last.ckpt", "is damaged"),
        ("checkpoints/evaluation/last.ckpt", "is damaged"),
        ("summary.json", "is damaged"),
        ("config.yaml", "there is no run"),
    ],
)
def test_damaged_folders_are_reported(finished, tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "mine")
    summary = json.loads(Path("mine/summary.json").read_text())
    phase = "evaluation" if "evaluation" in name else "search"
    Path("mine/summary.json").write_text(json.dumps({**summary, phase: None, "evaluation": None}))
    for path in (Path("mine", name), *Path("mine", name).parent.glob("previous.ckpt")):  # the one before is no help
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if "ckpt" in name else b"{: [")
    code, _, err = run(["resume=mine"], capsys)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert words in err


def test_checkpoint_of_another_genotype_is_refused(tiny, capsys):
    assert run([*tiny, "hydra.run.dir=mine", "space=s2"], capsys)[0] == 0
    summary = json.loads(Path("mine/summary.json").read_text())
    Path("mine/summary.json").write_text(json.dumps({**summary, "evaluation": None}))
    genotype = json.loads(Path("mine/genotype.json").read_text())
    used = {source for node, _, source in genotype["cells"]["normal"] if node == 3}
    edge = next(edge for edge in genotype["cells"]["normal"] if edge[0] == 3)
    edge[2] = ({0, 1, 2} - used).pop()
    Path("mine/genotype.json").write_text(json.dumps(genotype))
    code, _, err = run(["resume=mine"], capsys)
    assert code == 2
    assert "belongs to another genotype" in err


def test_a_diverged_search_stops_with_one_line(tiny, capsys):
    words = ["search.weights.lr=1e30", "search.weights.clip=null"]
    code, _, err = run([*tiny, *words], capsys)
    assert code == 1
    assert "with a lower search.weights.lr" in err


def test_time_limit_leaves_a_run_to_resume(tiny, capsys):
    words = ["search.epochs=500", "trainer.max_time=00:00:02", "hydra.run.dir=mine"]
    code, _, err = run([*tiny, *words], capsys)
    assert code == 130
    assert "resume=mine" in err
    assert json.loads(Path("mine/summary.json").read_text())["search"] is None


def test_a_number_is_no_duration(capsys):
    code, _, err = run(["trainer.max_time=1"], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "trainer.max_time=1: " in err
    assert "00:12:00:00" in err


def test_a_run_that_saved_nothing_says_so(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.log").write_text("begun\n")
    code, _, err = run([f"resume={tmp_path / 'mine'}"], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "was stopped before it had saved anything; repeat its command" in err


def test_epochs_without_validation_have_no_validation_metrics(tiny, capsys):
    words = ["task=search", "search.epochs=3", "trainer.check_val_every_n_epoch=2", "hydra.run.dir=mine"]
    assert run([*tiny, *words], capsys)[0] == 0
    rows = [line.split(",") for line in Path("mine/metrics.csv").read_text().splitlines()]
    column = rows[0].index("val_accuracy")
    assert [bool(row[column]) for row in rows[1:]] == [False, True, False]
    assert json.loads(Path("mine/summary.json").read_text())["search"]["val_accuracy"] is None


def test_interrupt_handler_is_given_back_after_a_fault(tiny, capsys):
    before = signal.getsignal(signal.SIGINT)
    from lightning_parts import CrashOnce

    CrashOnce.armed = True
    crash = ["+callbacks.c._target_=lightning_parts.CrashOnce", "+callbacks.c.phase=search", "+callbacks.c.epoch=0"]
    assert run([*tiny, "trusted=[lightning_parts]", *crash], capsys)[0] == 1
    assert signal.getsignal(signal.SIGINT) is before
