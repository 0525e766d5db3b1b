"""Sigmoid gates and their zero-one loss: values of the paper, independence, masks."""

import math

import pytest
import torch

from cases import SPACES, build_space, seeded
from nas_lightning.relaxations import Sigmoid
from nas_lightning.spaces import Choice

RAGGED = Choice("cell", "op", (("a", "b", "c"), ("a",), ("a", "b")), (0, 1, 2), (3, 3, 3))
EDGES = Choice("cell_edge", "edge", (("0", "1", "2"),), (0,), (3,))
CHOICES = {"cell": RAGGED, "cell_edge": EDGES}


def logits(scale=2.0):
    return {n: scale * torch.randn(c.mask.shape, generator=seeded(0), dtype=torch.float64) for n, c in CHOICES.items()}


@pytest.mark.parametrize("name", SPACES)
def test_gates_start_at_a_half_without_a_push(name):
    relaxation = Sigmoid()
    arch = {key: a.requires_grad_() for key, a in relaxation.init(build_space(name).choices, seeded(0)).items()}
    for key, weights in relaxation(arch).items():
        assert torch.equal(weights, 0.5 * relaxation.choices[key].mask)
    loss = relaxation.penalty(arch)
    assert loss.item() == 0
    assert all((g == 0).all() for g in torch.autograd.grad(loss, list(arch.values())))


def test_the_loss_is_lowest_where_every_gate_is_0_or_1():
    relaxation = Sigmoid()
    relaxation.init(CHOICES)
    ends = {name: 40.0 * table.sign() for name, table in logits().items()}
    assert float(relaxation.penalty(ends)) == pytest.approx(-2.5)
    assert -2.5 < float(relaxation.penalty(logits())) < 0


@pytest.mark.parametrize(("distance", "power"), [("l2", 2), ("l1", 1)])
def test_the_loss_is_the_mean_over_the_gates_of_all_tables_at_once(distance, power):
    other = Choice("reduce", "op", (("a", "b"),), (0,), (2,))
    relaxation = Sigmoid(zero_one=3.0, distance=distance)
    relaxation.init({**CHOICES, "reduce": other})
    arch = {**logits(), "reduce": torch.tensor([[0.3, -0.7]], dtype=torch.float64)}
    gates = [
        1 / (1 + math.exp(-value))
        for name, choice in (("cell", RAGGED), ("reduce", other))
        for row, options in zip(arch[name].tolist(), choice.options, strict=True)
        for value in row[: len(options)]
    ]
    expected = -3.0 * sum(abs(gate - 0.5) ** power for gate in gates) / 8
    assert float(relaxation.penalty(arch)) == pytest.approx(expected)
    assert Sigmoid(zero_one=0.0).penalty(arch) is None


def test_a_gate_moves_alone_and_edges_compete():
    relaxation = Sigmoid()
    relaxation.init(CHOICES)
    arch, moved = logits(), logits()
    moved["cell"][0, 1] += 1.0
    moved["cell_edge"][0, 1] += 1.0
    one, two = relaxation(arch), relaxation(moved)
    assert (one["cell"] != two["cell"]).nonzero().tolist() == [[0, 1]]
    assert (one["cell_edge"] != two["cell_edge"]).all()
    torch.testing.assert_close(two["cell_edge"].sum(dim=1), torch.ones(1, dtype=torch.float64))
    assert not relaxation.simplex


def test_closed_options_weigh_nothing_and_do_not_count_in_the_mean():
    relaxation, arch = Sigmoid(), logits()
    relaxation.init(CHOICES)
    kept = torch.tensor([[True, False, True], [True, False, False], [False, True, False]])
    relaxation.restrict({"cell": kept})
    found = relaxation(arch)["cell"]
    torch.testing.assert_close(found, torch.sigmoid(arch["cell"]) * kept)
    gates = torch.sigmoid(arch["cell"])[kept]
    torch.testing.assert_close(relaxation.penalty(arch), -10 * (gates - 0.5).square().mean())
