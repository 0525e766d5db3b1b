"""Exponentiated gradients: closed form, logits that follow ∇θ, masks, decisions, and whole searches."""

import copy

import pytest
import torch

import nas_lightning as nl
from nas_lightning.core.choices import Choice
from nas_lightning.core.decisions import Decisions
from nas_lightning.relaxations import Simplex
from nas_lightning.searches.exponentiated_gradient import FLOOR, ExponentiatedGradient

OPS = ("skip_connect", "sep_conv_3x3", "none")
RAGGED = Choice("normal", "op", (OPS, OPS[:2], OPS), sources=(0, 1, 0), nodes=(2, 2, 3))
EDGES = Choice("normal_edge", "edge", (("0", "1"), ("0",)), sources=(0, 0), nodes=(2, 3))
CHOICES = {"normal": RAGGED, "normal_edge": EDGES}


def tables(seed=0):
    """Random weights on the simplex of each row, in float64, 0 where a row has no option."""
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, choice in CHOICES.items():
        weights = torch.rand(choice.mask.shape, generator=rng, dtype=torch.float64) * choice.mask
        found[name] = (weights / weights.sum(dim=1, keepdim=True)).requires_grad_()
    return found


def stepped(theta, gradients, decisions=None, lr=0.1):
    optimizer = ExponentiatedGradient(theta, lr, decisions or Decisions(CHOICES))
    for gradient in gradients:
        for name, table in theta.items():
            table.grad = gradient[name].clone()
        optimizer.step()
    return {name: table.detach() for name, table in theta.items()}


def draws(number, scale=1.0, seed=1):
    rng = torch.Generator().manual_seed(seed)
    shapes = {name: choice.mask.shape for name, choice in CHOICES.items()}
    return [
        {name: scale * torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in shapes.items()}
        for _ in range(number)
    ]


def test_it_is_the_softmax_of_logits_that_follow_the_gradient_of_the_weights():
    """Seven steps on a loss that is not linear; the logits' own gradient, through the softmax, leads elsewhere."""
    loss = lambda weights: (weights.pow(3) * torch.arange(9.0).double().view(3, 3)).sum()  # noqa: E731
    square = Choice("normal", "op", (OPS,) * 3, sources=(0, 1, 0), nodes=(2, 2, 3))
    start = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start /= start.sum(dim=1, keepdim=True)
    theta, logits, plain = start.clone().requires_grad_(), start.log(), start.log().requires_grad_()
    optimizer = ExponentiatedGradient({"normal": theta}, 0.3, Decisions({"normal": square}))
    for _ in range(7):
        (theta.grad,) = torch.autograd.grad(loss(theta), theta)
        optimizer.step()
        weights = (logits.exp() / logits.exp().sum(dim=1, keepdim=True)).requires_grad_()
        logits = logits - 0.3 * torch.autograd.grad(loss(weights), weights)[0]
        through = torch.autograd.grad(loss(torch.softmax(plain, dim=1)), plain)[0]
        plain = (plain - 0.3 * through).detach().requires_grad_()
    torch.testing.assert_close(theta.detach(), logits.exp() / logits.exp().sum(dim=1, keepdim=True), rtol=1e-13, atol=0)
    assert (theta.detach() - torch.softmax(plain.detach(), dim=1)).abs().max() > 0.05


def test_a_constant_gradient_gives_an_exponential():
    (gradient,) = draws(1)
    start = tables()
    found = stepped(copy.deepcopy(start), [gradient] * 5)
    for name, theta in start.items():
        rows = theta.detach() * torch.exp(-0.1 * 5 * gradient[name])
        torch.testing.assert_close(found[name], rows / rows.sum(dim=1, keepdim=True))


