"""States between two batches: a resume goes on with the next batch and ends like a run that was not cut."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

import nas_lightning as nl
from lightning_parts import CrashOnce
from whole_runs import checkpoint_differences, outcome, run

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


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("phase", "epoch"), [("search", 0), ("search", 1), ("evaluation", 1)])
def test_a_cut_between_two_batches_changes_nothing(tiny, tmp_path, phase, epoch, num_workers):
    words = [
        *[word for word in tiny if "batch_size" not in word],
        *("search.batch_size=4", "evaluation.batch_size=8", f"data.num_workers={num_workers}"),
        "trusted=[lightning_parts,test_mid_epoch]",
        "+callbacks.starts._target_=test_mid_epoch.Starts",
        "+callbacks.crash._target_=lightning_parts.CrashOnce",
        f"+callbacks.crash.phase={phase}",
        f"+callbacks.crash.epoch={epoch}",
        "+callbacks.crash.batch=3",
        *EACH_BATCH,
    ]
    CrashOnce.armed = False
    run(words, tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run(words, tmp_path / "cut")
    Starts.seen = []
    nl.resume(tmp_path / "cut")
    assert Starts.seen[0] == (epoch, 3)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    for name in ("last.ckpt", "evaluation/last.ckpt"):
        assert checkpoint_differences(tmp_path / "cut", tmp_path / "whole", name) == []
    costs = [
        torch.load(tmp_path / folder / "checkpoints" / name, weights_only=True)["callbacks"]["Cost"]["images"]
        for folder in ("cut", "whole")
        for name in ("last.ckpt", "evaluation/last.ckpt")
    ]
    assert costs[:2] == costs[2:]
