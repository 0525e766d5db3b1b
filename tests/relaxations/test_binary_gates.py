"""Binary gates against enumeration in float64: draws, gradients, the shift of two paths; and what is computed."""

from itertools import combinations

import pytest
import torch

import nas_lightning as nl
from cases import images, seeded
from layered_toy import SMALLEST, toy, toy_supernet
from nas_lightning.core.choices import Choice
from nas_lightning.relaxations import BinaryGates
from nas_lightning.relaxations.binary_gates import drawn
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import epoch_checkpoints

ROW = Choice("row", "op", (("a", "b", "none", "d"),), (0,), (1,), none_selectable=True)
LOGITS = torch.tensor([[0.4, -0.8, 1.1, 0.1]], dtype=torch.float64)
OUTPUTS = torch.tensor([1.5, -0.7, 0.0, 2.0], dtype=torch.float64)
"""Outputs of the four operations, of which the loss (y − 1)² is a function."""


def gates(**values):
    part = BinaryGates(**values)
    part.init({"row": ROW})
    return part


def many_rows(number, **values):
    """The same row many times over, to draw all of them at once."""
    part = BinaryGates(**values)
    part.init({"row": Choice("row", "op", ROW.options * number, (0,) * number, (1,) * number, none_selectable=True)})
    return part


def loss_of(weights):
    return ((weights @ OUTPUTS) - 1) ** 2


def pulled(part, generator, logits=LOGITS):
    """Gates, the options that are computed, and the gradient of the logits of one pass."""
    arch = logits.clone().requires_grad_()
    mixing = part({"row": arch}, generator=generator)
    active = part.active(mixing)["row"][0]
    loss_of(mixing["row"][0]).backward()
    return mixing["row"][0].detach(), active, arch.grad[0]


def identity(p, slopes):
    """Σ_j c_j p_j (δ_ij − p_i), term by term."""
    size = len(p)
    return [sum(slopes[j] * p[j] * ((i == j) - p[i]) for j in range(size)) for i in range(size)]


def test_the_gradient_is_that_of_the_gates():
    """c_j = ∂L/∂g_j at the drawn gates, of all options or of the two that are computed."""
    for seed in range(30):
        for paths in ("full", "two"):
            gate, active, found = pulled(gates(paths=paths), seeded(seed))
            involved = active.nonzero()[:, 0].tolist()
            assert len(involved) == (4 if paths == "full" else 2)
            assert sorted(gate.tolist()) == [0, 0, 0, 1]
            assert active[int(gate.argmax())]
            y = float(OUTPUTS[int(gate.argmax())])
            p = torch.softmax(LOGITS[0, involved], 0).tolist()
            expected = torch.zeros(4, dtype=torch.float64)
            slopes = [2 * (y - 1) * float(OUTPUTS[j]) for j in involved]
            expected[involved] = torch.tensor(identity(p, slopes), dtype=torch.float64)
            assert torch.allclose(found, expected, atol=1e-15, rtol=1e-12)
            assert abs(float(found.sum())) < 1e-15


def probability_of_pair(p, a, b):
    """Of drawing a, then b, or b, then a, without replacement."""
    return p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b])


@pytest.mark.parametrize("paths", ["full", "two"])
def test_the_mean_over_draws_is_the_sum_over_all_gates(paths):
    """The closed form: every option, or every pair and each of its two gates, times its probability."""
    p = torch.softmax(LOGITS[0], 0).tolist()
    expected = torch.zeros(4, dtype=torch.float64)
    groups = [((0, 1, 2, 3), 1.0)]
    if paths == "two":
        groups = [((a, b), probability_of_pair(p, a, b)) for a, b in combinations(range(4), 2)]
    for involved, weight in groups:
        share = torch.softmax(LOGITS[0, list(involved)], 0).tolist()
        for chance, option in zip(share, involved, strict=True):
            slopes = [2 * (float(OUTPUTS[option]) - 1) * float(OUTPUTS[j]) for j in involved]
            expected[list(involved)] += weight * chance * torch.tensor(identity(share, slopes), dtype=torch.float64)
    assert sum(weight for _, weight in groups) == pytest.approx(1)
    number, part = 20_000, many_rows(20_000, paths=paths)
    arch = LOGITS.repeat(number, 1).requires_grad_()
    loss_of(part({"row": arch}, generator=seeded(1))["row"]).sum().backward()
    every = arch.grad
    assert ((every.mean(0) - expected).abs() < 5 * every.std(0) / number**0.5).all()
    assert (every.std(0) > 0).all()


def test_draws_have_their_probabilities():
    p = torch.softmax(LOGITS[0], 0)
    rng, rows = seeded(0), LOGITS.repeat(20_000, 1)
    many = drawn(rows, torch.ones(20_000, 4, dtype=torch.bool), 2, rng).double()
    for a, b in combinations(range(4), 2):
        share, expected = float((many[:, a] * many[:, b]).mean()), probability_of_pair(p.tolist(), a, b)
        assert abs(share - expected) < 5 * (expected / 20_000) ** 0.5
    weights = many_rows(20_000).in_weight_step({"row": rows}, generator=rng)["row"]
    assert torch.allclose(weights.mean(0), p, atol=0.02)
    assert not weights.requires_grad


def test_options_that_do_not_take_part_are_never_drawn():
    part = gates()
    for kept, computed in (([False, True, True, False], 2), ([True, False, False, False], 1), ([False] * 4, 0)):
        part.restrict({"row": torch.tensor([kept])})
        for seed in range(10):
            gate, active, _ = pulled(part, seeded(seed))
            assert int(active.sum()) == computed
            assert not (active & ~torch.tensor(kept)).any()
            assert float(gate.sum()) == bool(computed)
            assert part.in_weight_step({"row": LOGITS}, generator=seeded(seed))["row"].sum() == bool(computed)