def test_a_step_of_the_released_code():
    """Operations: multiplied, raised to 1e-5, then scaled; edges: multiplied and scaled. One loop a row."""
    (gradient,) = draws(1, scale=300.0)
    start = tables()
    found = stepped(copy.deepcopy(start), [gradient])
    start = {name: table.detach() for name, table in start.items()}
    raised = 0
    for name, choice in CHOICES.items():
        for row, options in enumerate(choice.options):
            values = [
                float(start[name][row, o]) * float(torch.exp(-0.1 * gradient[name][row, o]))
                for o in range(len(options))
            ]
            if name == "normal":
                raised += sum(value < 1e-5 for value in values)
                values = [max(value, 1e-5) for value in values]
            expected = [value / sum(values) for value in values]
            assert found[name][row, : len(options)].tolist() == pytest.approx(expected, rel=1e-12)
    assert raised > 0
    assert FLOOR == 1e-5


def test_rows_stay_on_the_simplex_and_what_is_absent_stays_zero():
    found = stepped(tables(), draws(50, scale=30.0))
    for name, choice in CHOICES.items():
        torch.testing.assert_close(found[name].sum(dim=1), torch.ones(choice.num_rows, dtype=torch.float64))
        assert (found[name][~choice.mask] == 0).all()
        assert (found[name][choice.mask] > 0).all()


def test_a_steep_loss_does_not_overflow():
    theta = {name: table.detach().float().requires_grad_() for name, table in tables().items()}
    steep = {name: 1e4 * torch.ones_like(table) for name, table in theta.items()}
    steep["normal"][:, 0] = -1e4
    found = stepped(theta, [steep])
    assert all(table.isfinite().all() for table in found.values())
    assert (found["normal"][:, 0] > 0.99).all()


def test_closed_options_keep_their_values_and_the_others_are_a_search_without_them():
    """Shrinking drops an option: the rest is the same as a table that never had it, from scaled weights on."""
    decisions, start = Decisions(CHOICES), tables()
    keep = torch.tensor([[True, True, False], [True, True, False], [False, True, True]])
    decisions.shrink("normal", keep)
    relaxation = Simplex()
    relaxation.remember(CHOICES)
    relaxation.restrict(decisions.restriction)
    slope = torch.arange(9.0).double().view(3, 3).sin()

    def loss(weights):
        return (slope * weights.square()).sum()

    theta = copy.deepcopy(start)
    optimizer = ExponentiatedGradient(theta, 0.5, decisions)
    alone = (start["normal"].detach() * keep) / (start["normal"].detach() * keep).sum(dim=1, keepdim=True)
    for _ in range(4):
        (theta["normal"].grad,) = torch.autograd.grad(loss(relaxation(theta)["normal"]), theta["normal"])
        theta["normal_edge"].grad = torch.zeros_like(theta["normal_edge"])
        optimizer.step()
        weights = alone.clone().requires_grad_()
        rows = alone * torch.exp(-0.5 * torch.autograd.grad(loss(weights), weights)[0])
        alone = rows / rows.sum(dim=1, keepdim=True)
    torch.testing.assert_close(relaxation(theta)["normal"].detach(), alone)
    closed = RAGGED.mask & ~keep
    assert torch.equal(theta["normal"].detach()[closed], start["normal"].detach()[closed])


def last(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["search"]["arch"]


@pytest.mark.parametrize(
    "method", ["gaea_erm", *(pytest.param(m, marks=pytest.mark.slow) for m in ("gaea", "gaea_pc_darts"))]
)
def test_a_search_stays_on_the_simplex(method, tiny, tmp_path):
    words = [*tiny, f"method={method}", "space=s1", "search.arch.lr=20.0"]  # S1 has ragged rows
    words += ["regularizer.partial_channels.divisor=2"] * (method == "gaea_pc_darts")
    nl.search(nl.compose(words), run_dir=tmp_path / "run")
    choices = nl.build_space(nl.compose(words)).choices
    found = last(tmp_path / "run")
    assert ("normal_edge" in found) == (method == "gaea_pc_darts")
    for name, table in found.items():
        torch.testing.assert_close(table.sum(dim=1), torch.ones(len(table)))
        mask = choices[name].mask if name in choices else table > 0
        assert (table[~mask] == 0).all()
        assert not torch.allclose(table, mask / mask.sum(dim=1, keepdim=True), atol=1e-3), f"{name} has not moved"
