"""The attack against a plain loop on a real supernet, and against losses whose answer is known."""

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.nn.functional import cross_entropy

from cases import block_space, build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core.functional import evaluating, frozen_batch_stats
from nas_lightning.perturbations import Adversarial, Random, adversarial
from nas_lightning.relaxations import Softmax
from perturbations_reference import CHOICES, RAGGED, check_simplex, mixture, projected

MODES = {"eval": evaluating, "train": frozen_batch_stats}
TARGETS = torch.tensor([0, 1, 2, 1])


def same(tensors):
    return tensors


def attack(mixing, loss, epsilon, seed=0, reduce=same, **arguments):
    return Adversarial(**arguments)(mixing, loss, CHOICES, epsilon, seeded(seed), reduce)


def is_clean(found, mixing):
    """To the bit."""
    return found.keys() == mixing.keys() and all(torch.equal(found[name], mixing[name]) for name in mixing)


def distance(mixing):
    """A convex loss, lowest at `mixing`."""
    return lambda point: (point["ragged"] - mixing["ragged"]).square().sum()


class Case:
    """A tiny supernet whose running statistics are no longer those of the start, and its softmax mixing weights."""

    def __init__(self, name="s3", dtype=torch.float64):
        self.space = build_space(name)
        self.net = tiny_supernet(self.space, layers=3).to(dtype)
        self.inputs = images().to(dtype)
        softmax = Softmax(init_std=0.5)
        arch = softmax.init(self.space.choices, seeded(3))
        self.mixing = softmax({choice: logits.to(dtype) for choice, logits in arch.items()})
        for seed in range(6):
            self.net(images(seed=seed).to(dtype), self.mixing)

    def loss(self, point, net=None):
        return cross_entropy((net or self.net)(self.inputs, point), TARGETS)

    def attack(self, epsilon, seed=0, mode="eval", loss=None, **arguments):
        part = Adversarial(pgd_bn_mode=mode, **arguments)
        with MODES[part.bn_mode](self.net):
            return part(self.mixing, loss or self.loss, self.space.choices, epsilon, seeded(seed), same)


def plain_attack(case, net, start, epsilon, steps):
    """The released procedure from a given start, by backward() on the mixing weights; also the loss at its end."""
    point = start
    for _ in range(steps):
        leaves = {name: weights.clone().requires_grad_() for name, weights in point.items()}
        case.loss(leaves, net).backward()
        point = {}
        for name, leaf in leaves.items():
            clean, choice, start_of_step = case.mixing[name], case.space.choices[name], leaf.detach()
            raw = torch.zeros_like(clean)
            for row, options in enumerate(choice.options):
                for column in range(len(options)):
                    slope = float(leaf.grad[row, column])
                    value = float(start_of_step[row, column]) + 2 * epsilon / steps * ((slope > 0) - (slope < 0))
                    centre = float(clean[row, column])
                    raw[row, column] = centre + min(epsilon, max(-epsilon, value - centre))
            point[name] = projected(raw, choice)
    return point, float(case.loss(point, net).detach())


@pytest.mark.parametrize(
    ("mode", "epsilon", "steps"),
    [pytest.param("eval", 0.1, 7, marks=pytest.mark.slow), ("train", 0.1, 7), ("eval", 0.4, 3)],
)
def test_attack_matches_the_plain_loop(mode, epsilon, steps):
    case = Case()
    net = copy.deepcopy(case.net).train(mode == "train")  # may move its buffers: it is thrown away
    seen = []

    def recording(point):
        seen.append({name: weights.detach().clone() for name, weights in point.items()})
        return case.loss(point)

    found = case.attack(epsilon, mode=mode, steps=steps, loss=recording)
    assert len(seen) == steps + 2  # clean, start and the points after each step
    start = Random()(case.mixing, case.loss, case.space.choices, epsilon, seeded(0), same)
    for name, clean in case.mixing.items():
        assert torch.equal(seen[0][name], clean)
        assert torch.equal(seen[1][name], start[name])
    expected, loss = plain_attack(case, net, start, epsilon, steps)
    assert loss > float(case.loss(case.mixing, net).detach())  # the attack is one that succeeds
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-10, atol=1e-12)
        check_simplex(found[name], case.space.choices[name])


