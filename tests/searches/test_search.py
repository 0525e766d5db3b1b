"""The search module against a plain loop of the published algorithm, and what each step may touch."""

import copy
import itertools
import json
from itertools import product

import lightning as L
import pytest
import torch
from torch.nn.functional import cross_entropy

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.data.module import SearchData
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module
from nas_lightning.searches.run import run_search
from nas_lightning.searches.stages import plan_stages
from nas_lightning.training.workbench import Workbench


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def bench_of(overrides, folder):
    bench = Workbench(as_dict(nl.compose(["task=search", *overrides])), RunFolder(folder))
    folder.mkdir(parents=True, exist_ok=True)
    return bench


def module_of(bench):
    return build_module(bench, plan_stages(bench.config)[0])


class Watch(L.Callback):
    """Keeps every batch of the epoch, and the state after each."""

    def __init__(self):
        self.batches, self.arch, self.weights, self.buffers = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append({name: (x.clone(), y.clone()) for name, (x, y) in batch.items()})
        self.arch.append({name: a.detach().clone() for name, a in pl_module.arch.items()})
        self.weights.append([p.detach().clone() for p in pl_module.supernet.parameters()])
        self.buffers.append([b.clone() for b in pl_module.supernet.buffers()])


def fit(bench, module, watch, epochs=1, double=False):
    module.progress.last_epoch = epochs
    trainer = L.Trainer(
        max_epochs=-1, callbacks=[watch], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0, accelerator="cpu",
        limit_val_batches=0,
    )  # fmt: skip
    settings = bench.config.search
    data = SearchData(bench.data, settings.batch_size, bench.config.seed, **bench.loaders.model_dump())
    if double:
        data.on_after_batch_transfer = lambda batch, _: {name: (x.double(), y) for name, (x, y) in batch.items()}
    trainer.fit(module, datamodule=data)
    return trainer


