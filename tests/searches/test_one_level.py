"""One level: weights and architecture step along the gradients of one loss, against a plain loop in float64."""

import copy

import lightning as L
import pytest
import torch
from torch.nn.functional import cross_entropy

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, search_data
from nas_lightning.searches.stages import plan_stages
from nas_lightning.training.workbench import Workbench

ONE = ["search.arch.images=train", "space=s2", "space.num_nodes=2", "search.batch_size=10"]


class Watch(L.Callback):
    """Keeps every batch, and the state after it."""

    def __init__(self):
        self.batches, self.arch, self.weights = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append({name: (x.clone(), y.clone()) for name, (x, y) in batch.items()})
        self.arch.append({name: a.detach().clone() for name, a in pl_module.arch.items()})
        self.weights.append([p.detach().clone() for p in pl_module.supernet.parameters()])


def fitted(words, folder, epochs=2):
    """The module in float64 after some epochs, as it was before, and what was seen."""
    bench = Workbench(as_dict(nl.compose(["task=search", *words])), RunFolder(folder))
    module = build_module(bench, plan_stages(bench.config)[0]).double()
    module.arch = {name: a.double() for name, a in module.arch.items()}
    before = copy.deepcopy(module.supernet).train(), {n: a.clone() for n, a in module.arch.items()}
    module.progress.last_epoch = epochs
    data, watch = search_data(bench), Watch()
    data.on_after_batch_transfer = lambda batch, _: {name: (x.double(), y) for name, (x, y) in batch.items()}
    trainer = L.Trainer(
        max_epochs=-1, callbacks=[watch], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0, accelerator="cpu",
        limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module, *before, watch


def rate(epoch, start=0.025, end=0.001, epochs=2):
    return end + (start - end) * (1 + torch.cos(torch.tensor(torch.pi * epoch / epochs)).item()) / 2


@pytest.mark.parametrize(("simplex", "interval"), [(False, 1), (True, 1), (False, 3)])
def test_both_step_along_the_gradients_at_the_same_point(tiny, tmp_path, simplex, interval):
    """Adam on logits, or exponentiated gradients with an entropic term; in between only the weights step."""
    words = [*tiny, *ONE, f"search.arch.interval={interval}", "search.arch.lr=0.01"]
    if simplex:
        words += ["relaxation=simplex", "search.arch.optimizer=exponentiated_gradient", "search.arch.weight_decay=0.0"]
        words += ["relaxation.entropy=0.2"]
    _, net, arch, watch = fitted(words, tmp_path / "run")
    assert [set(batch) for batch in watch.batches] == [{"train"}] * 4, "the other half is not loaded"
    tables = {name: a.requires_grad_() for name, a in arch.items()}
    sgd = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(tables.values(), lr=0.01, betas=(0.5, 0.999), weight_decay=1e-3)
    for index, batch in enumerate(watch.batches):
        images, labels = batch["train"]
        sgd.param_groups[0]["lr"] = rate(index // 2)
        mixing = {name: a if simplex else torch.softmax(a, -1) for name, a in tables.items()}
        loss = cross_entropy(net(images, mixing), labels)
        if simplex:
            loss = loss + 0.2 * sum((a * (a * a.shape[1]).log()).sum() for a in tables.values())
        sgd.zero_grad()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        sgd.step()
        if index % interval == interval - 1:
            if simplex:
                for a in tables.values():
                    rows = (a * torch.exp(-0.01 * a.grad)).detach().clamp(min=1e-5)
                    a.data = rows / rows.sum(dim=1, keepdim=True)
            else:
                adam.step()
        for name, a in tables.items():
            torch.testing.assert_close(watch.arch[index][name], a.detach(), rtol=1e-7, atol=1e-9)
        for found, weight in zip(watch.weights[index], net.parameters(), strict=True):
            torch.testing.assert_close(found, weight.detach(), rtol=1e-7, atol=1e-9)


def test_the_weights_are_those_of_two_levels_until_the_architecture_moves(tiny, tmp_path):
    words = [*tiny, "space=s2", "space.num_nodes=2", "search.batch_size=10", "search.arch.lr=1e-12"]
    _, _, _, one = fitted([*words, "search.arch.images=train"], tmp_path / "one")
    _, _, _, two = fitted(words, tmp_path / "two")
    for a, b in zip(one.weights[-1], two.weights[-1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    assert all(set(batch) == {"train", "arch"} for batch in two.batches)


@pytest.mark.parametrize("method", ["gdas", "snas", "drnas", "sgas", "pc_darts", "darts_pt"])
def test_methods_on_one_level(method, tiny, tmp_path):
    words = [*tiny, f"method={method}", "space=s3", "space.num_nodes=2", "search.arch.images=train"]
    words += {
        "pc_darts": ["regularizer.partial_channels.divisor=2"],
        "darts_pt": ["selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"],
        "sgas": ["control.greedy_decisions.first_epoch=0", "control.greedy_decisions.interval=1"],
    }.get(method, [])
    summary = nl.search(nl.compose(words), run_dir=tmp_path / "run").summary
    rows = RunFolder(tmp_path / "run").read_metrics()
    assert summary["method"] == method
    assert float(rows[0]["arch_loss"]) == pytest.approx(float(rows[0]["train_loss"]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hypergradient=unrolled"], "no inner problem for Unrolled; use hypergradient=first_order"),
        (["hypergradient=implicit"], "no inner problem for Implicit"),
        (["method=sdarts_rs"], "use perturbation=none, or search.arch.images=val"),
        (["method=setn"], "Decoupled has mixing weights of its own for the weight step"),
    ],
)
def test_what_one_backward_pass_cannot_give_is_refused(words, told, tiny, tmp_path):
    with pytest.raises(nl.ConfigError, match=told):
        nl.search(nl.compose([*tiny, *words, "space=s3", "search.arch.images=train"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["search.arch.optimizer=exponentiated_gradient"],
            "Softmax are no weights on the simplex; use search",
        ),
        (
            ["relaxation=simplex"],
            "optimizer=adam: parameters of relaxation Simplex are weights on the simplex",
        ),
        (["method=gaea", "search.arch.weight_decay=1e-3"], "exponentiated gradients have none"),
    ],
)
def test_optimizers_that_do_not_fit_the_parameters_are_refused(words, told, tiny, tmp_path):
    with pytest.raises(nl.ConfigError, match=told):
        nl.search(nl.compose([*tiny, *words, "space=s3"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
