"""The Gumbel relaxations: samples, temperatures, and the three gradients written out by hand."""

import math

import pytest
import torch
from torch import nn

from cases import build_space, images, seeded, tiny_supernet
from nas_lightning.core.errors import ConfigError
from nas_lightning.regularizers import Regularizer
from nas_lightning.relaxations import Gumbel
from nas_lightning.relaxations.gumbel import TRIES, gumbel_like
from nas_lightning.spaces import Choice

FORMS = ("all", "selected", "released")
CHOICES = {
    "cell": Choice("cell", "op", (tuple("abcd"), tuple("ab"), tuple("abc"), tuple("abcd")), (0, 1, 0, 1), (2, 2, 3, 3)),
    "cell_edge": Choice("cell_edge", "edge", (("0", "1"), ("0", "1")), (0, 0), (2, 3)),
}


def constant(tau, **arguments):
    return Gumbel(start=tau, end=tau, **arguments)


def arch_of(relaxation, choices=CHOICES, scale=1.0):
    return {
        name: scale * torch.randn(value.shape, generator=seeded(3), dtype=torch.float64)
        for name, value in relaxation.init(choices, seeded(0)).items()
    }


def many(relaxation, alpha, rows):
    """The same logits in every row: one pass is a sample of that size."""
    choice = Choice("cell", "op", (tuple(map(str, range(len(alpha)))),) * rows, (0,) * rows, (1,) * rows)
    relaxation.init({"cell": choice})
    return {"cell": alpha.repeat(rows, 1)}


# ---------------------------------------------------------------------------------------------------- schedules
def test_temperature():
    gdas = Gumbel(epochs=250)
    found = [gdas.temperature(epoch) for epoch in range(250)]
    assert found == pytest.approx([10 - 9.9 * epoch / 249 for epoch in range(250)])
    assert (found[0], found[-1]) == (10.0, pytest.approx(0.1))
    assert gdas.temperature(400) == pytest.approx(0.1)  # in a stage that comes after the search
    snas = Gumbel(hard=False, end=1.0, epochs=100)
    assert (snas.temperature(0), snas.temperature(99)) == (10.0, pytest.approx(1.0))
    released = Gumbel(hard=False, end=1.0, epochs=100, end_reached="after_last")
    assert [released.temperature(epoch) for epoch in (0, 50, 99)] == pytest.approx([10.0, 5.5, 1.09])
    for end_reached in ("in_last", "after_last"):
        assert Gumbel(epochs=1, end_reached=end_reached).temperature(0) == 10
    assert constant(3.0).temperature(7) == 3


def test_the_temperature_needs_the_epochs():
    relaxation = Gumbel()
    arch = relaxation.init(CHOICES)
    with pytest.raises(ConfigError, match=r"^relaxation\.epochs=null: .*write relaxation\.epochs=50$"):
        relaxation(arch)
    assert relaxation.mean(arch)["cell"].gt(0).any()


@pytest.mark.parametrize("hard", [True, False])
def test_the_epoch_sets_the_temperature(hard):
    relaxation = Gumbel(hard=hard, start=5.0, end=0.5, epochs=10, gradient="all")
    arch = arch_of(relaxation)
    for epoch in (0, 4, 9):
        still = constant(5 - 0.5 * epoch, hard=hard, gradient="all")
        still.init(CHOICES)
        for name in CHOICES:
            slopes = []
            for part in (relaxation, still):
                leaf = {key: value.clone().requires_grad_() for key, value in arch.items()}
                (part(leaf, epoch, seeded(1))[name] * torch.arange(1.0, 5.0)[: leaf[name].shape[1]]).sum().backward()
                slopes.append(leaf[name].grad)
            torch.testing.assert_close(*slopes)


# ------------------------------------------------------------------------------------------------------ samples
def by_hand(alpha, noise, tau):
    """softmax((log softmax(α) + G) / τ) with math.exp, for one row."""
    log_total = math.log(sum(math.exp(a) for a in alpha))
    powers = [math.exp((a - log_total + g) / tau) for a, g in zip(alpha, noise, strict=True)]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("tau", [0.3, 1.0, 10.0])