def test_inputs_and_outputs_are_attacked_like_operations():
    case = Case()
    case.space = block_space("nasbench1shot1_1")
    torch.manual_seed(0)
    case.net = case.space.supernet(3, 3, 2, 1).double()
    case.mixing = random_mixing(case.space)
    kinds = ["op", "input", "output"]
    net = copy.deepcopy(case.net).train()
    start = Random(kinds=kinds)(case.mixing, case.loss, case.space.choices, 0.1, seeded(0), same)
    expected, loss = plain_attack(case, net, start, 0.1, 7)
    assert loss > float(case.loss(case.mixing, net).detach())
    found = case.attack(0.1, mode="train", kinds=kinds)
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-10, atol=1e-12)
    only = case.attack(0.1, mode="train")
    assert torch.equal(only["inputs"], case.mixing["inputs"])
    assert not torch.equal(only["ops"], case.mixing["ops"])


@pytest.mark.parametrize("mode", MODES)
def test_buffers_and_gradients_stay_bit_identical(mode):
    case = Case()
    before = copy.deepcopy(case.net.state_dict())
    case.attack(0.3, mode=mode)
    assert all(torch.equal(value, before[name]) for name, value in case.net.state_dict().items())
    assert all(weight.grad is None for weight in case.net.parameters())
    assert all(module.training for module in case.net.modules())


@pytest.mark.parametrize("epsilon", [0.01, *(pytest.param(e, marks=pytest.mark.slow) for e in (0.1, 0.5))])
def test_loss_is_never_below_the_clean_one(epsilon):
    case = Case()
    with evaluating(case.net), torch.no_grad():
        clean = case.loss(case.mixing)
    gains = []
    for seed in range(4):
        found = case.attack(epsilon, seed=seed, steps=3)
        with evaluating(case.net), torch.no_grad():
            gains.append(float(case.loss(found) - clean))
    assert min(gains) >= 0
    assert max(gains) > 0


