"""Retraining against a plain loop of the published recipe."""

import copy
import json

import pytest
import torch
from torch.nn.functional import cross_entropy

import lightning as L
import nas_lightning as nl
from nas_lightning.composition import as_dict
from nas_lightning.lightning.data import EvaluationData
from nas_lightning.lightning.evaluation import EvaluationModule
from nas_lightning.lightning.retraining import Retraining, count_macs
from nas_lightning.lightning.workbench import Workbench
from nas_lightning.run_folder import RunFolder
from nas_lightning.spaces.genotypes import Genotype
from nas_lightning.tasks import random_genotype


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
    recipe = Retraining("test", 2, 10, 4, 3, 0.1, auxiliary=0.4, drop_path=0.0, cutout=4, label_smoothing=0.1, clip=0.5)
    torch.manual_seed(0)
    genotype = random_genotype(bench.space, 0)
    network = bench.space.network(genotype, 4, 1, 4, 3, auxiliary=True)
    original = copy.deepcopy(network).double()
    module, watch = EvaluationModule(network.double(), bench.objective, recipe, seed=0), Watch()
    bench.objective.bind(4, bench.data.train_labels)
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
    recipe, watch = bench.build("evaluation", bench.plain["evaluation"]), Watch()
    bench.plain["callbacks"] = {}
    trainer = bench.trainer

    def with_watch(*args, **kwargs):
        return trainer(*args, **{**kwargs, "extra": [*kwargs["extra"], watch]})

    bench.trainer = with_watch
    recipe(random_genotype(bench.space, 0), bench)
    assert sorted(set(watch.drop)) == pytest.approx([0.0, 0.1, 0.2])


def test_last_epoch_is_the_result_and_best_is_only_logged(tiny, tmp_path):
    nl.evaluate(nl.compose([*tiny, "evaluation.epochs=5"]), "random", run_dir=tmp_path / "run")
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("test_accuracy")
    accuracies = [float(row.split(",")[column]) for row in rows[1:]]
    evaluation = json.loads((tmp_path / "run/summary.json").read_text())["evaluation"]
    assert evaluation["test_accuracy"] == pytest.approx(accuracies[-1])
    assert evaluation["best_epoch_accuracy"] == pytest.approx(max(accuracies))


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
