"""The best epoch on `val`: returned after the last, of equals the first, also after an interruption."""

import lightning as L
import pytest
import torch

import nas_lightning as nl
from nas_lightning.control import BestEpoch
from nas_lightning.core.objective import Goal
from nas_lightning.runs.folder import RunFolder

SMALL = ["space.num_nodes=2", "+control=best_epoch", "trusted=[test_best_epoch]", "search.epochs=4"]


class Scripted(L.Callback):
    """Replaces the accuracy on `val`, epoch by epoch."""

    def __init__(self, values, stop_after=None):
        self.values, self.stop_after = values, stop_after

    def on_validation_epoch_end(self, trainer, pl_module):
        value = torch.tensor(self.values[pl_module.search_epoch])
        trainer.callback_metrics["val_accuracy"] = value

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.callback_metrics["val_accuracy"] = torch.tensor(self.values[pl_module.search_epoch])


def scripted(values):
    return [*SMALL, "+callbacks.scripted._target_=test_best_epoch.Scripted", f"+callbacks.scripted.values={values}"]


def state(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([3.0, 9.0, 9.0, 1.0], 1),
        pytest.param([1.0, 2.0, 3.0, 4.0], 3, marks=pytest.mark.slow),
        pytest.param([4.0, 1.0, 4.0, 4.0], 0, marks=pytest.mark.slow),
    ],
)
def test_the_first_of_the_best_is_returned(values, best, tiny, tmp_path):
    cfg = nl.compose([*tiny, *scripted(values)])
    result = nl.search(cfg, run_dir=tmp_path / "run")
    plain = nl.compose([*tiny, "space.num_nodes=2", "search.epochs=4", "search.snapshots=1"])
    nl.search(plain, run_dir=tmp_path / "plain")
    found = state(tmp_path / "run", "last")
    expected = state(tmp_path / "plain", f"epoch={best + 1}" if best < 3 else "last")
    for name, tensor in expected["search"]["arch"].items():
        assert torch.equal(found["search"]["arch"][name], tensor)
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor)
    rows = RunFolder(tmp_path / "plain").read_genotypes()
    assert str(nl.Genotype.from_dict(rows[best + 1]["genotype"])) == str(result.genotype)


def test_smaller_is_better_where_the_goal_says_so():
    class Module:
        goal = Goal("error", "", "min")
        search_epoch = 0
        rollback = None
        settings = type("Settings", (), {"epochs": 3})

    class Trainer:
        callback_metrics: dict = {}  # noqa: RUF012

    part, module = BestEpoch(), Module()
    for epoch, value in enumerate((2.0, 1.0, 3.0)):
        module.search_epoch, Trainer.callback_metrics = epoch, {"val_metric": torch.tensor(value)}
        part = restored(part)
        part.on_train_epoch_end(Trainer, module)
    assert (module.rollback.epoch, module.rollback.end) == (1, True)


def restored(part):
    other = BestEpoch()
    other.load_state_dict(part.state_dict())
    return other


def test_one_epoch_and_a_second_rollback_are_refused(tiny, tmp_path):
    for words, told in (
        (["search.epochs=1"], r"control\.best_epoch: search\.epochs=1 leaves no choice"),
        (["+control=curvature_stopping"], "would both roll back"),
    ):
        with pytest.raises(nl.ConfigError, match=told):
            nl.search(nl.compose([*tiny, "+control=best_epoch", *words]), run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
