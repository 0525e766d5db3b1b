"""What whole runs of any space must do: agree in two processes, resume to the bit, and be read by other tasks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_lightning as nl
from commands import run as command
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

ROOT = Path(__file__).parents[1]
CPU = "trainer=cpu"
READERS = {
    "landscape": (["task=landscape", "landscape.steps=3", CPU], "landscape.csv"),
    "discretization": (["task=analyse", "analysis=discretization", CPU], "analysis.csv"),
    "spectrum": (["task=analyse", "analysis=spectrum", CPU], "analysis.csv"),
    "strength": (["task=analyse", "analysis=strength", "analysis.rows=1", "analysis.epochs=1", CPU], "analysis.csv"),
    "selection": (["task=select", "selector=perturbation", "selector.tune_epochs=1", CPU], "genotype.json"),
    "export": (["task=export"], "network.pt2"),
}
"""Words of tasks that read a finished run, each with a file that it writes."""


def two_processes_agree(words, choice, tmp_path):
    """Search on two processes: equal parameters and weights, of which those of the architecture have moved."""
    words = [word for word in words if word != "trainer=cpu"]
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
    assert not torch.equal(first["trajectory"][0][choice], first["trajectory"][-1][choice])
    for part in ("arch", "weights"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])


def state(folder, phase):
    path = folder / "checkpoints" / ("last.ckpt" if phase == "search" else "evaluation/last.ckpt")
    saved = torch.load(path, weights_only=True)
    return {**saved["state_dict"], **(saved["search"]["arch"] if phase == "search" else {})}


def cut_run_resumes(words, phase, tmp_path):
    """Cut a run in a phase of two epochs; resumed, it ends with the bits of a whole one. Its folder is returned."""
    words = [*words, "trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    config = as_dict(nl.compose([*words, f"+callbacks.crash.phase={phase}", "+callbacks.crash.epoch=1"]))
    CrashOnce.armed = False
    run_task(config, RunFolder(tmp_path / "whole"))
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run_task(config, RunFolder(tmp_path / "cut"))
    nl.resume(tmp_path / "cut")
    whole, found = state(tmp_path / "whole", phase), state(tmp_path / "cut", phase)
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    return tmp_path / "cut"


def is_read_by(name, finished, tmp_path, capsys):
    """Let a task read a finished run, without a word of error."""
    words, file = READERS[name]
    code, _, err = command([*words, f"run={finished}", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err) == (0, ""), err
    assert (tmp_path / "out" / file).stat().st_size > 0