def test_two_paths_leave_the_mass_of_the_others():
    """Gradient descent on the two, then the shift; released code: log(Σ exp new / Σ exp old)."""
    for seed in range(20):
        _, active, gradient = pulled(gates(), seeded(seed))
        arch = LOGITS - 0.7 * gradient
        unshifted = arch.clone()
        gates().after_step({"row": LOGITS}, {"row": arch})
        before, after = torch.softmax(LOGITS, 1)[0], torch.softmax(arch, 1)[0]
        assert torch.equal(arch[0, ~active], LOGITS[0, ~active])
        assert torch.allclose(after[~active], before[~active], atol=1e-15, rtol=0)
        if not torch.equal(unshifted, LOGITS):
            offset = torch.log(unshifted[0, active].exp().sum() / LOGITS[0, active].exp().sum())
            assert torch.allclose(arch[0, active], unshifted[0, active] - offset, atol=1e-14, rtol=0)
    arch = LOGITS + torch.tensor([[0.1, 0.2, -0.3, 0.4]])
    kept = arch.clone()
    gates(paths="full").after_step({"row": LOGITS}, {"row": arch})
    assert torch.equal(arch, kept)


def test_a_row_at_none_learns_unless_it_is_told_not_to():
    seen = set()
    for seed in range(30):
        gate, _, paper = pulled(gates(), seeded(seed))
        same, _, released = pulled(gates(none_learns=False), seeded(seed))
        assert torch.equal(gate, same)
        at_none = bool(gate[2])
        seen.add(at_none)
        assert torch.equal(released, torch.zeros(4)) if at_none else torch.equal(released, paper)
        assert at_none or paper.any()
    assert seen == {True, False}


@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_only_active_paths_are_computed(residual):
    """Calls of operations are counted: one of each layer in the weight step, two in the architecture step."""
    space = toy(residual=residual)
    supernet, relaxation = toy_supernet(space), BinaryGates()
    arch = {name: value.double() for name, value in relaxation.init(space.choices, seeded(0)).items()}
    calls = []
    for row, layer in enumerate(supernet.layers):
        for option, operation in enumerate(layer.operations):
            operation.register_forward_hook(lambda *_, place=(row, option): calls.append(place))
    for seed in range(5):
        for draw, each in ((relaxation.in_weight_step, 1), (relaxation, 2)):
            calls.clear()
            mixing = draw(arch, generator=seeded(seed))
            supernet(images(), mixing, relaxation.active(mixing))
            assert sorted(row for row, _ in calls) == sorted(list(range(4)) * each)
            assert len(set(calls)) == len(calls)
    calls.clear()
    mean = relaxation.mean(arch)
    assert relaxation.active(mean) is None
    supernet(images(), mean)
    assert len(calls) == int(space.choices["layers"].mask.sum())


def test_the_supernet_gives_the_logits_that_gradient():
    """⟨dL/dy, o_j⟩ by hand: the derivative of the loss by each weight, at the drawn gates."""
    space = toy()
    supernet, relaxation = toy_supernet(space).eval(), BinaryGates()
    relaxation.init(space.choices)
    arch = {"layers": torch.randn(4, 5, generator=seeded(3), dtype=torch.float64).requires_grad_()}
    mixing = relaxation(arch, generator=seeded(4))
    active = relaxation.active(mixing)
    x = images()
    (found,) = torch.autograd.grad(supernet(x, mixing, active).square().sum(), arch["layers"])
    plain = {"layers": mixing["layers"].detach().requires_grad_()}
    (slopes,) = torch.autograd.grad(supernet(x, plain).square().sum(), plain["layers"])  # all options are computed
    for row in range(4):
        two = active["layers"][row].nonzero()[:, 0].tolist()
        p = torch.softmax(arch["layers"][row, two].detach(), 0).tolist()
        expected = torch.zeros(5, dtype=torch.float64)
        expected[two] = torch.tensor(identity(p, slopes[row, two].tolist()), dtype=torch.float64)
        assert torch.allclose(found[row], expected, atol=1e-12, rtol=1e-9)
    assert found.abs().sum() > 0


def test_in_a_search_the_step_moves_two_options_of_a_row(tiny, tmp_path):
    """After each epoch of one step: the other probabilities are those of the epoch before."""
    words = ["space=mobilenet_small", *SMALLEST, "method=proxyless", "task=search", "search.epochs=3"]
    words += ["search.arch.warmup_epochs=0", "search.arch.interval=1", "search.batch_size=20", "search.snapshots=1"]
    nl.search(nl.compose([*tiny, *words, "search.arch.lr=0.3"]), run_dir=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    saved = [
        torch.load(path, weights_only=True)["search"]["arch"]["layers"]
        for _, path in sorted(epoch_checkpoints(folder.checkpoints))
    ]
    assert len(saved) >= 2
    mask = nl.build_space(nl.compose([*tiny, *words])).choices["layers"].mask
    probabilities = [torch.softmax(table.masked_fill(~mask, -torch.inf), 1) for table in saved]
    for before, after, old, new in zip(saved, saved[1:], probabilities, probabilities[1:], strict=False):
        moved = before != after
        assert set(moved.sum(1).tolist()) <= {0, 2}
        assert moved.any()
        assert torch.allclose(new[~moved], old[~moved], atol=1e-6)
