"""Searches with other steps, cut between two batches: a resume ends with the bits of a run that was not cut."""

import pytest
import torch

import nas_lightning as nl
from lightning_parts import CrashOnce
from nas_lightning.runs.folder import RunFolder

CASES = {
    "interval": ["method=idarts", "search.arch.interval=3"],
    "one level": ["method=gaea_erm", "search.arch.lr=5.0"],
    "best epoch": ["method=gaea", "search.arch.lr=5.0"],
    "gates": ["method=fair_darts", "selector.threshold=0.49"],
    "early fixing": ["method=dsnas", "search.arch.lr=0.3"],
}


def state(folder):
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return {**saved["state_dict"], **saved["search"]["arch"]}


QUICKLY = ("early fixing",)
"""One that decides and skips steps; the others are cut with the slow tests."""


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=name, marks=[] if name in QUICKLY else pytest.mark.slow) for name, words in CASES.items()],
)
def test_a_cut_changes_nothing_and_the_curvature_is_measured(words, tracked, tmp_path):
    words = [*tracked, *words, "space=s3", "space.num_nodes=2", "search.epochs=3", "search.batch_size=4"]
    words += ["search.checkpoint_minutes=1e-9", "trusted=[lightning_parts]"]
    words += ["+callbacks.crash._target_=lightning_parts.CrashOnce", "+callbacks.crash.phase=search"]
    cfg = nl.compose([*words, "+callbacks.crash.epoch=1", "+callbacks.crash.batch=3"])
    CrashOnce.armed = False
    nl.search(cfg, run_dir=tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        nl.search(cfg, run_dir=tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    whole, found = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    assert found.keys() == whole.keys()
    rows = [RunFolder(tmp_path / name).read_curvature() for name in ("whole", "cut")]
    values = [[float(row["dominant_eigenvalue"]) for row in one] for one in rows]
    assert values[0] == values[1]
    assert all(value == value for value in values[0])
    assert len(values[0]) >= 2
