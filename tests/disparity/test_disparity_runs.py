"""Whole runs on pairs: two processes agree, a cut run resumes with the same bits, and tasks read a finished run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_lightning as nl
from commands import run as command
from lightning_parts import CrashOnce

ROOT = Path(__file__).parents[2]
SMALL = [
    "data=scenes", "data.height=16", "data.width=32", "data.max_disparity=8", "data.layers=2", "data.train_pairs=16",
    "data.test_pairs=3", "space.max_displacement=4", "search.epochs=2", "search.batch_size=2",
    "search.init_channels=2", "evaluation.epochs=1", "evaluation.init_channels=2", "~callbacks.curvature",
]  # fmt: skip


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_weights(tmp_path):
    words = [*SMALL, "task=search", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "method=darts"]
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
    assert not torch.equal(first["trajectory"][0]["up"], first["trajectory"][-1]["up"])
    for part in ("arch", "weights"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    assert first["metrics"] == second["metrics"]


def state(folder):
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return {**saved["state_dict"], **saved["search"]["arch"]}


@pytest.mark.slow
def test_a_search_cut_between_two_batches_resumes_with_the_same_bits(tmp_path):
    words = [*SMALL, "trainer=cpu", "search.checkpoint_minutes=1e-9", "trusted=[lightning_parts]"]
    words += ["+callbacks.crash._target_=lightning_parts.CrashOnce", "+callbacks.crash.phase=search"]
    cfg = nl.compose([*words, "+callbacks.crash.epoch=1", "+callbacks.crash.batch=2"])
    CrashOnce.armed = False
    nl.search(cfg, run_dir=tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        nl.search(cfg, run_dir=tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    whole, found = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = nl.compose([*SMALL, "trainer=cpu", "search.epochs=1", "data.train_pairs=8", "task=search"])
    nl.search(config, run_dir=folder)
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
    ],
    ids=lambda words: words[-1] if isinstance(words, list) else "",
)
def test_tasks_read_a_finished_search(finished, tmp_path, words, file, capsys):
    code, _, err = command([*words, f"run={finished}", "trainer=cpu", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / file).stat().st_size > 0
    if file == "genotype.json":
        kept = json.loads((tmp_path / "out" / file).read_text())
        assert {kind: len(edges) for kind, edges in kept["cells"].items()} == {"normal": 6, "reduce": 6, "up": 8}


@pytest.mark.parametrize("words", [["task=export"], ["task=predict"]])
def test_what_serves_images_alone_is_refused_in_one_line(finished, tmp_path, words, capsys):
    words = [*words, *(["images=."] if words == ["task=predict"] else [])]
    code, _, err = command([*words, f"run={finished}", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err.count("\n")) == (2, 1)