def test_weights_learn_after_an_attack_under_autocast():
    """Autocast keeps its copies of the weights, and those of a pass without gradients must not serve the step."""
    case = Case(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        case.attack(0.3, mode="train", steps=1)
        loss = case.loss(case.mixing)
    loss.backward()
    assert all(weight.grad is not None for weight in case.net.parameters())


@pytest.mark.parametrize("epsilon", [0.03, 0.3])
def test_changes_stay_within_the_radius_before_projection(monkeypatch, epsilon):
    rows = []
    original = adversarial.onto_simplex
    monkeypatch.setattr(adversarial, "onto_simplex", lambda raw, mask: rows.append(raw) or original(raw, mask))
    mixing = mixture()
    found = attack(mixing, distance(mixing), epsilon)
    check_simplex(found["ragged"], RAGGED)
    changes = (torch.stack(rows) - mixing["ragged"]).abs()
    assert len(rows) == 7
    assert changes.max() <= epsilon + 1e-12
    assert changes.max() >= epsilon - 1e-12  # seven steps of 2ε/7 reach the border


@pytest.mark.parametrize("epsilon", [0.03, 0.3, 1.5])
def test_a_convex_loss_rises(epsilon):
    """Always above the clean loss, and on average above that of the random start."""
    gains = []
    for seed in range(50):
        mixing = mixture(seed)
        loss = distance(mixing)
        found = attack(mixing, loss, epsilon, seed)
        assert loss(found) > loss(mixing)
        gains.append(loss(found) - loss(Random()(mixing, loss, CHOICES, epsilon, seeded(seed), same)))
    # Not one by one: a step that ends outside of the simplex is scaled back, which may cost what it gained.
    assert sum(gains) > 0


@pytest.mark.parametrize("bad", ["lower", "nan at the end", "nan"])
def test_a_failed_attack_keeps_the_clean_weights(bad):
    mixing = mixture()
    away = distance(mixing)
    losses = {
        "lower": lambda point: -away(point),
        "nan at the end": lambda point: torch.where(away(point) == 0, away(point), torch.nan * away(point)),
        "nan": lambda point: away(point) * torch.nan,
    }
    assert is_clean(attack(mixing, losses[bad], 0.3), mixing)


def test_an_equal_loss_keeps_the_perturbation():
    """As released: only a loss below the clean one is a failure. Without any gradient the start remains."""
    mixing = mixture()
    found = attack(mixing, lambda point: 0 * point["ragged"].sum(), 0.03)
    start = Random()(mixing, same, CHOICES, 0.03, seeded(0), same)["ragged"]
    for _ in range(7):
        start = projected(mixing["ragged"] + (start - mixing["ragged"]).clamp(-0.03, 0.03), RAGGED)
    torch.testing.assert_close(found["ragged"], start, rtol=1e-12, atol=1e-14)
    assert not torch.equal(found["ragged"], mixing["ragged"])


def test_a_choice_that_the_loss_does_not_see():
    space = build_space("s3")
    mixing = {name: choice.uniform().double() for name, choice in space.choices.items()}
    part = Adversarial()
    found = part(mixing, lambda point: point["normal"][:, 0].sum(), space.choices, 0.1, seeded(0), same)
    for name, weights in found.items():
        check_simplex(weights, space.choices[name])
    assert (found["normal"][:, 0] > mixing["normal"][:, 0]).all()


def test_edges_pass_through_into_the_loss_and_out():
    mixing = mixture()
    seen = []
    away = distance(mixing)
    found = attack(mixing, lambda point: seen.append(point["edges"]) or away(point), 0.3)
    assert found["edges"] is mixing["edges"]
    assert all(edges is mixing["edges"] for edges in seen)
    assert len(seen) == 9


def test_no_radius_is_no_change_no_draw_and_no_forward_pass():
    mixing = mixture()
    rng = seeded(0)
    before = rng.get_state()

    def loss(_):
        raise AssertionError("nothing to attack")

    assert Adversarial()(mixing, loss, CHOICES, 0.0, rng, loss) is mixing
    assert torch.equal(rng.get_state(), before)


def test_draws_follow_the_generator():
    mixing = mixture()
    state = torch.random.get_rng_state()
    found = [attack(mixing, distance(mixing), 0.3, seed)["ragged"] for seed in range(4)]
    assert torch.equal(attack(mixing, distance(mixing), 0.3, 0)["ragged"], found[0])
    assert any(not torch.equal(found[0], other) for other in found[1:])
    assert torch.equal(state, torch.random.get_rng_state())


def test_processes_decide_alike():
    """One process alone would give up and the other go elsewhere; together they attack the mean of their losses."""
    mixing = mixture(1)
    away = distance(mixing)
    slope = torch.randn(3, 4, generator=seeded(8), dtype=torch.float64)
    losses = [
        lambda point: -2 * away(point),
        lambda point: 3 * away(point) + ((point["ragged"] - mixing["ragged"]) * slope).sum(),
    ]
    barrier, sent = Barrier(2, timeout=20), {}

    def process(rank):
        def reduce(tensors):
            sent[rank] = [tensor.clone() for tensor in tensors]
            barrier.wait()
            mean = [(a + b) / 2 for a, b in zip(sent[0], sent[1], strict=True)]
            barrier.wait()
            return mean

        return attack(mixing, losses[rank], 0.2, reduce=reduce)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(process, range(2))
    alone = [attack(mixing, loss, 0.2) for loss in losses]
    together = attack(mixing, lambda point: (losses[0](point) + losses[1](point)) / 2, 0.2)
    assert torch.equal(first["ragged"], second["ragged"])
    torch.testing.assert_close(first["ragged"], together["ragged"], rtol=1e-12, atol=1e-14)
    assert is_clean(alone[0], mixing)
    assert not torch.allclose(alone[1]["ragged"], together["ragged"])
    assert not is_clean(together, mixing)


def test_mode_of_batch_normalisation_is_an_argument():
    assert [Adversarial().bn_mode, Adversarial(pgd_bn_mode="train").bn_mode] == ["eval", "train"]
    case = Case()
    found = {mode: case.attack(0.1, mode=mode) for mode in MODES}
    assert any(not torch.equal(found["eval"][name], found["train"][name]) for name in case.mixing)
