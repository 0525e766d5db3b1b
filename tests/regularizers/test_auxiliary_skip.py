"""The branch beside the mixture: published numbers of parameters, (1 + b)·x, and the search without it where b is 0."""

import math

import pytest
import torch

import nas_lightning as nl
from cases import BLOCK_SPACES, block_space, build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import AuxiliarySkip, DropPath
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.mixed import MixedOperation, edge_by_edge
from nas_lightning.spaces.node_by_node import node_by_node
from nas_lightning.spaces.operations import build_operation
from nas_lightning.spaces.waves import waves
from whole_runs import cut_off_and_resumed_equals_whole

EDGE = EdgeInfo("normal", cell=0, row=1, source=1, node=2, stride=1, channels=4)
HALVING = EdgeInfo("reduce", cell=1, row=0, source=0, node=2, stride=2, channels=4)


def attached(supernet, **values):
    torch.manual_seed(0)
    part = AuxiliarySkip(**values)
    supernet.attach((part,))
    supernet.double()
    return part


@pytest.mark.parametrize(
    ("space", "expected"), [("darts", 1_971_578), ("s1", 446_106), ("s2", 706_426), ("s3", 706_426), ("s4", 665_466)]
)
def test_supernets_have_the_published_numbers_of_parameters(space, expected):
    supernet = build_space(space).supernet(init_channels=16, layers=8)
    before = sum(weight.numel() for weight in supernet.parameters())
    supernet.attach((AuxiliarySkip(),))
    assert sum(weight.numel() for weight in supernet.parameters()) == expected
    assert expected - before == 8 * (32**2 + 64**2)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("linear", [1.0, 0.5, 0.02, 0.0]),
        ("cosine", [1.0, 0.5, 0.5 * (1 - math.cos(math.pi / 50)), 0.0]),
        ("slow_cosine", [1.0, math.sqrt(0.5), math.sin(math.pi / 100), 0.0]),
        ("constant", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_golden_values_of_the_schedules(decay, expected):
    part = AuxiliarySkip(decay=decay, epochs=50)
    for epoch, value in zip((0, 25, 49, 50), expected, strict=True):
        part.at_epoch(epoch)
        assert part.metrics() == {"auxiliary_skip": pytest.approx(value)}
        assert part.acts_on_edges() == (value > 0)
    assert AuxiliarySkip(start=0.5, decay=decay, epochs=50).strength == 0.5


@pytest.mark.parametrize("branch", ["identity", "convolution"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_skip_of_weight_one_becomes_1_plus_b_times_its_input(branch, strength):
    edge = MixedOperation(("skip_connect", "sep_conv_3x3"), EDGE).double()
    part = AuxiliarySkip(start=strength, branch=branch)
    part.build_edge(EDGE, 4)
    x, one_hot = images(channels=4), torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = edge(x, one_hot, [True, False], (part.double(),))
    assert torch.equal(y, (1 + strength) * x)


def test_at_stride_2_a_reduction_of_its_own_is_added():
    edge = MixedOperation(("max_pool_3x3", "none"), HALVING).double()
    part = AuxiliarySkip(start=0.7)
    part.build_edge(HALVING, 4)
    (reduction,) = part.double().branches.values()
    own = build_operation("skip_connect", 4, 2, search=True).double()
    own.load_state_dict(reduction.state_dict())
    x, weights = images(channels=4), torch.tensor([0.4, 0.6], dtype=torch.float64)
    expected = edge(x, weights, [True, True], ()) + 0.7 * own(x)
    assert torch.allclose(edge(x, weights, [True, True], (part,)), expected, atol=1e-12, rtol=0)


def test_the_weight_of_the_skip_gains_nothing_by_the_branch():
    """At a fixed gradient of the output, α learns from the candidates alone."""
    edge = MixedOperation(("skip_connect", "none"), EDGE).double()
    x, upstream, found = images(channels=4), images(channels=4, seed=1), []
    for strength in (0.0, 0.3, 1.0):
        part = AuxiliarySkip(start=strength)
        alpha = torch.tensor([0.2, -0.1], dtype=torch.float64, requires_grad=True)
        edge(x, torch.softmax(alpha, 0), [True, True], (part,)).backward(upstream)
        found.append(alpha.grad)
    p = torch.softmax(torch.tensor([0.2, -0.1], dtype=torch.float64), 0)[0]
    assert found[0][0].item() == pytest.approx(float(p * (1 - p) * (x * upstream).sum()), rel=1e-12)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("engine", [node_by_node, waves])
@pytest.mark.parametrize("partial_channels", [1, 2])
@pytest.mark.parametrize("space", ["s1", "s3", "s4"])
def test_engines_agree_with_the_plain_one(space, partial_channels, engine):
    """Outputs and gradients, with partial channels too: the branch sees all of them, whatever the operations see."""
    built = build_space(space).variant(partial_channels=partial_channels)
    results = []
    for computes in (edge_by_edge, engine):
        supernet = tiny_supernet(built)
        for cell in supernet.cells:
            cell.engine = computes
        attached(supernet, branch="convolution", start=0.6)
        with draws.keyed(0, 0, "weights"):  # the noise of S4
            outputs = supernet(images(), random_mixing(built))
        outputs.square().sum().backward()
        results.append([outputs, *(weight.grad for weight in supernet.parameters() if weight.grad is not None)])
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("space", [NasBench201Space(), *map(block_space, BLOCK_SPACES)], ids=lambda space: space.name)
def test_other_spaces_have_it_on_every_edge(space):
    torch.manual_seed(0)
    supernet = space.supernet(num_classes=3, init_channels=4, layers=1).double()
    part, mixing = attached(supernet, branch="convolution"), random_mixing(space)
    edges = [module for module in supernet.modules() if isinstance(module, MixedOperation)]
    assert len(part.branches) == len(edges)
    with_branch = supernet(images(), mixing)
    part.strength = 0.0
    assert not torch.allclose(with_branch, supernet(images(), mixing))


def test_the_branch_is_dropped_with_its_edge():
    """Parts act in their order: what comes later sees the edge with the branch."""
    edge = MixedOperation(("skip_connect",), EDGE).double()
    drop = DropPath(0.5, epochs=2)
    drop.at_epoch(1)
    x = torch.rand(64, 4, 2, 2, generator=seeded(0), dtype=torch.float64) + 1
    y = edge(x, torch.ones(1, dtype=torch.float64), [True], (AuxiliarySkip(), drop))
    assert set((y / x).round(decimals=9).flatten().tolist()) == {0.0, 4.0}  # (1 + b)/(1 − p)


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_without_strength_it_is_darts_bit_for_bit(tiny, tmp_path):
    small = ["space=s3", "space.num_nodes=2"]
    nl.search(nl.compose([*tiny, "method=darts", *small]), run_dir=tmp_path / "darts")
    zero = "regularizer.auxiliary_skip.start=0.0"
    nl.search(nl.compose([*tiny, "method=darts_minus", *small, zero]), run_dir=tmp_path / "other")
    a, b = state(tmp_path / "darts"), state(tmp_path / "other")
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for name, tensor in a["search"]["arch"].items():
        assert torch.equal(tensor, b["search"]["arch"][name])
    further = b["state_dict"].keys() - a["state_dict"].keys()
    assert further
    assert all(".branches." in name for name in further)


@pytest.mark.slow
def test_its_weights_are_trained_saved_and_resumed(tiny, tmp_path):
    words = ["method=darts_minus", "space.num_nodes=2", "regularizer.auxiliary_skip.branch=convolution", "task=search"]
    cut_off_and_resumed_equals_whole([*tiny, *words], "search", 1, tmp_path)
    weights = {name: value for name, value in state(tmp_path / "whole")["state_dict"].items() if ".branches." in name}
    ones = [value for name, value in weights.items() if value.ndim == 4 and value.shape[0] == value.shape[1]]
    assert ones
    assert not any(torch.equal(value, torch.eye(len(value))[..., None, None]) for value in ones)
