"""Retraining against a plain loop of the published recipe."""

import copy
import csv
import json
from functools import partialmethod

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import nas_lightning as nl
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.core.functional import count_macs
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data.module import EvaluationData
from nas_lightning.evaluation import retraining
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.workbench import Workbench


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


class Watch(L.Callback):
    def __init__(self):
        self.batches, self.drop = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append((batch[0].clone(), batch[1].clone()))
        self.drop.append(pl_module.network.drop_probability)


def bench_of(overrides, folder):
    return Workbench(as_dict(nl.compose(["task=evaluate", "genotype=random", *overrides])), RunFolder(folder))


def test_training_is_that_of_a_plain_loop(tiny, tmp_path):
    """Images of side 32, so that the auxiliary head is on; smoothing, clipping, cosine to zero; drop-path grows."""
    bench = bench_of([*tiny, "data.image_size=32"], tmp_path)
    recipe = Retraining(
        name="test",
        epochs=2,
        batch_size=10,
        init_channels=4,
        layers=3,
        lr=0.1,
        auxiliary=0.4,
        drop_path=0.0,
        cutout=4,
        label_smoothing=0.1,
        clip=0.5,
    )
    torch.manual_seed(0)
    genotype = random_genotype(bench.space, 0)
    network = bench.space.network(genotype, 4, 1, 4, 3, auxiliary=True)
    original = copy.deepcopy(network).double()
    module, watch = EvaluationModule(network.double(), bench.objective, recipe, seed=0), Watch()
    bench.objective.bind("abcd", bench.data.train_labels)
    trainer = L.Trainer(
        max_epochs=2, callbacks=[watch], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, limit_val_batches=0, accelerator="cpu",
    )  # fmt: skip
    data = EvaluationData(bench.data, 10, seed=0, cutout=4)
    data.on_after_batch_transfer = lambda batch, _: (batch[0].double(), batch[1])
    trainer.fit(module, datamodule=data)

    optimizer = torch.optim.SGD(original.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-4)
    original.train()
    steps = len(watch.batches) // 2
    for index, (images, labels) in enumerate(watch.batches):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 if index < steps else 0.05  # cosine to 0: half of it in the second of two epochs
        optimizer.zero_grad()
        logits, auxiliary = original(images)
        loss = cross_entropy(logits, labels, label_smoothing=0.1)
        loss = loss + 0.4 * cross_entropy(auxiliary, labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(original.parameters(), 0.5)
        optimizer.step()
    for (name, found), expected in zip(network.state_dict().items(), original.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8, msg=name)


def test_drop_path_grows_with_the_epoch(tiny, tmp_path):
    bench = bench_of([*tiny, "evaluation.drop_path=0.3", "evaluation.epochs=3"], tmp_path / "run")
    (tmp_path / "run").mkdir()
    recipe, watch = bench.evaluator, Watch()
    trainer = bench.trainer

    def with_watch(*args, **kwargs):
        return trainer(*args, **{**kwargs, "extra": [*kwargs.get("extra", ()), watch]})

    bench.trainer = with_watch
    recipe(random_genotype(bench.space, 0), bench)
    assert sorted(set(watch.drop)) == pytest.approx([0.0, 0.1, 0.2])


def test_last_epoch_is_the_result_and_best_is_only_logged(tiny, tmp_path):
    nl.evaluate(nl.compose([*tiny, "evaluation.epochs=4"]), "random", run_dir=tmp_path / "run")
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("test_accuracy")
    accuracies = [float(row.split(",")[column]) for row in rows[1:]]
    evaluation = json.loads((tmp_path / "run/summary.json").read_text())["evaluation"]
    assert evaluation["test_accuracy"] == pytest.approx(accuracies[-1])
    assert evaluation["best_epoch_accuracy"] == pytest.approx(max(accuracies))


def outcome(folder):
    """Training losses, and the last weights."""
    with (folder / "metrics.csv").open(newline="") as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    return losses, RunFolder(folder).checkpoint("evaluation/last.ckpt")["state_dict"]


def test_bf16_mixed(tiny, tmp_path):
    """Fused steps, clipping and drop-path under autocast; weights stay in float32."""
    words = [*tiny, "evaluation.drop_path=0.3", "evaluation.clip=0.5"]
    for precision in ("32-true", "bf16-mixed"):
        cfg = nl.compose([*words, f"trainer.precision={precision}"])
        nl.evaluate(cfg, "random", run_dir=tmp_path / precision)
    (exact, weights), (found, in_bf16) = outcome(tmp_path / "32-true"), outcome(tmp_path / "bf16-mixed")
    assert found == pytest.approx(exact, rel=0.05)
    assert found != exact
    for name, weight in in_bf16.items():
        assert weight.dtype == weights[name].dtype


@pytest.mark.slow
def test_layout_and_compilation_change_nothing_but_rounding(tiny, tmp_path, monkeypatch):
    """Whole runs, compiled without a compiler; checkpoints have the same keys."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    monkeypatch.setattr(retraining, "check_compiler", lambda device: None)
    runs = {"plain": ["evaluation.channels_last=false"], "compiled": ["evaluation.compile=true"]}
    for name, words in runs.items():
        cfg = nl.compose([*tiny, "evaluation.drop_path=0.3", "evaluation.layers=2", *words])
        nl.evaluate(cfg, "random", run_dir=tmp_path / name)
    (exact, weights), (found, compiled) = outcome(tmp_path / "plain"), outcome(tmp_path / "compiled")
    assert found == pytest.approx(exact, rel=1e-4)
    assert list(compiled) == list(weights)
    for name, weight in compiled.items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-2, atol=1e-3, msg=name)


def test_a_missing_compiler_is_found_before_anything_is_written(tiny, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(nl.ConfigError, match=r"evaluation\.compile=true: .*no C\+\+ compiler.*compile=false"):
        nl.evaluate(nl.compose([*tiny, "evaluation.compile=true"]), "random", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_momentum_of_another_layout_is_resumed(tiny, tmp_path):
    """Its momentum lies in NCHW: the resumed epoch is a whole run's up to rounding."""
    tiny = [word for word in tiny if word != "space.num_nodes=2"]
    words = [*tiny, "space=nasbench201", "evaluation.layers=1"]  # dense kernels, where the layouts differ
    words += ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    words += ["+callbacks.crash.phase=evaluation", "+callbacks.crash.epoch=1"]
    CrashOnce.armed = False
    nl.evaluate(nl.compose(words), "random", run_dir=tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        nl.evaluate(nl.compose(words), "random", run_dir=tmp_path / "cut")
    path = tmp_path / "cut/checkpoints/evaluation/last.ckpt"
    saved = torch.load(path, weights_only=True)
    for state in saved["optimizer_states"][0]["state"].values():
        state["momentum_buffer"] = state["momentum_buffer"].contiguous()
    torch.save(saved, path)
    nl.resume(tmp_path / "cut")
    (_, whole), (_, cut) = outcome(tmp_path / "whole"), outcome(tmp_path / "cut")
    for name, weight in cut.items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-4, atol=1e-6, msg=name)


def test_macs_by_hand():
    """One convolution, one linear layer: H·W·k²·Ci·Co and inputs times outputs."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(5, 7)
    )
    assert count_macs(network, 3, 8) == 8 * 8 * 9 * 3 * 5 + 5 * 7


def test_macs_of_a_published_network():
    """DARTS v2 on CIFAR-10, 36 channels, 20 cells: about 528 million in the literature."""
    space = nl.build_space(nl.compose(["space=darts"]))
    network = space.network(nl.genotype("darts_v2"), auxiliary=True)
    assert isinstance(nl.genotype("darts_v2"), Genotype)
    assert 500e6 < count_macs(network, 3, 32) < 560e6
