"""The moving average of weights against its formula, and where it is measured and exported."""

import copy
import json

import lightning as L
import pytest
import torch
from torch import nn

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.data.module import EvaluationData
from nas_lightning.deployment import TrainedNetwork
from nas_lightning.deployment.description import plain_weights
from nas_lightning.evaluation.moving_average import moving_average
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench


def test_the_average_by_hand():
    """Weights 2, 5, 3 and d = 0.9: 2, then 2.3, then 2.37; the first is copied."""
    network = nn.Linear(1, 1, bias=False)
    average = moving_average(network, 0.9)
    for value, expected in ((2.0, 2.0), (5.0, 2.3), (3.0, 2.37)):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert not any(weight.requires_grad for weight in average.parameters())


def test_running_statistics_are_averaged():
    network = nn.BatchNorm1d(1).double()
    average, expected = moving_average(network, 0.75), None
    for seed in range(4):
        network(torch.randn(8, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
        average.update_parameters(network)
        now = network.running_var.clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    torch.testing.assert_close(average.module.running_var, expected, rtol=1e-12, atol=0)


class Averaging(L.Callback):
    """Averages the weights after each batch itself, in float64."""

    average = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        found = {name: weight.double().clone() for name, weight in pl_module.network.state_dict().items()}
        old = Averaging.average
        if old is not None:
            found = {name: 0.97 * old[name] + 0.03 * weight for name, weight in found.items()}
        Averaging.average = found


@pytest.mark.slow
def test_a_run_is_measured_and_exported_by_its_average(tiny, tmp_path):
    Averaging.average = None
    words = [
        *tiny,
        "space.num_nodes=2",
        "evaluation.ema_decay=0.97",
        "evaluation.epochs=8",
        "evaluation.batch_size=5",
        "evaluation.lr=0.1",
        "trusted=[test_moving_average]",
    ]
    config = nl.compose([*words, "+callbacks.own._target_=test_moving_average.Averaging"])
    nl.evaluate(config, "random", run_dir=tmp_path / "run")
    state = torch.load(tmp_path / "run/checkpoints/evaluation/last.ckpt", weights_only=True)["state_dict"]
    summary = json.loads((tmp_path / "run/summary.json").read_text())["evaluation"]
    weights = plain_weights(state)
    for name, value in weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), Averaging.average[name], rtol=1e-4, atol=1e-5, msg=name)

    network = TrainedNetwork.load(tmp_path / "run").build()
    data = EvaluationData(Workbench(as_dict(config), RunFolder(tmp_path / "other")).data, 8, seed=0)
    data.setup("test")
    images, labels = zip(*[data.held_out[i] for i in data.held_out_indices], strict=True)

    def accuracy(own):
        network.load_state_dict(own)
        with torch.no_grad():
            found = copy.deepcopy(network).eval()(torch.stack(images)).argmax(1)
        return 100 * (found == torch.tensor(labels)).double().mean().item()

    raw = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    assert summary["test_accuracy"] == pytest.approx(accuracy(weights), abs=1e-3)
    assert summary["unaveraged_accuracy"] == pytest.approx(accuracy(raw), abs=1e-3)
    assert summary["unaveraged_accuracy"] != summary["test_accuracy"]
