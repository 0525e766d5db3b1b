"""Whole runs, cut off and resumed, and what two of them must agree in."""

import json

import pytest
import torch

import nas_lightning as nl
from comparing import differences
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


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
