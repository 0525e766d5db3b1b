"""The simplex relaxation: parameters are weights, scaled where options are closed; the entropic term by hand."""

import math

import pytest
import torch

from cases import SPACES, build_space, seeded
from nas_lightning.relaxations import Decoupled, Simplex, Uniform
from nas_lightning.spaces import Choice

RAGGED = Choice("cell", "op", (("a", "b", "c"), ("a",), ("a", "b")), (0, 1, 2), (3, 3, 3))
EDGES = Choice("cell_edge", "edge", (("0", "1", "2"),), (0,), (3,))
CHOICES = {"cell": RAGGED, "cell_edge": EDGES}


def weights(seed=0):
    rows = {name: torch.rand(c.mask.shape, generator=seeded(seed)).double() * c.mask for name, c in CHOICES.items()}
    return {name: table / table.sum(dim=1, keepdim=True) for name, table in rows.items()}


@pytest.mark.parametrize("choices", [build_space(name).choices for name in SPACES] + [CHOICES])
def test_it_starts_uniform_over_the_options_of_each_row(choices):
    arch = Simplex().init(choices, seeded(0))
    for name, choice in choices.items():
        for row, options in enumerate(choice.options):
            absent = [0.0] * (choice.num_options - len(options))
            assert arch[name][row].tolist() == pytest.approx([1 / len(options)] * len(options) + absent)


def test_the_weights_are_the_parameters():
    relaxation = Simplex()
    relaxation.init(CHOICES)
    theta = {name: table.requires_grad_() for name, table in weights().items()}
    mixing = relaxation(theta, epoch=3)
    assert all(torch.equal(mixing[name], theta[name]) for name in theta)
    assert all(torch.equal(relaxation.mean(theta)[name], theta[name]) for name in theta)
    slope = torch.arange(9.0).double().view(3, 3)
    (gradient,) = torch.autograd.grad((mixing["cell"] * slope).sum(), theta["cell"])
    assert torch.equal(gradient, slope), "no Jacobian of a softmax in between"
    assert relaxation.penalty(theta) is None
    assert relaxation.on_simplex
    assert Decoupled(Uniform(), Simplex()).on_simplex


def test_open_options_are_scaled_to_sum_to_1_and_a_pruned_row_is_zero():
    relaxation, theta = Simplex(), weights()
    relaxation.init(CHOICES)
    kept = torch.tensor([[True, False, True], [False] * 3, [True, True, False]])
    relaxation.restrict({"cell": kept})
    found = relaxation(theta)["cell"]
    a, _, c = theta["cell"][0].tolist()
    assert found[0].tolist() == pytest.approx([a / (a + c), 0, c / (a + c)])
    assert found[1].eq(0).all()
    torch.testing.assert_close(found[2], theta["cell"][2])
    assert torch.equal(relaxation(theta)["cell_edge"], theta["cell_edge"])


def test_the_entropic_term_is_the_distance_from_uniform_over_operations():
    relaxation, theta = Simplex(entropy=0.5), weights()
    uniform = relaxation.init(CHOICES)
    assert float(relaxation.penalty(uniform)) == pytest.approx(0, abs=1e-6)
    expected = sum(
        p * math.log(p * len(options))
        for row, options in zip(theta["cell"].tolist(), RAGGED.options, strict=True)
        for p in row[: len(options)]
    )
    assert float(relaxation.penalty(theta)) == pytest.approx(0.5 * expected)
