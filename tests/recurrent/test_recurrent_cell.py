"""The recurrent cell, mixed and discrete, against loops over nodes and operations; its gradients and its norm."""

import pytest
import torch
from torch import nn

from cases import random_genotype, random_mixing, seeded
from nas_lightning.core.batches import Continued
from nas_lightning.core.choices import offset_key
from nas_lightning.recurrent.cell import ACTIVATIONS
from nas_lightning.recurrent.words import Masks
from nas_lightning.spaces import PUBLISHED
from recurrent_reference import (
    OPERATIONS,
    B,
    H,
    Norm,
    T,
    V,
    chunk,
    discrete_cell,
    grown,
    mixed_cell,
    read,
    recurrent_space,
    some_masks,
    tiny_recurrent_supernet,
)

SPACE = recurrent_space()
ENGINES = ("fast", "reference")


def mixing(seed=0):
    return random_mixing(SPACE, seed)


def close(found, expected, tolerance=1e-12):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1)


def all_close(found: Continued, expected, tolerance=1e-12):
    for one, other in zip(found, expected, strict=True):
        close(one, other, tolerance)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("masks", [Masks(), some_masks()], ids=["whole", "masked"])
def test_the_mixed_cell_is_the_loop_over_nodes_sources_and_operations(engine, training, masks):
    supernet = tiny_recurrent_supernet(engine=engine).train(training)
    statistics = supernet.cell.norm
    statistics.running_mean.uniform_(-1, 1, generator=seeded(1))
    statistics.running_var.uniform_(0.5, 2, generator=seeded(2))
    norm = Norm(training, statistics.running_mean, statistics.running_var)
    expected = read(supernet, chunk(), mixed_cell(mixing()["cell"], norm), masks)
    all_close(supernet(chunk(), mixing(), masks=masks), expected)
    close(statistics.running_mean, norm.mean)
    close(statistics.running_var, norm.variance)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_those_of_the_loop(engine):
    supernet = tiny_recurrent_supernet(engine=engine)
    names = [name for name, _ in supernet.named_parameters()]
    alpha = torch.randn(36, 5, generator=seeded(3), dtype=torch.float64, requires_grad=True)

    def gradients(run):
        outputs = run({"cell": alpha.softmax(1)})
        return torch.autograd.grad(outputs.logits.sin().sum() + outputs.hidden.pow(2).sum(), [alpha, *weights])

    weights = list(supernet.parameters())
    norm = Norm(True, supernet.cell.norm.running_mean, supernet.cell.norm.running_var)
    found = gradients(lambda weights: supernet(chunk(), weights, masks=some_masks()))
    expected = gradients(lambda weights: read(supernet, chunk(), mixed_cell(weights["cell"], norm), some_masks()))
    for name, one, other in zip(["alpha", *names], found, expected, strict=True):
        assert other.abs().max() > 0, name
        close(one, other, 1e-11)


def test_gradients_of_the_mixing_weights_are_those_of_finite_differences():
    supernet = tiny_recurrent_supernet()
    weights = mixing()["cell"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: supernet(chunk(), {"cell": p}).logits, (weights,), eps=1e-6, atol=1e-6, fast_mode=True
    )


def test_none_has_a_gradient_through_the_softmax_alone():
    supernet = tiny_recurrent_supernet()
    alpha = torch.randn(36, 5, generator=seeded(3), dtype=torch.float64, requires_grad=True)
    weights = alpha.softmax(1)
    weights.retain_grad()
    supernet(chunk(), {"cell": weights}).logits.pow(2).sum().backward()
    none = OPERATIONS.index("none")
    assert (weights.grad[:, none] == 0).all()
    assert (weights.grad[:, none + 1 :] != 0).all()
    p = weights.detach()
    close(alpha.grad[:, none], -p[:, none] * (weights.grad * p).sum(1))  # the softmax's rule for a zero gradient
    assert (alpha.grad[:, none] != 0).all()


def test_one_norm_is_called_for_every_node_of_every_step():
    supernet = tiny_recurrent_supernet()
    calls = []
    supernet.cell.norm.register_forward_hook(lambda *_: calls.append(None))
    supernet(chunk(), mixing())
    assert len(calls) == 45 == 9 * T
    assert int(supernet.cell.norm.num_batches_tracked) == 45
    assert [type(module) for module in supernet.modules()].count(nn.BatchNorm1d) == 1
    assert not list(supernet.cell.norm.parameters())


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith("_rnn")])
@pytest.mark.parametrize("masks", [Masks(), some_masks()], ids=["whole", "masked"])
def test_the_discrete_cell_is_the_loop_over_nodes(name, masks):
    genotype = PUBLISHED[name]
    network = grown(SPACE.network(genotype, V, H))
    cell = discrete_cell(genotype.cells["cell"], genotype.concat["cell"])
    all_close(network(chunk(), masks), read(network, chunk(), cell, masks))


def test_nodes_that_a_genotype_does_not_join_feed_others_or_nothing():
    genotype = random_genotype(SPACE, 5)
    genotype.concat["cell"] = (8, 3)
    network = grown(SPACE.network(genotype, V, H))
    all_close(network(chunk()), read(network, chunk(), discrete_cell(genotype.cells["cell"], (8, 3)), Masks()))