def test_soft_samples(tau):
    relaxation = constant(tau, hard=False)
    arch = arch_of(relaxation)
    mixing = relaxation(arch, 0, seeded(1))
    rng = seeded(1)
    for name, choice in CHOICES.items():
        noise = gumbel_like(arch[name], rng)
        for row, options in enumerate(choice.options):
            n = len(options)
            expected = by_hand(arch[name][row, :n].tolist(), noise[row, :n].tolist(), tau)
            assert mixing[name][row, :n].tolist() == pytest.approx(expected, abs=1e-14)
            assert mixing[name][row, n:].eq(0).all()
    assert relaxation.active(mixing) is None
    assert relaxation.penalty(arch) is None
    mean = relaxation.mean(arch)
    torch.testing.assert_close(mean["cell"][0], torch.softmax(arch["cell"][0], 0))
    torch.testing.assert_close(mean["cell"][1, :2], torch.softmax(arch["cell"][1, :2], 0))
    assert relaxation.active(mean) is None


def test_a_low_temperature_makes_one_hot():
    alpha = torch.tensor([0.5, -0.5, 0.0])
    cold, warm = constant(1e-4, hard=False), constant(100.0, hard=False)
    mixing = cold(many(cold, alpha, 200), 0, seeded(0))["cell"]
    assert mixing.max(dim=1).values.gt(0.999).float().mean() > 0.98
    mixing = warm(many(warm, alpha, 200), 0, seeded(0))["cell"]
    assert (mixing - 1 / 3).abs().max() < 0.1


def test_noise_is_gumbel():
    noise = gumbel_like(torch.zeros(200_000, dtype=torch.float64), seeded(0))
    n, variance, fourth = len(noise), math.pi**2 / 6, 5.4  # kurtosis
    assert abs(noise.mean().item() - 0.5772156649) < 4.5 * math.sqrt(variance / n)
    assert abs(noise.var().item() - variance) < 4.5 * variance * math.sqrt((fourth - 1) / n)
    for point in (-1.0, 0.0, 2.0):
        p = math.exp(-math.exp(-point))
        assert abs(noise.le(point).double().mean().item() - p) < 4.5 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("form", FORMS)
def test_hard_samples_follow_the_probabilities(form):
    relaxation = constant(0.7, gradient=form)
    alpha = torch.tensor([1.0, -0.5, 0.3, -2.0], dtype=torch.float64)
    rows = 40_000
    mixing = relaxation(many(relaxation, alpha, rows), 0, seeded(0))["cell"]
    assert mixing.eq(0).logical_or(mixing.eq(1)).all()
    assert mixing.sum(dim=1).eq(1).all()
    p = torch.softmax(alpha, dim=0)
    assert ((mixing.mean(dim=0) - p).abs() < 4.5 * (p * (1 - p) / rows).sqrt()).all()
    relaxation.restrict({"cell": torch.tensor([True, False, True, True]).repeat(rows, 1)})
    mixing = relaxation({"cell": alpha.repeat(rows, 1)}, 0, seeded(1))["cell"]
    p = torch.where(torch.tensor([True, False, True, True]), p, 0)
    p /= p.sum()
    assert ((mixing.mean(dim=0) - p).abs() <= 4.5 * (p * (1 - p) / rows).sqrt()).all()


