"""Real processes that are killed or told to stop, at moments that a seed draws; resumed they end with the same bits."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from killed import PROGRAM, SMALL, environment
from whole_runs import checkpoint_differences, outcome

WATCHED = ["callbacks.curvature.interval=1", "callbacks.curvature.exact=true"]
SENSITIVE = ["window=1", "delta=1", "offset=1", "start_epoch=0", "factor=1.0001"]
METHODS = {
    "rollback": [
        *WATCHED,
        "method=darts_ada",
        *(f"control.adaptive_rollback.{value}" for value in SENSITIVE),
    ],
    "progressive": [
        "method=drnas_progressive",
        "~callbacks.curvature",
        "search.arch.warmup_epochs=1",
        "search.init_channels=8",
        "regularizer.partial_channels.divisor=4",
        "search.stages=[{name: all, epochs: 3}, {name: two, epochs: 3, overrides: {"
        "control.progressive_shrinking.options: 2, regularizer.partial_channels.divisor: 2}}]",
    ],
    "perturbation": ["method=darts_pt", "~callbacks.curvature", "selector.tune_epochs=1", "selector.batches=2"],
}


def start(words, folder):
    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(words, folder):
    process = start(words, folder)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def curvature(folder):
    """Without the seconds, which no two runs share."""
    rows = [line.split(",") for line in (folder / "curvature.csv").read_text().splitlines()]
    at = rows[0].index("seconds")
    return [row[:at] + row[at + 1 :] for row in rows]


def same(cut, whole):
    a, b = outcome(cut), outcome(whole)
    for found in (a, b):
        (found["summary"]["search"] or {}).pop("curvature_seconds", None)
        found["summary"].pop("git_commit")  # somebody may commit while this test runs
    for part in ("search", "selection", "evaluation"):
        assert a["summary"].pop(part) == b["summary"].pop(part), part
    for part in a:
        assert a[part] == b[part], part
    assert (cut / "curvature.csv").exists() == (whole / "curvature.csv").exists()
    if (whole / "curvature.csv").exists():
        assert curvature(cut) == curvature(whole)
    for name in ("last.ckpt", "evaluation/last.ckpt"):
        assert checkpoint_differences(cut, whole, name) == []


def begun(process, folder):
    """Wait until a run folder holds a run."""
    while not (folder / "config.yaml").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def killed_at(process, folder, delay):
    """Kill -9 the process and its workers so long after the run began; whether it was still running."""
    begun(process, folder)
    time.sleep(delay)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return running


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("method", METHODS)
def test_kills_at_random_moments_change_nothing(images_file, tmp_path, method, num_workers):
    """Two runs, each killed at one moment: in all, each method is killed once in each quarter of the whole of it.

    Search, its stages, the selection and the retraining are all met so. Without workers it is the first and the third
    quarter, with workers the others.
    """
    words = [*SMALL, *METHODS[method], "data=arrays", f"data.path={images_file}", f"data.num_workers={num_workers}"]
    process = start([*words, "hydra.run.dir=whole"], tmp_path)
    begun(process, tmp_path / "whole")
    began = time.monotonic()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    duration = time.monotonic() - began
    moments = random.Random(f"{method} {num_workers}")
    for number in (0, 2) if num_workers == 0 else (1, 3):
        folder = tmp_path / f"cut{number}"
        delay = duration * (number + moments.random()) / 4
        # On a busy machine runs are not equally long: a moment after the end is drawn again, earlier.
        while not killed_at(start([*words, f"hydra.run.dir={folder.name}"], tmp_path), folder, delay):
            shutil.rmtree(folder)
            delay *= 0.8
        finish([f"resume={folder.name}"], tmp_path)
        same(folder, tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_changes_nothing(images_file, tmp_path):
    words = [*SMALL, "data=arrays", f"data.path={images_file}", "~callbacks.curvature", "evaluation.epochs=1"]
    words.append("search.epochs=3")
    finish([*words, "hydra.run.dir=whole"], tmp_path)
    process = start([*words, "hydra.run.dir=cut"], tmp_path)
    while not (tmp_path / "cut/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finish(["resume=cut"], tmp_path)
    same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR2, marks=pytest.mark.slow)])
def test_a_signal_ends_the_run_between_two_batches(images_file, tmp_path, number):
    """All processes of the job get it, the workers too, as SLURM does it; what is saved is inside an epoch."""
    import torch

    words = [*SMALL, "data=arrays", f"data.path={images_file}", "~callbacks.curvature", "task=search"]
    words += ["search.epochs=100", "search.batch_size=1", "data.num_workers=2", "hydra.run.dir=mine"]
    words += ["trusted=[lightning_parts]", "+callbacks.third._target_=lightning_parts.TouchAtThirdBatch"]
    process = start([*words, f"+callbacks.third.path={tmp_path / 'third'}"], tmp_path)
    last = tmp_path / "mine/checkpoints/last.ckpt"
    while not (tmp_path / "third").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].endswith(f"stopped by {number.name}; continue with resume=mine"), err
    assert torch.load(last, weights_only=True)["search"]["running"]
