"""Whole runs in a space of layers: two processes agree, a cut run resumes with the same bits, tasks read a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_lightning as nl
from commands import run as command
from layered_toy import SMALLEST
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(tiny):
    return [*tiny, "space=mobilenet_small", *SMALLEST]


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_weights(small, tmp_path):
    words = [word for word in small if word != "trainer=cpu"]
    words += ["task=search", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "method=noisy_darts"]
    words += ["trusted=[rank_parts]", "+callbacks.record._target_=rank_parts.Record"]
    words += [f"+callbacks.record.folder={tmp_path / 'ends'}", f"hydra.run.dir={tmp_path / 'run'}"]
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    ended = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert ended.returncode == 0, ended.stderr
    first, second = (torch.load(tmp_path / f"ends/search.rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first["trajectory"]) == len(second["trajectory"]) > 1
    assert not torch.equal(first["trajectory"][0]["layers"], first["trajectory"][-1]["layers"])
    for part in ("arch", "weights"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])


def state(folder, phase):
    path = folder / "checkpoints" / ("last.ckpt" if phase == "search" else "evaluation/last.ckpt")
    saved = torch.load(path, weights_only=True)
    return {**saved["state_dict"], **(saved["search"]["arch"] if phase == "search" else {})}


@pytest.mark.parametrize("phase", [pytest.param("search", marks=pytest.mark.slow), "evaluation"])
def test_a_cut_run_resumes_with_the_same_bits(phase, small, tmp_path):
    """Noise in the search, stochastic depth in the retraining."""
    words = ["method=noisy_darts", "evaluation.drop_path=0.5", "trusted=[lightning_parts]"]
    words += ["+callbacks.crash._target_=lightning_parts.CrashOnce", f"+callbacks.crash.phase={phase}"]
    config = as_dict(nl.compose([*small, *words, "+callbacks.crash.epoch=1"]))
    CrashOnce.armed = False
    run_task(config, RunFolder(tmp_path / "whole"))
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run_task(config, RunFolder(tmp_path / "cut"))
    nl.resume(tmp_path / "cut")
    whole, found = state(tmp_path / "whole", phase), state(tmp_path / "cut", phase)
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    evaluated = json.loads((tmp_path / "cut/summary.json").read_text())["evaluation"]
    assert evaluated["params"] > 0
    assert "init_channels" not in evaluated
    assert (tmp_path / "cut/plots/cell_layers.svg").exists()


@pytest.fixture(scope="module")
def finished(images_file, tmp_path_factory):
    """Run folder of a search and a retraining."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = ["data=arrays", f"data.path={images_file}", "space=mobilenet_small", "trainer=cpu", *SMALLEST]
    brief = ["search.epochs=1", "evaluation.epochs=1", "evaluation.cutout=2", "~callbacks.curvature"]
    run_task(as_dict(nl.compose([*words, *brief])), RunFolder(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["task=landscape"], "landscape.csv"),
        (["task=analyse", "analysis=discretization"], "analysis.csv"),
        (["task=analyse", "analysis=spectrum"], "analysis.csv"),
        (["task=analyse", "analysis=strength"], "analysis.csv"),
        (["task=select", "selector=perturbation"], "genotype.json"),
        (["task=export"], "network.pt2"),
    ],
    ids=lambda words: words[-1] if isinstance(words, list) else "",
)
def test_tasks_read_a_finished_run(finished, tmp_path, words, file, capsys):
    code, _, err = command([*words, f"run={finished}", "trainer=cpu", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / file).stat().st_size > 0