def test_draws_are_keyed():
    relaxation = constant(1.0, gradient="released")
    arch = arch_of(relaxation)
    state = torch.get_rng_state()
    first, again = relaxation(arch, 0, seeded(1)), relaxation(arch, 5, seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    found = [relaxation(arch, 0, seeded(seed))["cell"] for seed in range(8)]
    assert any(not torch.equal(found[0], other) for other in found)
    # What a restriction leaves out does not shift the draws of the rest.
    relaxation.restrict({"cell": torch.tensor([[True, False, True, True]] + [[True] * 4] * 3)})
    part = relaxation(arch, 0, seeded(1))
    assert torch.equal(part["cell"][1:], first["cell"][1:])
    assert torch.equal(part["cell_edge"], first["cell_edge"])


def test_noise_that_is_not_finite_is_drawn_again(monkeypatch):
    drawn = torch.Tensor.exponential_
    calls = []

    def rigged(self, generator=None):
        drawn(self, generator=generator)
        calls.append(self.clone())
        if len(calls) <= bad:
            self[0] = 0
        return self

    monkeypatch.setattr(torch.Tensor, "exponential_", rigged)
    bad = 2
    noise = gumbel_like(torch.zeros(4), seeded(0))
    assert noise.isfinite().all()
    assert len(calls) == 3
    torch.testing.assert_close(noise, -calls[2].log())
    calls.clear()
    bad = 1000
    assert gumbel_like(torch.zeros(4), seeded(0))[0] == torch.inf  # there is an end to it
    assert len(calls) == TRIES


def test_a_search_that_diverged_goes_on_as_nan():
    relaxation = constant(1.0)
    arch = arch_of(relaxation)
    arch["cell"][0, 0] = torch.nan
    assert relaxation(arch, 0, seeded(0))["cell"][0].isnan().all()
    assert relaxation.mean(arch)["cell"][0].isnan().all()


# ---------------------------------------------------------------------------------------------------- gradients
FEATURES = {
    name: torch.randn(c.num_rows, c.num_options, 5, generator=seeded(9)).double() for name, c in CHOICES.items()
}
UP = torch.randn(4, 5, generator=seeded(8), dtype=torch.float64)


def slopes_by_hand(p, selected, tau, form):
    """dL/dα of L = Σ_r ⟨g_r, y_r⟩ by loops: c_j = dL/dp_j, then the Jacobian of softmax((α − const)/τ)."""
    grad = torch.zeros_like(p)
    for row, options in enumerate(CHOICES["cell"].options):
        o, g = FEATURES["cell"][row], UP[row]
        k = selected[row]
        c = []
        for j in range(len(options)):
            if form == "all" or j == k:
                c.append(float(torch.dot(g, o[j])))
            else:
                c.append(float(g.sum()) if form == "released" else 0.0)
        average = sum(float(p[row, j]) * c[j] for j in range(len(options)))
        for i in range(len(options)):
            grad[row, i] = float(p[row, i]) * (c[i] - average) / tau
    return grad


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "everything", [True, False]
)  # whether options that were not selected are computed all the same
def test_gradients_of_hard_samples(form, everything):
    tau = 0.8
    relaxation = constant(tau, gradient=form)
    arch = {name: value.requires_grad_() for name, value in arch_of(relaxation).items()}
    mixing = relaxation(arch, 0, seeded(2))
    soft = constant(tau, hard=False)
    soft.init(CHOICES)
    p = soft({name: value.detach() for name, value in arch.items()}, 0, seeded(2))["cell"]
    selected = p.argmax(dim=1)
    assert torch.equal(mixing["cell"].detach(), nn.functional.one_hot(selected, 4).double())

    weights, active = mixing["cell"], relaxation.active(mixing)
    if active is not None and not everything:
        weights = torch.where(active["cell"], weights, 0)
    y = torch.einsum("ro,rod->rd", weights, FEATURES["cell"])
    plain = y.detach().clone()
    if form == "released":
        y = y + mixing["cell.offset"][:, None]
    assert torch.equal(y.detach(), plain)
    assert torch.equal(plain, FEATURES["cell"][range(4), selected])
    (y * UP).sum().backward()
    torch.testing.assert_close(arch["cell"].grad, slopes_by_hand(p, selected, tau, form), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_offset_is_there_only_for_a_gradient(form):
    relaxation = constant(1.0, gradient=form)
    arch = arch_of(relaxation)
    assert set(relaxation(arch, 0, seeded(0))) == set(CHOICES)
    with torch.no_grad():
        assert set(relaxation({k: v.clone().requires_grad_() for k, v in arch.items()}, 0, seeded(0))) == set(CHOICES)
    mixing = relaxation({k: v.requires_grad_() for k, v in arch.items()}, 0, seeded(0))
    assert set(mixing) == set(CHOICES) | ({"cell.offset"} if form == "released" else set())
    if form == "released":
        assert mixing["cell.offset"].tolist() == [0.0] * 4
    active = relaxation.active(mixing)
    if form == "all":
        assert active is None
    else:
        assert set(active) == set(CHOICES)
        assert torch.equal(active["cell"], mixing["cell"] == 1)


def test_edges_are_weighted_not_chosen():
    hard, soft = constant(0.5), constant(0.5, hard=False)
    arch = arch_of(hard)
    soft.init(CHOICES)
    mixing = hard(arch, 0, seeded(4))
    assert torch.equal(mixing["cell_edge"], soft(arch, 0, seeded(4))["cell_edge"])
    assert mixing["cell_edge"].gt(0).all()
    assert hard.active(mixing)["cell_edge"].all()


# --------------------------------------------------------------------------------------------------- a supernet
class Recorder(Regularizer):
    """Notes what operations and edges put out."""

    def __init__(self):
        self.ops, self.edges = {}, {}

    def on_op(self, y, op, edge):
        self.ops[edge.cell, edge.row, op] = y
        return y

    def on_edge(self, y, x, edge):
        if y.requires_grad:
            y.retain_grad()
        self.edges[edge] = y
        return y


def recorded(space, mixing, active):
    net, recorder = tiny_supernet(space), Recorder()
    net.attach((recorder,))
    loss = nn.functional.cross_entropy(net(images(), mixing, active), torch.tensor([0, 1, 2, 0]))
    return loss, recorder


@pytest.mark.parametrize("name", ["s1", "s3", "s5"])
def test_an_edge_is_its_single_operation(name):
    """To the bit, and no other operation is computed."""
    space, relaxation = build_space(name), constant(2.0)
    arch = {key: value.double() for key, value in relaxation.init(space.choices, seeded(0)).items()}
    mixing = relaxation(arch, 0, seeded(1))
    _, recorder = recorded(space, mixing, relaxation.active(mixing))
    cells = {edge.cell for edge in recorder.edges}
    assert len(recorder.ops) == len(recorder.edges) == sum(space.choices[c].num_rows for c in ("normal", "reduce")) * 2
    assert len(cells) == 4
    for edge, y in recorder.edges.items():
        option = int(mixing[edge.choice][edge.row].argmax())
        op = space.choices[edge.choice].options[edge.row][option]
        assert torch.equal(y, recorder.ops[edge.cell, edge.row, op])


@pytest.mark.parametrize("form", FORMS)
def test_gradient_through_a_supernet(form):
    """dL/dα is that of the formula, with dL/dp_j summed over the cells that share a row."""
    tau = 1.3
    space, relaxation = build_space("s5"), constant(tau, gradient=form)
    arch = {key: value.double().requires_grad_() for key, value in relaxation.init(space.choices, seeded(0)).items()}
    mixing = relaxation(arch, 0, seeded(1))
    loss, recorder = recorded(space, mixing, relaxation.active(mixing))
    loss.backward()
    soft = constant(tau, hard=False)
    soft.init(space.choices)
    p = soft({key: value.detach() for key, value in arch.items()}, 0, seeded(1))
    for name, choice in space.choices.items():
        c = torch.zeros_like(p[name])
        for edge, y in recorder.edges.items():
            for j, op in enumerate(choice.options[edge.row] if edge.choice == name else ()):
                if form == "all" or j == p[name][edge.row].argmax():
                    c[edge.row, j] += (y.grad * recorder.ops[edge.cell, edge.row, op]).sum().detach()
                elif form == "released":
                    c[edge.row, j] += y.grad.sum()
        expected = p[name] * (c - (p[name] * c).sum(dim=1, keepdim=True)) / tau
        assert expected.abs().max() > 1e-5
        torch.testing.assert_close(arch[name].grad, expected, rtol=1e-9, atol=1e-12)


def test_the_temperature_is_told():
    assert Gumbel(epochs=5, start=10.0, end=2.0).metrics(2) == {"temperature": 6.0}


# -------------------------------------------------------------------------------------------------- score function
def test_the_score_function_of_a_draw():
    """Rows of the gradient sum to 0, each is c_k·(h − p); closed options and rows have none."""
    choice = Choice("cell", "op", (("a", "b", "c"), ("a", "b"), ("a", "b", "c")), (0, 1, 2), (3, 3, 3))
    relaxation = Gumbel(start=1.0, end=1.0, gradient="score")
    relaxation.init({"cell": choice})
    relaxation.restrict({"cell": torch.tensor([[True, True, True], [True, True, False], [False, False, False]])})
    logits = torch.randn(3, 3, generator=seeded(0), dtype=torch.float64).requires_grad_()
    values = torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)
    weights = relaxation({"cell": logits}, generator=seeded(2))["cell"]
    assert weights.sum(dim=1).tolist() == [1.0, 1.0, 0.0]
    (gradient,) = torch.autograd.grad((values * weights).sum(), logits)
    p = torch.softmax(logits.detach().masked_fill(~choice.mask, -torch.inf), dim=1)
    expected = (values * weights.detach()).sum(dim=1, keepdim=True) * (weights.detach() - p)
    expected[2] = 0
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(3, dtype=torch.float64))
    active = relaxation.active({"cell": weights})["cell"]
    assert torch.equal(active, weights.detach() > 0)


def test_the_mean_over_draws_is_the_gradient_of_the_expected_loss():
    choice = Choice("cell", "op", (("a", "b", "c"),) * 2, (0, 1), (3, 3))
    relaxation, rng = Gumbel(start=1.0, end=1.0, gradient="score"), seeded(0)
    relaxation.init({"cell": choice})
    logits = torch.tensor([[0.5, -0.3, 0.1], [0.0, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]], dtype=torch.float64)
    loss = sum((values * relaxation({"cell": logits}, generator=rng)["cell"]).sum() for _ in range(4000)) / 4000
    (found,) = torch.autograd.grad(loss, logits)
    (expected,) = torch.autograd.grad((values * torch.softmax(logits, dim=1)).sum(), logits)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    assert expected.abs().max() > 0.2
