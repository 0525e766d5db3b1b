"""Whole runs on pairs: two processes agree, a cut run resumes with the same bits, and tasks read a finished run."""

import json

import pytest
import torch

import nas_lightning as nl
from commands import run as command
from lightning_parts import CrashOnce
from whole_runs import READERS, is_read_by, two_processes_agree

SMALL = [
    "data=scenes", "data.height=16", "data.width=32", "data.max_disparity=8", "data.layers=2", "data.train_pairs=16",
    "data.test_pairs=3", "space.max_displacement=4", "search.epochs=2", "search.batch_size=2",
    "search.init_channels=2", "evaluation.epochs=1", "evaluation.init_channels=2", "~callbacks.curvature",
]  # fmt: skip


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_weights(tmp_path):
    two_processes_agree(SMALL, "up", tmp_path)


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
@pytest.mark.parametrize("name", sorted(set(READERS) - {"export"}))
def test_tasks_read_a_finished_search(name, finished, tmp_path, capsys):
    is_read_by(name, finished, tmp_path, capsys)
    if name == "selection":
        kept = json.loads((tmp_path / "out/genotype.json").read_text())
        assert {kind: len(edges) for kind, edges in kept["cells"].items()} == {"normal": 6, "reduce": 6, "up": 8}


@pytest.mark.parametrize("words", [["task=export"], ["task=predict"]])
def test_what_serves_images_alone_is_refused_in_one_line(finished, tmp_path, words, capsys):
    words = [*words, *(["images=."] if words == ["task=predict"] else [])]
    code, _, err = command([*words, f"run={finished}", f"hydra.run.dir={tmp_path / 'out'}"], capsys)
    assert (code, err.count("\n")) == (2, 1)