@pytest.mark.parametrize("seed", range(3))
def test_without_norm_a_path_of_ones_is_the_discrete_cell(seed):
    """With it, it is not: the supernet normalises, the network does not."""
    genotype = random_genotype(SPACE, seed)
    supernet, network = tiny_recurrent_supernet(seed), SPACE.network(genotype, V, H).double()
    network.load_state_dict({name: value for name, value in supernet.state_dict().items() if "norm" not in name})
    path = {name: weights.double() for name, weights in SPACE.path_of(genotype).items()}
    expected = network(chunk())
    assert (supernet(chunk(), path).logits - expected.logits).abs().max() > 1e-3
    supernet.cell.norm = nn.Identity()
    all_close(supernet(chunk(), path), expected)
    all_close(supernet(chunk(), path, {"cell": path["cell"] > 0}), expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_options_that_are_not_active_do_not_count(engine, share):
    supernet = tiny_recurrent_supernet(engine=engine)
    kept = torch.rand(36, 5, generator=seeded(7)) < share
    weights = mixing()["cell"].requires_grad_()
    masked = {"cell": weights * kept}
    norm = Norm(True, supernet.cell.norm.running_mean, supernet.cell.norm.running_var)
    expected = read(supernet, chunk(), mixed_cell(masked["cell"], norm), Masks())
    found = supernet(chunk(), {"cell": weights.masked_fill(~kept, torch.nan)}, {"cell": kept})
    all_close(found, expected)
    ours, theirs = (torch.autograd.grad(out.logits.pow(2).sum(), weights)[0] for out in (found, expected))
    close(ours, theirs, 1e-11)


@pytest.mark.parametrize("engine", ENGINES)
def test_options_that_are_not_active_are_not_computed(engine, monkeypatch):
    """A path takes one edge a node, so eight activations are called on one edge each, but for tanh in s_0."""
    genotype = PUBLISHED["darts_v2_rnn"]
    path = SPACE.path_of(genotype)["cell"]
    edges: dict[str, int] = {}

    def counted(op, activation):
        def call(u):
            edges[op] = edges.get(op, 0) + (u.shape[1] if u.dim() == 3 else 1)
            return activation(u)

        return call

    for op, activation in ACTIVATIONS.items():
        monkeypatch.setitem(ACTIVATIONS, op, counted(op, activation))
    tiny_recurrent_supernet(engine=engine)(chunk(length=1), {"cell": path.double()}, {"cell": path > 0})
    taken = [op for _, op, _ in genotype.cells["cell"]]
    assert edges == {op: taken.count(op) for op in set(taken)}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_node_without_active_options_is_zero(engine):
    supernet = tiny_recurrent_supernet(engine=engine)
    supernet.cell.norm = nn.Identity()
    kept = torch.zeros(36, 5, dtype=torch.bool)
    outputs = supernet(chunk(), mixing(), {"cell": kept})
    assert (outputs.hidden == 0).all()
    kept[:, OPERATIONS.index("none")] = True
    assert (supernet(chunk(), mixing(), {"cell": kept}).hidden == 0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_offsets_are_added_to_every_element_of_active_edges(engine):
    supernet = tiny_recurrent_supernet(engine=engine)
    kept = torch.rand(36, 5, generator=seeded(7)) < 0.3
    offsets = torch.randn(36, generator=seeded(8), dtype=torch.float64, requires_grad=True)
    on = kept.any(1)
    assert not on.all()
    norm = Norm(True, supernet.cell.norm.running_mean, supernet.cell.norm.running_var)
    cell = mixed_cell(mixing()["cell"] * kept, norm, offsets=offsets * on)
    expected = read(supernet, chunk(), cell, Masks())
    found = supernet(chunk(), mixing() | {offset_key("cell"): offsets}, {"cell": kept})
    all_close(found, expected)
    ours, theirs = (torch.autograd.grad(out.hidden.pow(3).sum(), offsets)[0] for out in (found, expected))
    close(ours, theirs, 1e-11)
    assert (ours[~on] == 0).all()


def test_second_derivatives_are_those_of_finite_differences():
    supernet = tiny_recurrent_supernet()
    weights = mixing()["cell"].requires_grad_()
    direction = torch.randn(36, 5, generator=seeded(4), dtype=torch.float64)

    def slope(p):
        loss = supernet(chunk(length=2), {"cell": p}).logits.sin().sum()
        return torch.autograd.grad(loss, p, create_graph=True)[0]

    product = torch.autograd.grad(slope(weights), weights, direction)[0]
    step = 1e-6
    ends = [slope((weights + sign * step * direction).detach().requires_grad_()).detach() for sign in (1, -1)]
    close(product, (ends[0] - ends[1]) / (2 * step), 1e-6)


def test_another_number_of_nodes_and_other_operations():
    operations = ("relu", "identity")
    supernet = grown(recurrent_space(operations, 3).supernet(V, H))
    weights = torch.rand(6, 2, generator=seeded(5), dtype=torch.float64)
    norm = Norm(True, supernet.cell.norm.running_mean, supernet.cell.norm.running_var)
    expected = read(supernet, chunk(), mixed_cell(weights, norm, operations, 3), Masks())
    all_close(supernet(chunk(), {"cell": weights}), expected)
    assert supernet(chunk(), {"cell": weights}).logits.shape == (T, B, V)
