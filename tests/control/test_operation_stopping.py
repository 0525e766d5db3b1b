"""Operations that stop: two quadratic ones that agree and disagree, gradients by hand, weights to the bit."""

import copy
import json
import math

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

import nas_lightning as nl
from cases import seeded
from comparing import differences
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.control import OperationStopping
from nas_lightning.control.operation_stopping import agreement, released_agreement
from nas_lightning.core.choices import Choice
from nas_lightning.core.space import EdgeInfo
from nas_lightning.hypergradients import FirstOrder
from nas_lightning.objectives import Classification
from nas_lightning.perturbations import Perturbation
from nas_lightning.relaxations import Softmax
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, search_data
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.optimizers import inner_step_of
from nas_lightning.searches.stages import plan_stages
from nas_lightning.selectors import Magnitude
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.regularized import Regularized
from nas_lightning.spaces.weighted_operations import Place, weighted_operations
from nas_lightning.training.workbench import Workbench
from whole_runs import run

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:The 'train_dataloader'")
OPTIONS = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")
AGREES, DISAGREES = Place("cell", 0, 0, 1), Place("cell", 0, 0, 2)


# Two quadratic operations ---------------------------------------------------------------------------------------------


class Pull(nn.Module):
    """½‖w − x‖² of the columns of x [B, 9] that belong to it: [B]."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        return 0.5 * (self.weight - x[:, self.first : self.first + 3]).square().sum(dim=1)


class Pulls(Regularized):
    """One edge of three such operations; the first is called a skip connection."""

    def __init__(self):
        super().__init__()
        edge = EdgeInfo("cell", cell=0, row=0, source=0, node=1, stride=1, channels=1)
        self.edge = MixedOperation(OPTIONS, edge, build=lambda name, *_, **__: Pull(3 * OPTIONS.index(name)))

    def forward(self, inputs, mixing, active=None):
        return self.edge(inputs, mixing["cell"][0], [True] * 3, ())


class OneEdge:
    """What a search module reads of a space."""

    name = "one_edge"
    choices = {"cell": Choice("cell", "op", (OPTIONS,), (0,), (1,))}  # noqa: RUF012


class Mean(Classification):
    """The outputs are losses already."""

    def loss(self, outputs, targets, label_smoothing=0.0):
        return outputs.mean()

    def new_metric(self):
        return MeanMetric()


class Halves(L.LightningDataModule):
    """One batch for each half, again and again: the second operation is pulled apart by them, the others are not."""

    def __init__(self, steps):
        super().__init__()
        train = torch.ones(2, 9, dtype=torch.float64)
        arch = train.clone()
        arch[:, 6:] = -1
        self.steps = steps
        self.halves = {"train": (train, torch.ones(2)), "arch": (arch, torch.ones(2))}

    def train_dataloader(self):
        return {name: DataLoader([half] * self.steps, batch_size=None) for name, half in self.halves.items()}


class Values(L.Callback):
    """Keeps weights and logits after each step."""

    def __init__(self):
        self.weights, self.arch = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append([weight.detach().clone() for weight in pl_module.supernet.parameters()])
        self.arch.append(pl_module.arch["cell"].detach().clone())


def pulled(tmp_path, control, steps=8):
    words = ["search.epochs=1", "search.weights.lr=0.05", "search.weights.lr_min=0.05", "search.weights.clip=null"]
    settings = Workbench(as_dict(nl.compose(["task=search", *words])), RunFolder(tmp_path / "toy")).config.search
    module = SearchModule(
        OneEdge(), Pulls(), Softmax(init_std=0.0), FirstOrder(), Perturbation(), {}, Magnitude(), Mean(), settings, 0
    )  # fmt: skip
    module.arch = {name: table.double() for name, table in module.arch.items()}
    module.progress.last_epoch = 1
    values = Values()
    trainer = L.Trainer(
        max_epochs=-1, callbacks=[values, control], logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=Halves(steps))
    return module, values


@pytest.mark.parametrize("statistic", ["paper", "released"])
def test_of_equal_and_opposite_gradients_the_latter_stop(tmp_path, statistic):
    control = OperationStopping(threshold=0.0, window=3, statistic=statistic)
    module, values = pulled(tmp_path, control)
    assert control.stopped == {DISAGREES}
    assert list(module.held) == ["edge.operations.2.weight"]
    # Three measurements, before steps 0 to 2; as released four, the first of which needs the gradients of step 0.
    last = 1 if statistic == "paper" else 3
    for step in range(last + 1, 8):
        assert torch.equal(values.weights[step][2], values.weights[last][2]), "to the bit: no decay, no momentum"
    for step in range(1, 8):
        assert not torch.equal(values.weights[step][1], values.weights[step - 1][1]), "agrees: never stops"
        assert torch.equal(values.weights[step][0], values.weights[step][1]), "a skip connection is not measured"
        assert not torch.equal(values.arch[step], values.arch[step - 1]), "the architecture goes on"
    assert not torch.equal(values.weights[last][2], values.weights[last - 1][2])


@pytest.mark.parametrize("interval", [2, 3])
def test_it_measures_at_every_interval(tmp_path, interval):
    control = OperationStopping(threshold=0.0, window=2, interval=interval)
    _, values = pulled(tmp_path, control)
    assert control.stopped == {DISAGREES}
    moved = [step for step in range(1, 8) if not torch.equal(values.weights[step][2], values.weights[step - 1][2])]
    assert moved == list(range(1, interval))  # measured before the steps 0 and `interval`


def test_its_sums_begin_anew_after_a_window(tmp_path):
    control = OperationStopping(threshold=-1.0, window=3)
    pulled(tmp_path, control)
    assert control.stopped == set()
    assert set(control.sums) == {AGREES, DISAGREES}
    for place, sign in ((AGREES, 1), (DISAGREES, -1)):
        total, count = control.sums[place]
        assert count == 2  # eight measurements, windows of three
        assert total == pytest.approx(2 * sign)


# Statistics -----------------------------------------------------------------------------------------------------------


def vectors_of(cosine):
    """Two vectors of norm 1 with that cosine."""
    one = torch.tensor([0.6, 0.8], dtype=torch.float64)
    orthogonal = torch.tensor([-0.8, 0.6], dtype=torch.float64)
    return one, cosine * one + math.sqrt(1 - cosine**2) * orthogonal


@pytest.mark.parametrize("cosine", [-0.9, -0.68, -0.5, 0.0, 0.3, 1.0])
def test_closed_forms(cosine):
    train, arch = vectors_of(cosine)
    assert agreement([3 * train], [5 * arch]).item() == pytest.approx(cosine)
    assert released_agreement([train], [arch]).item() == pytest.approx((1 + cosine) / math.sqrt(2 + 2 * cosine))


def test_against_loops_over_weights():
    shapes = [(4, 3, 2, 2), (4, 1, 3, 3)]
    train, arch = (
        [torch.randn(shape, generator=seeded(seed), dtype=torch.float64) for shape in shapes] for seed in (0, 1)
    )

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    flat = [[value for g in found for value in g.flatten().tolist()] for found in (train, arch)]
    assert agreement(train, arch).item() == pytest.approx(cosine(*flat), rel=1e-12)
    of_tensors = []
    for g, other in zip(train, arch, strict=True):
        columns = zip(g.flatten(1).T.tolist(), other.flatten(1).T.tolist(), strict=True)
        found = [cosine([x + y for x, y in zip(a, b, strict=True)], a) for a, b in columns]
        of_tensors.append(sum(found) / len(found))
    assert released_agreement(train, arch).item() == pytest.approx(sum(of_tensors) / 2, rel=1e-12)


def test_a_gradient_of_zero_agrees_with_nothing():
    zero, one = torch.zeros(3), torch.ones(3)
    assert agreement([zero], [one]) == agreement([zero], [zero]) == released_agreement([zero], [zero]) == 0


# In a search ----------------------------------------------------------------------------------------------------------


SMALL = ["space=s3", "space.num_nodes=2", "task=search"]


class ByHand(L.Callback):
    """Adds up both statistics from gradients of a copy of the supernet; runs before the control."""

    def __init__(self):
        self.paper, self.released, self.before = {}, {}, None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if optimizer is not trainer.optimizers[0]:
            return
        copied = copy.deepcopy(pl_module.supernet).train()
        images, targets = pl_module.arch_batch
        mixing = {name: torch.softmax(table.detach(), dim=1) for name, table in pl_module.arch.items()}
        copied.zero_grad()
        cross_entropy(copied(images, mixing), targets).backward()
        own, others = weighted_operations(pl_module.supernet), weighted_operations(copied)
        clipped = {id(weight): weight.grad.clone() for weight in pl_module.supernet.parameters()}
        norm = math.sqrt(sum(float(g.square().sum()) for g in clipped.values()))
        factor = min(1.0, pl_module.settings.weights.clip / (norm + 1e-6))
        before, self.before = self.before, {}
        for place, operation in own.items():
            arch = [weight.grad for weight in others[place].parameters()]
            train = [weight.grad.clone() for weight in operation.parameters()]
            flat = [torch.cat([g.flatten() for g in found]) for found in (train, arch)]
            cosine = float(flat[0] @ flat[1] / (flat[0].norm() * flat[1].norm()))
            self.paper[place] = self.paper.get(place, 0.0) + cosine
            if before is not None:
                found = []
                for old, new in zip(before[place], arch, strict=True):
                    total = old + new
                    found.append(((total * old).sum(0) / (total.norm(dim=0) * old.norm(dim=0))).mean())
                self.released[place] = self.released.get(place, 0.0) + float(torch.stack(found).mean())
            self.before[place] = [factor * g for g in train]


@pytest.mark.parametrize("statistic", ["paper", "released"])
def test_sums_are_those_of_gradients_by_hand(tiny, tmp_path, statistic):
    words = [*tiny, *SMALL, "method=oles", "search.weights.clip=0.5", "search.arch.batch_norm=frozen"]
    bench = Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    module = build_module(bench, plan_stages(bench.config)[0]).double()
    module.arch = {name: table.double() for name, table in module.arch.items()}
    module.progress.last_epoch = 2
    control, hand = OperationStopping(threshold=-1.0, window=100, statistic=statistic), ByHand()
    data = search_data(bench)
    data.on_after_batch_transfer = lambda batch, _: {name: (x.double(), y) for name, (x, y) in batch.items()}
    trainer = L.Trainer(
        max_epochs=-1, callbacks=[hand, control], logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    expected = hand.paper if statistic == "paper" else hand.released
    assert len(control.sums) == len(expected) > 10
    for place, (total, count) in control.sums.items():
        assert count == module.num_steps - (statistic == "released") > 0
        assert total == pytest.approx(expected[place], rel=1e-7, abs=1e-9)


@pytest.mark.slow
def test_what_a_drawn_path_leaves_out_is_not_measured(tiny, tmp_path):
    """Each pass draws its own path: an operation is measured where both passes hold it, and seldom is."""
    words = ["method=gdas", "+control=operation_stopping", "control.operation_stopping.threshold=-1",
             "control.operation_stopping.window=100", "search.epochs=4", "search.batch_size=4"]  # fmt: skip
    run([*tiny, *SMALL, *words], tmp_path / "run")
    saved = checkpoint(tmp_path / "run")
    (name,) = (name for name in saved["callbacks"] if "OperationStopping" in name)
    counts = [count for _, _, count in saved["callbacks"][name]["sums"]]
    assert counts
    assert 0 < max(counts) < saved["search"]["num_steps"]


def checkpoint(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_where_none_stops_the_search_is_that_of_darts(tiny, tmp_path):
    run([*tiny, *SMALL, "method=darts"], tmp_path / "darts")
    run([*tiny, *SMALL, "method=oles", "control.operation_stopping.threshold=-1"], tmp_path / "oles")
    a, b = checkpoint(tmp_path / "darts"), checkpoint(tmp_path / "oles")
    for part in ("state_dict", "optimizer_states"):
        assert differences(a[part], b[part], part) == []
    assert differences(a["search"]["arch"], b["search"]["arch"], "arch") == []


def test_stopped_weights_stay_to_the_bit(tiny, tmp_path):
    """All operations stop before the first step: they keep their initial weights and get no momentum."""
    part = "control.operation_stopping"
    words = [*tiny, *SMALL, "method=oles", f"{part}.threshold=1", f"{part}.window=1"]
    bench = Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "other"))
    start = build_module(bench, plan_stages(bench.config)[0]).supernet
    run(words, tmp_path / "run")
    end, names = checkpoint(tmp_path / "run"), dict(start.named_parameters())
    of_operations = {id(w) for operation in weighted_operations(start).values() for w in operation.parameters()}
    momentum = end["optimizer_states"][0]["state"]
    for position, (name, weight) in enumerate(names.items()):
        stopped = id(weight) in of_operations
        assert torch.equal(weight, end["state_dict"][f"supernet.{name}"]) == stopped, name
        assert (position in momentum) != stopped
    rows = RunFolder(tmp_path / "run").read_metrics()
    assert float(rows[-1]["operations_stopped"]) == len(weighted_operations(start))


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["paper", "released"])
def test_cut_off_between_two_batches_it_goes_on(tiny, tmp_path, statistic):
    part = "control.operation_stopping"
    words = [*tiny, *SMALL, "method=oles", "search.batch_size=4", "search.checkpoint_minutes=1e-9",
             f"{part}.window=2", f"{part}.threshold={0.6 if statistic == 'released' else -0.05}",
             f"{part}.statistic={statistic}", "trusted=[lightning_parts]",
             "+callbacks.crash._target_=lightning_parts.CrashOnce", "+callbacks.crash.phase=search",
             "+callbacks.crash.epoch=1", "+callbacks.crash.batch=2"]  # fmt: skip
    CrashOnce.armed = False
    run(words, tmp_path / "whole")
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run(words, tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    a, b = checkpoint(tmp_path / "cut"), checkpoint(tmp_path / "whole")
    for key in ("state_dict", "optimizer_states", "search"):
        assert differences(a[key], b[key], key) == []
    (name,) = (name for name in a["callbacks"] if "OperationStopping" in name)
    assert differences(a["callbacks"][name], b["callbacks"][name], name) == []
    number = len(a["callbacks"][name]["stopped"])
    assert 0 < number < len(weighted_operations(build_supernet(words)))


def build_supernet(words):
    bench = Workbench(as_dict(nl.compose(words)), RunFolder("other"))
    return build_module(bench, plan_stages(bench.config)[0]).supernet


def test_a_second_order_gradient_leaves_them_in_its_virtual_step(tiny, tmp_path):
    """Against a difference of the outer loss after one inner step of the other weights."""
    words = [*tiny, *SMALL, "method=darts", "hypergradient=unrolled_exact", "search.weights.momentum=0.0"]
    bench = Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    module = build_module(bench, plan_stages(bench.config)[0]).double()
    for name, table in module.arch.items():
        module.arch[name] = (0.1 * torch.randn(table.shape, generator=seeded(1))).double().requires_grad_()
    names = {id(weight): name for name, weight in module.supernet.named_parameters()}
    for place, operation in weighted_operations(module.supernet).items():
        if place.row % 2:
            module.hold({names[id(weight)]: weight for weight in operation.parameters()})
    assert 0 < len(module.held) < len(names)
    batches = [
        (torch.randn(6, 1, 8, 8, generator=seeded(seed), dtype=torch.float64), torch.arange(6) % 4) for seed in (2, 3)
    ]
    sgd = torch.optim.SGD(module.supernet.parameters(), lr=0.5, weight_decay=0.01)
    problem = module.problem_of(*batches, inner_step_of(sgd, module.held.values()))
    found, _ = module.hypergradient(problem)
    statistics = copy.deepcopy(module.supernet).train()

    def outer_after_step(name, row, option, shift):
        arch = {n: a.detach().clone() for n, a in module.arch.items()}
        arch[name][row, option] += shift
        mixing = {n: torch.softmax(a, dim=1) for n, a in arch.items()}
        net = copy.deepcopy(statistics)
        cross_entropy(net(batches[0][0], mixing), batches[0][1]).backward()
        with torch.no_grad():
            for key, weight in net.named_parameters():
                if key not in module.held:
                    weight -= 0.5 * (weight.grad + 0.01 * weight)
        return cross_entropy(net(batches[1][0], mixing), batches[1][1]).item()

    for name, row, option in (("normal", 0, 1), ("normal", 1, 2), ("reduce", 2, 1)):
        sides = [outer_after_step(name, row, option, shift) for shift in (1e-6, -1e-6)]
        assert float(found[name][row, option]) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=2e-3, abs=1e-7)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+control=curvature_stopping"], "operation_stopping makes final decisions, which curvature_stopping"),
        (["hypergradient=none", "selector=random_search"], "no architecture is learned"),
        (["control.operation_stopping.threshold=2"], "must be at most 1"),
    ],
)
def test_what_makes_no_sense_is_refused(tracked, tmp_path, words, expected):
    with pytest.raises(nl.ConfigError, match=expected):
        nl.search(nl.compose([*tracked, "space=s3", "method=oles", *words]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_its_memory_is_plain():
    part = OperationStopping()
    part.stopped, part.sums = {DISAGREES}, {AGREES: (0.5, 3)}
    other = OperationStopping()
    other.load_state_dict(json.loads(json.dumps(part.state_dict())))
    assert other.state_dict() == part.state_dict()
    assert other.stopped == {DISAGREES}
