"""Recipes as a whole: runs with everything on, resumed to the bit, whatever loads the images."""

import json

import pytest
import torch

import nas_lightning as nl
from lightning_parts import CrashOnce

CRASH = [
    *("trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"),
    *("+callbacks.crash.phase=evaluation", "+callbacks.crash.epoch=1"),
]
RECIPES = {
    "rmsprop": {
        "optimizer": "rmsprop",
        "decay": "kernels",
        "schedule": "staircase",
        "ema_decay": 0.7,
        "mixup": 0.4,
        "dropout": 0.2,
        "drop_path": 0.2,
        "drop_path_schedule": "constant",
    },
    "adamw": {
        "optimizer": "adamw",
        "warmup_epochs": 1,
        "cutmix": 1.0,
        "augment": "randaugment",
        "mixup": 0.2,
        "label_smoothing": 0.1,
    },
}


def evaluated(words, folder):
    """Train a random genotype; return the entries of the summary and the checkpoint's tensors."""
    nl.evaluate(nl.compose(words), "random", run_dir=folder)
    return outcome(folder)


def outcome(folder):
    saved = torch.load(folder / "checkpoints/evaluation/last.ckpt", weights_only=True)
    summary = json.loads((folder / "summary.json").read_text())["evaluation"]
    return {key: value for key, value in summary.items() if "accuracy" in key}, saved["state_dict"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_resumes_to_the_bit(tiny, tmp_path, name):
    """The machine dies in the second of three epochs."""
    words = [
        *tiny,
        "space.num_nodes=2",
        *(f"evaluation.{key}={value}" for key, value in RECIPES[name].items()),
        "evaluation.lr=0.01",
        "evaluation.epochs=3",
        *CRASH,
    ]
    CrashOnce.armed = False
    accuracies, weights = evaluated(words, tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        evaluated(words, tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    found, resumed = outcome(tmp_path / "cut")
    assert found == accuracies
    assert resumed.keys() == weights.keys()
    assert all(torch.equal(resumed[key], value) for key, value in weights.items())