def plain_loop(net, arch, batches, epochs, *, unrolled, order, moving, lr=0.025, lr_min=0.001):
    """DARTS as its code does it: full backward passes, a second model for the unrolled step, clipping by hand.

    The architecture step works on copies of the network, so that batch statistics are those of weight steps only; with
    `moving` its passes at the weights are those of the network itself, which moves its statistics.
    """
    names = list(arch)
    alphas = [arch[name].clone().requires_grad_() for name in names]
    sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    per_epoch = len(batches) // epochs
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, epochs_total := 2, eta_min=lr_min)
    assert epochs <= epochs_total
    trajectory = []

    def loss_of(model, batch):
        images, labels = batch
        return cross_entropy(
            model(images, {n: torch.softmax(a, -1) for n, a in zip(names, alphas, strict=True)}), labels
        )

    def arch_gradient(train, valid):
        model = net if moving else copy.deepcopy(net)
        if not unrolled:
            return torch.autograd.grad(loss_of(model, valid), alphas)
        xi = sgd.param_groups[0]["lr"]
        inner = torch.autograd.grad(loss_of(model, train), list(model.parameters()), allow_unused=True)
        virtual = copy.deepcopy(net)
        for v, w, g in zip(virtual.parameters(), net.parameters(), inner, strict=True):
            g = torch.zeros_like(w) if g is None else g
            moment = sgd.state[w].get("momentum_buffer")
            moment = torch.zeros_like(w) if moment is None else moment
            v.data.copy_(w.data - xi * (0.9 * moment + g + 3e-4 * w.data))
        outer = torch.autograd.grad(loss_of(virtual, valid), [*alphas, *virtual.parameters()], allow_unused=True)
        direct, vector = outer[: len(alphas)], outer[len(alphas) :]
        radius = 0.01 / torch.cat([v.flatten() for v in vector if v is not None]).norm()
        sides = []
        for sign in (1, -1):
            shifted = copy.deepcopy(net)
            for s, v in zip(shifted.parameters(), vector, strict=True):
                if v is not None:
                    s.data.add_(sign * radius * v)
            sides.append(torch.autograd.grad(loss_of(shifted, train), alphas))
            if moving:
                for buffer, moved in zip(net.buffers(), shifted.buffers(), strict=True):
                    buffer.copy_(moved)
        return [d - xi * (p - m) / (2 * radius) for d, p, m in zip(direct, *sides, strict=True)]

    def arch_step(batch):
        adam.zero_grad()
        for a, g in zip(alphas, arch_gradient(batch["train"], batch["arch"]), strict=True):
            a.grad = g
        adam.step()

    for index, batch in enumerate(batches):
        if order == "arch_first":
            arch_step(batch)
        sgd.zero_grad()
        loss_of(net, batch["train"]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        sgd.step()
        if order == "weights_first":
            arch_step(batch)
        trajectory.append(
            (
                {n: a.detach().clone() for n, a in zip(names, alphas, strict=True)},
                [p.detach().clone() for p in net.parameters()],
            )
        )
        if (index + 1) % per_epoch == 0:
            scheduler.step()
    return trajectory


@pytest.mark.parametrize(
    ("hypergradient", "order", "batch_norm"),
    [
        # Each pair of values is among these; the others run with the slow tests.
        ("first_order", "arch_first", "frozen"),
        ("first_order", "weights_first", "moving"),
        ("unrolled", "arch_first", "moving"),
        ("unrolled", "weights_first", "frozen"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("first_order", "arch_first", "moving"),
                ("first_order", "weights_first", "frozen"),
                ("unrolled", "arch_first", "frozen"),
                ("unrolled", "weights_first", "moving"),
            )
        ),
    ],
)
def test_trajectory_is_that_of_a_plain_loop(tiny, tmp_path, order, hypergradient, batch_norm):
    overrides = [*tiny, f"search.order={order}", f"hypergradient={hypergradient}", "search.arch.lr=3e-4"]
    overrides += [f"search.arch.batch_norm={batch_norm}"]
    bench = bench_of(
        [*overrides, "search.weights.clip=5.0", "space=s2", "space.num_nodes=2", "search.batch_size=10"],
        tmp_path / "run",
    )
    module = module_of(bench).double()
    module.arch = {name: a.double() for name, a in module.arch.items()}
    original, arch = copy.deepcopy(module.supernet).train(), {n: a.clone() for n, a in module.arch.items()}
    watch = Watch()
    fit(bench, module, watch, epochs=2, double=True)
    unrolled = hypergradient == "unrolled"
    moving = batch_norm == "moving"
    expected = plain_loop(original, arch, watch.batches, 2, unrolled=unrolled, order=order, moving=moving)
    assert len(watch.batches) == 4
    for (alpha, weights), found_alpha, found in zip(expected, watch.arch, watch.weights, strict=True):
        for name in alpha:
            torch.testing.assert_close(found_alpha[name], alpha[name], rtol=1e-7, atol=1e-9)
        for x, y in zip(found, weights, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-7, atol=1e-9)
    for x, y in zip(watch.buffers[-1], original.buffers(), strict=True):
        torch.testing.assert_close(x, y)


def test_both_optimizers_step_on_every_batch(tiny, tmp_path):
    bench = bench_of(tiny, tmp_path / "run")
    module, watch = module_of(bench), Watch()
    trainer = fit(bench, module, watch, epochs=2)
    steps = [int(s["step"]) for s in trainer.optimizers[1].state.values()]
    assert steps == [len(watch.batches)] * 2
    assert module.num_steps == len(watch.batches) == 4
    assert trainer.global_step == 2 * len(watch.batches)


def test_architecture_waits_during_warm_up(tiny, tmp_path):
    bench = bench_of([*tiny, "search.epochs=3", "search.arch.warmup_epochs=2"], tmp_path / "run")
    module, watch = module_of(bench), Watch()
    start = {name: a.clone() for name, a in module.arch.items()}
    fit(bench, module, watch, epochs=3)
    moved = [not torch.equal(arch["normal"], start["normal"]) for arch in watch.arch]
    assert moved == [False] * 4 + [True] * 2


