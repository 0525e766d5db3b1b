"""Retraining through graphs: their stand-in in a whole fit, against eager code to the bit."""

import copy
import csv
import json
import logging

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import nas_lightning as nl
from cases import build_space, images, random_genotype
from nas_lightning.capture import stand_in
from nas_lightning.core import draws
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import TrainingStep
from nas_lightning.objectives import Classification
from nas_lightning.runs.folder import RunFolder

SMALL = ["space.num_nodes=2"]
LONGER = ["evaluation.drop_path=0.3", "evaluation.epochs=3"]


def outcome(folder):
    """Rows of the table without times, the last weights, and how the passes were computed."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if "seconds" not in k and "per_second" not in k}
            for row in csv.DictReader(file)
        ]
    summary = json.loads((folder / "summary.json").read_text())["evaluation"]
    return rows, RunFolder(folder).checkpoint("evaluation/last.ckpt")["state_dict"], summary


@pytest.mark.parametrize("words", [SMALL, ["space=nasbench201", "evaluation.layers=1"]], ids=["s3", "nasbench201"])
def test_a_whole_fit_is_that_of_eager_code(tiny, tmp_path, words, caplog):
    """Batches of 16, 16 and 8 images, validation, the test; drop-path from the second epoch on."""
    caplog.set_level(logging.INFO, "nas_lightning")
    with stand_in():
        for setting in ("off", "required"):
            cfg = nl.compose([*tiny, *LONGER, *words, f"evaluation.graph={setting}"])
            nl.evaluate(cfg, "random", run_dir=tmp_path / setting)
    (rows, weights, plain), (found, graphed, summary) = outcome(tmp_path / "off"), outcome(tmp_path / "required")
    assert found == rows
    assert list(graphed) == list(weights)
    for name, weight in graphed.items():
        assert torch.equal(weight, weights[name]), name
    assert summary["graph"].startswith("on for ")  # but for the smaller last batch
    assert "graph" not in plain
    captured = [r.message for r in caplog.records if r.message.startswith("cuda graph")]
    modes = [message.split()[3] for message in captured]
    assert sorted(modes) == ["eval", "train", "train"]  # without drop-path, with it


def test_on_a_cpu_it_says_once_why_not(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "nas_lightning")
    for setting in ("off", "auto"):
        cfg = nl.compose([*tiny, *SMALL, f"evaluation.graph={setting}"])
        nl.evaluate(cfg, "random", run_dir=tmp_path / setting)
    (rows, weights, _), (found, eager, summary) = outcome(tmp_path / "off"), outcome(tmp_path / "auto")
    assert found == rows
    assert all(torch.equal(weight, weights[name]) for name, weight in eager.items())
    assert summary["graph"] == "off: images are on the cpu"
    assert [r.message for r in caplog.records].count("engine: cuda graph off: images are on the cpu") == 1


def test_required_on_a_cpu_is_refused_before_anything_is_written(tiny, tmp_path):
    match = r"^evaluation\.graph=required: images are on the cpu; write evaluation\.graph=auto"
    with pytest.raises(nl.ConfigError, match=match):
        nl.evaluate(nl.compose([*tiny, "evaluation.graph=required"]), "random", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_required_in_several_processes_is_refused(tiny, tmp_path):
    words = ["evaluation.graph=required", "trainer.devices=2", "+trainer.strategy=ddp"]
    with stand_in(), pytest.raises(nl.ConfigError, match=r"evaluation\.graph=required: 2 processes train together"):
        nl.evaluate(nl.compose([*tiny, *words]), "random", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_setting_does_not_keep_runs_apart(tiny, tmp_path):
    hashes = set()
    for setting in ("off", "auto"):
        cfg = nl.compose([*tiny, *SMALL, "evaluation.epochs=1", f"evaluation.graph={setting}"])
        nl.evaluate(cfg, "random", run_dir=tmp_path / setting)
        hashes.add(json.loads((tmp_path / setting / "summary.json").read_text())["config_hash"])
    assert len(hashes) == 1


@pytest.mark.parametrize("name", ["cifar_drnas", "cifar_16x20", "images", "imagenet_mobile_darts", "nasbench201"])
def test_recipes_compute_eagerly(name):
    assert nl.compose(["data=cifar10", f"evaluation={name}"]).evaluation["graph"] == "off"


def step_of(network, **values):
    objective = Classification()
    objective.bind("abc", torch.tensor([0, 1, 2]))
    sizes = {"epochs": 2, "batch_size": 4, "init_channels": 4, "layers": 3, "lr": 0.1}
    return TrainingStep(network, objective, Recipe(name="test", **sizes, **values))


def losses(step):
    """Whole batches, a smaller one, evaluation; with the auxiliary head."""
    step.prepare("cpu")
    optimizer, found = step.optimizer(), []
    for index, size in enumerate((4, 4, 3, 4)):
        step.network.drop_probability = 0.1 * (index + 1)
        with draws.keyed(0, index, "train"):
            found.append(step(optimizer, images(size, 32, seed=index).double(), torch.arange(size) % 3))
    step.network.eval()
    with torch.inference_mode():
        return [*found, *(step.outputs(images(4, 32, seed=k).double()).mean() for k in range(2))]


def networks(number):
    space = build_space("s1")
    torch.manual_seed(0)
    net = space.network(random_genotype(space, 2), 3, init_channels=4, layers=3, auxiliary=True).double()
    return [copy.deepcopy(net) for _ in range(number)]


@pytest.mark.parametrize("channels_last", [True, False])
def test_steps(channels_last):
    plain, module = networks(2)
    expected = losses(step_of(plain, channels_last=channels_last))
    with stand_in():
        step = step_of(module, channels_last=channels_last, graph="required")
        found = losses(step)
    assert [a.item() for a in found] == [b.item() for b in expected]
    assert step.policy.captures == 2
    for a, b in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_steps_are_those_of_a_plain_loop():
    """Independent of the classes under test: torch's own calls alone."""
    plain, module = networks(2)
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=3e-4)
    expected = []
    for index in range(3):
        plain.drop_probability = 0.2
        optimizer.zero_grad()
        with draws.keyed(0, index, "train"):
            logits, auxiliary = plain(images(4, 32, seed=index).double())
        loss = cross_entropy(logits, torch.arange(4) % 3) + 0.4 * cross_entropy(auxiliary, torch.arange(4) % 3)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
        optimizer.step()
        expected.append(loss.item())
    found = []
    with stand_in():
        step = step_of(module, graph="required")
        step.prepare("cpu")
        optimizer = step.optimizer()
        for index in range(3):
            module.drop_probability = 0.2
            with draws.keyed(0, index, "train"):
                found.append(step(optimizer, images(4, 32, seed=index).double(), torch.arange(4) % 3).item())
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_graphs_hold_the_compiled_network(compiled_graphs):
    """Traced by the compiler and run as it is: whole batches in train mode; evaluation is captured uncompiled."""
    plain, module = networks(2)
    expected = losses(step_of(plain))
    with stand_in():
        step = step_of(module, compile=True, graph="required")
        found = losses(step)
    assert [a.item() for a in found] == pytest.approx([b.item() for b in expected], rel=1e-9)
    assert step.policy.captures == 2
    assert len(compiled_graphs) >= 1
