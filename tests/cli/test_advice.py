"""Commands that the program advises, followed as they are printed: they work, or come further than before."""

import contextlib
import json
import shutil
import signal
import subprocess
import time

import pytest
import torch

import commands
from commands import _logging_as_found  # noqa: F401 - a fixture
from conftest import TINY_SIZES, write_images
from followed import Ended, advised, command
from killed import PROGRAM, environment
from whole_runs import run

pytestmark = pytest.mark.xdist_group("advice")  # in one worker, which makes what they share once
WORDS = ["data=arrays", "data.path=mine.npz", "space=s3", "space.num_nodes=2", "trainer=cpu", "~callbacks.curvature"]
WORDS += TINY_SIZES
LONG = ["search.epochs=3", "search.batch_size=1"]
SECOND = "trainer.max_time=00:00:00:01"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with images and a finished run, in a folder with a blank and a quote in its name."""
    folder = tmp_path_factory.mktemp("made")
    write_images(folder / "mine.npz")
    with contextlib.chdir(folder):
        run(WORDS, folder / "my run's")
    return folder


@pytest.fixture
def place(made, tmp_path):
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def steps(folder, phase=""):
    saved = torch.load(folder / "checkpoints" / phase / "last.ckpt", weights_only=True)
    return saved["global_step"]


@pytest.fixture
def here(capsys):
    """Run a command in this process, which saves the start of another; what a signal meets has its own."""

    def command_here(words, cwd):
        with contextlib.chdir(cwd):
            code, _, err = commands.run(words, capsys)
        return Ended(code, (err.strip().splitlines() or [""])[-1], err)

    return command_here


def follow(ended, place, command, code=0, **more):
    ended = command(advised(ended.line, **more), place)
    assert ended.code == code, ended.err
    return ended


@pytest.mark.slow
def test_a_time_limit_comes_further_with_each_part(place, here):
    """Before, the time of all parts counted, and a part began when it was over."""
    ended = here([*WORDS, *LONG, "search.epochs=500", SECOND, "task=search", "hydra.run.dir=a run"], place)
    seen = []
    for _ in range(2):
        assert ended.code == 130, ended.err
        seen.append(steps(place / "a run"))
        ended = follow(ended, place, here, 130)
    assert seen[0] < seen[1] < steps(place / "a run")


@pytest.mark.slow
def test_ctrl_c_is_continued_to_the_end(place):
    words = [*WORDS, "search.epochs=40", "search.batch_size=4", "hydra.run.dir=stopped"]
    process = subprocess.Popen([*PROGRAM, *words], cwd=place, env=environment(), stderr=subprocess.PIPE, text=True)
    while not (place / "stopped/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    line = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 130
    ended = command(advised(line), place)
    assert ended.code == 0, ended.err
    assert summary(place / "stopped")["evaluation"] is not None


def unfinished(place, *parts):
    """Make the run look as if it had been cut off before these parts."""
    folder = place / "my run's"
    (folder / "summary.json").write_text(json.dumps({**summary(folder), **dict.fromkeys(parts)}))


def without_evaluation(place):
    unfinished(place, "evaluation")
    shutil.rmtree(place / "my run's/checkpoints/evaluation")


def with_damaged_checkpoint(place):
    unfinished(place, "evaluation")
    (place / "my run's/checkpoints/evaluation/previous.ckpt").unlink()
    (place / "my run's/checkpoints/evaluation/last.ckpt").write_text("hello")


def with_damaged_summary(place):
    (place / "my run's/summary.json").write_text("{")


def with_vanished_images(place):
    unfinished(place, "evaluation")
    (place / "my run's/data.json").unlink()  # it names the images of the folder that this one is copied from
    (place / "mine.npz").rename(place / "away.npz")


def deleted(name):
    return lambda place: (place / "my run's" / name).unlink()


OF_RUN = ['run="my run\'s"']
EVALUATION = {"evaluation": True}
CASES = {
    "folder of a run": (None, [*WORDS, 'hydra.run.dir="my run\'s"'], None, {}),
    "unfinished search": (
        lambda place: unfinished(place, "search", "selection", "genotype", "evaluation"),
        ["task=select", *OF_RUN, "selector=magnitude"],
        None,
        EVALUATION,
    ),
    "unfinished network": (
        lambda place: unfinished(place, "evaluation"),
        ["task=export", *OF_RUN, "export.onnx=false"],
        None,
        EVALUATION,
    ),
    "damaged checkpoint": (
        with_damaged_checkpoint,
        ["resume=my run's"],
        deleted("checkpoints/evaluation/last.ckpt"),
        EVALUATION,
    ),
    "damaged summary": (with_damaged_summary, ["resume=my run's"], deleted("summary.json"), EVALUATION),
    "vanished images": (
        with_vanished_images,
        ["resume=my run's"],
        lambda place: (place / "away.npz").rename(place / "mine.npz"),
        EVALUATION,
    ),
}
PATTERNS = {"damaged checkpoint": r"delete it, and (.*) trains"}


# The others take the same way through other lines.
FAST = ("vanished images",)


@pytest.mark.parametrize(
    "case", [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_the_advised_command_works(place, case, here):
    prepare, words, repair, expected = CASES[case]
    if prepare is not None:
        prepare(place)
    ended = here(words, place)
    assert ended.code in (1, 2)
    if repair is not None:
        repair(place)
    follow(ended, place, here, **({"pattern": PATTERNS[case]} if case in PATTERNS else {}))
    for part in expected:
        assert summary(place / "my run's")[part] is not None


@pytest.mark.slow
def test_a_time_limit_within_a_candidate_is_followed(place):
    several = ["candidates.key=seed", "candidates.values=2", "candidates.epochs=1", "search.epochs=40"]
    ended = command([*WORDS, *several, "search.batch_size=4", SECOND, "hydra.run.dir=several"], place)
    for _ in range(20):
        if ended.code == 0:
            break
        assert ended.code == 130, ended.err
        assert advised(ended.line) == ["resume=several"]
        ended = command(advised(ended.line), place)
    assert ended.code == 0
    assert len(summary(place / "several")["candidates"]) == 2


@pytest.mark.slow
def test_a_time_limit_shorter_than_an_epoch_of_several_processes(place):
    """They save whole epochs only: a part has to finish one, or the next would begin where it began."""
    several = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.max_time={milliseconds: 1}"]
    words = [word for word in WORDS if word != "trainer=cpu"]
    ended = command([*words, "trainer=cpu", *several, "task=search", "hydra.run.dir=pair"], place)
    for _ in range(3):
        if ended.code == 0:
            break
        assert ended.code == 130, ended.err
        ended = command(advised(ended.line), place)
    assert ended.code == 0, ended.err


@pytest.mark.slow
def test_a_time_limit_keeps_whole_epochs_where_an_epoch_is_validated_in_between(place):
    """After a validation in an epoch no state is saved: the epoch is finished, not cut off."""
    words = [*WORDS, "search.batch_size=4", "task=search", "trainer.val_check_interval=0.4"]
    whole = command([*words, "hydra.run.dir=whole"], place)
    assert whole.code == 0, whole.err
    ended = command([*words, "trainer.max_time={milliseconds: 1}", "hydra.run.dir=parts"], place)
    while ended.code == 130:
        ended = command(advised(ended.line), place)
    assert ended.code == 0, ended.err
    assert steps(place / "parts") == steps(place / "whole")
    assert (place / "parts/genotype.json").read_text() == (place / "whole/genotype.json").read_text()


@pytest.mark.slow
def test_a_time_limit_of_an_analysis_saves_a_row_with_each_part(place):
    words = ["task=analyse", "analysis=strength", *OF_RUN, "trainer=cpu", "trainer.max_time={milliseconds: 1}"]
    ended = command([*words, "analysis.rows=1", "analysis.epochs=1", "hydra.run.dir=strength"], place)
    rows = 0
    while ended.code == 130:
        found = len((place / "strength/analysis.csv").read_text().splitlines())
        assert found > rows
        rows = found
        ended = command(advised(ended.line), place)
    assert ended.code == 0, ended.err
    assert rows > 1


@pytest.mark.slow  # test_origin composes what the advice runs
def test_a_genotype_without_a_network_is_trained_as_advised(place):
    """In a space and with images that are not the defaults: the genotype and the run name them."""
    words = ["data=arrays", "data.path=mine.npz", "space=nasbench201", "seed=4", "trainer=cpu", "~callbacks.curvature"]
    sizes = ["search.epochs=1", "search.layers=1", "search.init_channels=2", "search.batch_size=20"]
    assert command([*words, *sizes, "task=search", "hydra.run.dir=a search"], place).code == 0
    refused = command(["task=export", "run=a search", "hydra.run.dir=exported"], place)
    assert refused.code == 2
    advice = advised(refused.line, r"train it with (.*) and name that run")
    short = ["evaluation.epochs=1", "evaluation.init_channels=2", "evaluation.layers=1", "trainer=cpu"]
    ended = command([*advice, *short, "hydra.run.dir=trained"], place)
    assert ended.code == 0, ended.err
    found = summary(place / "trained")
    assert (found["space"], found["data"], found["seed"]) == ("nasbench201", "arrays", 4)
    assert command(["task=export", "run=trained", "export.onnx=false", "hydra.run.dir=exported"], place).code == 0