@pytest.mark.parametrize("order", ["arch_first", "weights_first"])
def test_the_architecture_steps_at_the_end_of_each_interval(tiny, tmp_path, order):
    """Across epochs of two steps; as many weight steps as ever."""
    bench = bench_of([*tiny, "search.epochs=4", "search.arch.interval=3", f"search.order={order}"], tmp_path / "run")
    module, watch = module_of(bench), Watch()
    tables = [{name: a.clone() for name, a in module.arch.items()}]
    fit(bench, module, watch, epochs=4)
    tables += watch.arch
    pairs = itertools.pairwise(tables)
    assert [not torch.equal(a["normal"], b["normal"]) for a, b in pairs] == [False, False, True] * 2 + [False] * 2
    assert module.num_steps == 8


def test_an_interval_that_never_ends_is_refused(tiny, tmp_path):
    words = [*tiny, "search.epochs=3", "search.arch.warmup_epochs=1", "search.arch.interval=5"]
    with pytest.raises(nl.ConfigError, match=r"^search\.arch\.interval=5: search has only 4 steps after the warm-up"):
        nl.search(nl.compose(words), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_each_step_computes_only_its_own_gradients(tiny, tmp_path):
    """After the architecture step no weight has a gradient; after the weight step no logit has."""
    bench = bench_of(tiny, tmp_path / "run")
    module = module_of(bench)
    seen = []

    class Look(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            weights = [p.grad is not None for p in pl_module.supernet.parameters()]
            arch = [a.grad is not None for a in pl_module.arch.values()]
            seen.append((any(weights), any(arch)))

    fit(bench, module, Look())
    assert seen == [(False, True), (True, False)] * 2


def test_architecture_parameters_are_no_weights(tiny, tmp_path):
    bench = bench_of(tiny, tmp_path / "run")
    module, watch = module_of(bench), Watch()
    trainer = fit(bench, module, watch)
    logits = {id(a) for a in module.arch.values()}
    assert not logits & {id(p) for p in module.parameters()}
    assert not any(name.startswith("arch") for name in module.state_dict())
    weights, arch = (
        {id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in trainer.optimizers
    )
    assert weights == {id(p) for p in module.supernet.parameters()}
    assert arch == logits


def test_clipping_is_over_the_weights_alone(tiny, tmp_path):
    bench = bench_of([*tiny, "search.weights.clip=0.01"], tmp_path / "run")
    module = module_of(bench)
    norms = []

    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.optimizers[0].register_step_post_hook(self.measure)

        def measure(self, optimizer, *_):
            gradients = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
            norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    fit(bench, module, Look(), epochs=2)
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)


@pytest.mark.parametrize(
    ("space", "hypergradient"),
    [
        ("s3", "unrolled"),
        ("s4", "first_order"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *product(["s3"], ["first_order", "unrolled_exact"]),
                *product(["s4"], ["unrolled", "unrolled_exact"]),
            )
        ),
    ],
)
def test_search_repeats_bit_for_bit(tiny, tmp_path, hypergradient, space):
    """Two epochs from the same seed, also with the noise of S4; another seed differs, which needs one hypergradient."""
    outcomes = []
    seeds = (1, 1, 2) if hypergradient == "first_order" else (1, 1)
    for run, seed in enumerate(seeds):
        folder = tmp_path / str(run)
        words = [f"hypergradient={hypergradient}", f"space={space}", "space.num_nodes=2", f"seed={seed}"]
        run_search(bench_of([*tiny, *words], folder))
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        text = (folder / "metrics.csv").read_text() + (folder / "genotypes.jsonl").read_text()
        outcomes.append((text, state))
    (first, weights), (again, same), *others = outcomes
    assert first == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert all(first != other for other, _ in others)


def test_two_stages_without_changes_equal_one(tiny, tmp_path):
    """Weights, buffers, logits, both optimizers' moments, schedules, draws and data order all go on."""
    run_search(bench_of([*tiny, "search.epochs=3"], tmp_path / "one"))
    stages = "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 2}]"
    run_search(bench_of([*tiny, "search.epochs=3", stages], tmp_path / "two"))
    for name in ("metrics.csv", "genotypes.jsonl"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
    one, two = (torch.load(tmp_path / n / "checkpoints/last.ckpt", weights_only=True) for n in ("one", "two"))
    assert all(torch.equal(one["state_dict"][k], two["state_dict"][k]) for k in one["state_dict"])
    for a, b in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        for x, y in zip(a["state"].values(), b["state"].values(), strict=True):
            assert all(torch.equal(torch.as_tensor(x[k]), torch.as_tensor(y[k])) for k in x)


def test_a_stage_has_its_own_values(tiny, tmp_path):
    stages = (
        "search.stages=[{name: a, epochs: 1}, "
        "{name: b, epochs: 1, overrides: {search.batch_size: 5, search.order: weights_first}}]"
    )
    bench = bench_of([*tiny, stages], tmp_path / "run")
    first, second = plan_stages(bench.config)
    assert (first.first_epoch, first.last_epoch, second.first_epoch, second.last_epoch) == (0, 1, 1, 2)
    assert first.config.search.batch_size == 16
    assert second.config.search.batch_size == 5
    run_search(bench)
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["search"]
    assert (saved["stage"], saved["search_epoch"], saved["num_steps"]) == (1, 2, 2 + 4)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("[{name: a, epochs: 1}]", "make search.epochs their sum"),
        ("[{name: a, epochs: 2, overrides: {search.nope: 1}}]", "there is no such key"),
        (
            "[{name: a, epochs: 1}, {name: b, epochs: 1, overrides: {search.init_channels: 4}}]",
            "only regularizer.partial_channels.divisor may change",
        ),
    ],
)
def test_impossible_stages_are_refused(tiny, tmp_path, stages, words):
    with pytest.raises(nl.ConfigError, match=words):
        run_search(bench_of([*tiny, f"search.stages={stages}"], tmp_path / "run"))


