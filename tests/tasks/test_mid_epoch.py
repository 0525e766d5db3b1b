"""States between two batches: a resume goes on with the next batch and ends like a run that was not cut."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

import nas_lightning as nl
from conftest import TINY_SIZES
from lightning_parts import CrashOnce
from whole_runs import checkpoint_differences, outcome, run

pytestmark = pytest.mark.xdist_group("mid epoch")  # in one worker, which makes what they share once
EACH_BATCH = ["search.checkpoint_minutes=1e-9", "evaluation.checkpoint_minutes=1e-9"]


class Starts(Callback):
    """Notes where each fit begins: (epoch, batch)."""

    seen: list = []  # noqa: RUF012 - shared on purpose

    def on_train_start(self, trainer, pl_module):
        self.first = True

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.first:
            Starts.seen.append((trainer.current_epoch, batch_idx))
        self.first = False


def cut_at(phase, epoch, num_workers, images):
    """Overrides of a run that is cut off there, if CrashOnce is armed."""
    return [
        *("data=arrays", f"data.path={images}", f"data.num_workers={num_workers}"),
        *("space=s3", "space.num_nodes=2", "trainer=cpu", "~callbacks.curvature"),
        *[word for word in TINY_SIZES if "batch_size" not in word],
        *("search.batch_size=4", "evaluation.batch_size=8"),
        *crash_at(phase, epoch),
    ]


def crash_at(phase, epoch):
    """Overrides that save after each batch, and cut a run off before the fourth of an epoch."""
    return [
        "trusted=[lightning_parts,test_mid_epoch]",
        "+callbacks.starts._target_=test_mid_epoch.Starts",
        "+callbacks.crash._target_=lightning_parts.CrashOnce",
        f"+callbacks.crash.phase={phase}",
        f"+callbacks.crash.epoch={epoch}",
        "+callbacks.crash.batch=3",
        *EACH_BATCH,
    ]


@pytest.fixture(scope="module")
def whole(images_file, tmp_path_factory):
    """A run that nothing cut off, by number of workers."""
    folder = tmp_path_factory.mktemp("whole")
    CrashOnce.armed = False
    for num_workers in (0, 2):
        run(cut_at("search", 0, num_workers, images_file), folder / str(num_workers))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("phase", "epoch"), [("search", 0), ("search", 1), ("evaluation", 1)])
def test_a_cut_between_two_batches_changes_nothing(images_file, whole, tmp_path, phase, epoch, num_workers):
    whole = whole / str(num_workers)
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run(cut_at(phase, epoch, num_workers, images_file), tmp_path / "cut")
    Starts.seen = []
    nl.resume(tmp_path / "cut")
    assert Starts.seen[0] == (epoch, 3)
    found, expected = outcome(tmp_path / "cut"), outcome(whole)
    for ended in (found, expected):
        ended["summary"].pop("config_hash")  # where to be cut off is part of the configuration
    assert found == expected
    for name in ("last.ckpt", "evaluation/last.ckpt"):
        assert checkpoint_differences(tmp_path / "cut", whole, name) == []
    costs = [
        torch.load(folder / "checkpoints" / name, weights_only=True)["callbacks"]["Cost"]["images"]
        for folder in (tmp_path / "cut", whole)
        for name in ("last.ckpt", "evaluation/last.ckpt")
    ]
    assert costs[:2] == costs[2:]


@pytest.mark.slow
def test_a_cut_search_on_text_changes_nothing(tmp_path):
    """Two streams, each with the state that it has reached, and a gradient that takes both."""
    words = [
        *("task=search", "space=recurrent", "data=grammar", "data.train_tokens=1200", "data.valid_tokens=600"),
        *("data.test_tokens=200", "data.val_columns=10", "trainer=cpu", "search.epochs=2", "search.batch_size=16"),
        *("search.hidden=6", "hypergradient=unrolled", "hypergradient.clip=0.25", "search.weights.optimizer=sgd"),
        *("search.weights.lr=2", "~callbacks.curvature", *crash_at("search", 1)),
    ]
    CrashOnce.armed = False
    run(words, tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run(words, tmp_path / "cut")
    saved = torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["search"]["streams"]
    for stream in ("train", "arch"):
        assert saved[stream].shape == (16, 6)
        assert saved[stream].abs().max() > 0
    Starts.seen = []
    nl.resume(tmp_path / "cut")
    assert Starts.seen[0] == (1, 3)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert checkpoint_differences(tmp_path / "cut", tmp_path / "whole", "last.ckpt") == []
