"""Whole runs: cut off and resumed, on two processes, read by other tasks; and what two of them must agree in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_lightning as nl
from commands import run as command
from comparing import differences
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


def run(overrides, folder):
    run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def outcome(folder):
    """Everything that must agree, without times and versions."""
    summary = json.loads((folder / "summary.json").read_text())
    for phase in ("search", "selection", "evaluation"):
        for key in ("seconds", "images_per_second", "peak_memory_mib"):
            (summary[phase] or {}).pop(key, None)
    return {
        "summary": summary,
        "genotype": (folder / "genotype.json").read_text(),
        "genotypes": (folder / "genotypes.jsonl").read_text(),
        "metrics": (folder / "metrics.csv").read_text(),
    }


def checkpoint_differences(a, b, name):
    first, second = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (a, b))
    wanted = ("state_dict", "optimizer_states", "search", "evaluation", "epoch", "global_step")
    return [place for key in wanted if key in first for place in differences(first[key], second[key], key)]


def cut_off_and_resumed_equals_whole(overrides, phase, epoch, tmp_path):
    crash = [
        "trusted=[lightning_parts]",
        "+callbacks.crash._target_=lightning_parts.CrashOnce",
        f"+callbacks.crash.phase={phase}",
        f"+callbacks.crash.epoch={epoch}",
    ]
    CrashOnce.armed = False
    run([*overrides, *crash], tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run([*overrides, *crash], tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    assert not CrashOnce.armed
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert checkpoint_differences(tmp_path / "cut", tmp_path / "whole", "last.ckpt") == []


def two_processes_agree(words, choice, tmp_path):
    """Search on two processes: equal parameters, weights and metrics; those of the architecture have moved."""
    words = [word for word in words if word != "trainer=cpu"]
    words += ["task=search", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
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
    assert first["metrics"] == second["metrics"]


def is_read_by(name, finished, tmp_path, capsys):
    """Let a task read a finished run, without a word of error."""
    words, file = READERS[name]
    code, _, err = command([*words, f"run={finished}", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err) == (0, ""), err
    assert (tmp_path / "out" / file).stat().st_size > 0