def test_genotype_of_every_epoch_and_columns(tiny, tmp_path):
    run_search(bench_of([*tiny, "search.snapshots=2"], tmp_path / "run"))
    rows = [json.loads(line) for line in (tmp_path / "run/genotypes.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [-1, 0, 1]
    assert rows[-1]["genotype"] == json.loads((tmp_path / "run/genotype.json").read_text())
    header = (tmp_path / "run/metrics.csv").read_text().splitlines()[0].split(",")
    wanted = {"phase", "epoch", "search_epoch", "attempt", "train_loss", "arch_loss", "val_loss", "val_accuracy",
              "train_accuracy", "lr"}  # fmt: skip
    assert wanted <= set(header)
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == [
        *("epoch=2.ckpt", "last.ckpt", "previous.ckpt")
    ]
    assert {p.name for p in (tmp_path / "run/plots").iterdir()} >= {"cell_normal.svg", "cell_reduce.svg"}


def test_regularizer_hooks_follow_the_search(tiny, tmp_path):
    """A user's part sees each epoch, changes outputs, and its parameters train with the weights."""
    extra = ["trusted=[lightning_parts]", "+regularizer.scale._target_=lightning_parts.LearnableScale"]
    bench = bench_of([*tiny, *extra], tmp_path / "run")
    module, watch = module_of(bench), Watch()
    fit(bench, module, watch, epochs=2)
    (part,) = module.regularizers.values()
    assert part.epochs == [0, 1]
    assert part.seen == {"skip_connect", "sep_conv_3x3", "none"}
    assert part.scale.item() != 1.0
    assert any(p is part.scale for p in module.supernet.parameters())
