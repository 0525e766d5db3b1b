"""Random smoothing and the schedule of its radius."""

import pytest
import torch

from cases import block_space, build_space, random_mixing, seeded
from nas_lightning.core.errors import ConfigError
from nas_lightning.perturbations import Adversarial, Random, simplex
from perturbations_reference import CHOICES, RAGGED, check_simplex, mixture, projected


def forbidden(_):
    raise AssertionError("no loss and no communication is needed")


def perturb(mixing, choices, epsilon, generator):
    return Random()(mixing, forbidden, choices, epsilon, generator, forbidden)


@pytest.fixture
def raw_rows(monkeypatch):
    """What is handed to the projection, call by call."""
    rows = []
    original = simplex.onto_simplex
    monkeypatch.setattr(simplex, "onto_simplex", lambda raw, mask: rows.append(raw) or original(raw, mask))
    return rows


@pytest.mark.parametrize("name", ["darts", "s1", "s3"])
@pytest.mark.parametrize("epsilon", [0.03, 0.3, 2.0])
def test_result_is_a_mixture(name, epsilon):
    space = build_space(name)
    mixing = random_mixing(space)
    copies = {choice: weights.clone() for choice, weights in mixing.items()}
    found = perturb(mixing, space.choices, epsilon, seeded(1))
    assert list(found) == list(mixing)
    for choice, weights in found.items():
        check_simplex(weights, space.choices[choice])
        assert not torch.equal(weights, mixing[choice])
        assert torch.equal(mixing[choice], copies[choice])


@pytest.mark.parametrize("epsilon", [0.03, 0.3])
def test_noise_is_uniform_and_its_projection_is_the_loops(raw_rows, epsilon):
    mixing = mixture()
    rng = seeded(2)
    for _ in range(400):
        found = perturb(mixing, CHOICES, epsilon, rng)
        check_simplex(found["ragged"], RAGGED)
        torch.testing.assert_close(found["ragged"], projected(raw_rows[-1], RAGGED), rtol=1e-14, atol=1e-15)
    delta = (torch.stack(raw_rows) - mixing["ragged"])[:, RAGGED.mask] / epsilon
    assert len(raw_rows) == 400  # edges are not perturbed
    assert delta.abs().max() <= 1 + 1e-12
    # 2800 numbers: five standard errors of the mean, the variance and the lag-one correlation of U(-1, 1).
    n = delta.numel()
    assert abs(delta.mean()) < 5 / (3 * n) ** 0.5
    assert abs(delta.square().mean() - 1 / 3) < 5 * (4 / 45 / n) ** 0.5
    assert abs((delta.flatten()[1:] * delta.flatten()[:-1]).mean()) < 5 / 3 / n**0.5


def test_edges_pass_through():
    mixing = mixture()
    found = perturb(mixing, CHOICES, 0.3, seeded(0))
    assert found["edges"] is mixing["edges"]
    assert found["ragged"] is not mixing["ragged"]


def test_inputs_and_outputs_are_perturbed_where_that_is_asked_for():
    space = block_space("nasbench1shot1_1")
    mixing = random_mixing(space)
    for kinds in (["op"], ["op", "input"], ["op", "input", "output"], ["output"]):
        found = Random(kinds=kinds)(mixing, forbidden, space.choices, 0.3, seeded(0), forbidden)
        for name, choice in space.choices.items():
            check_simplex(found[name], choice)
            assert torch.equal(found[name], mixing[name]) == (choice.kind not in kinds)


def test_no_radius_is_no_change_and_no_draw():
    mixing = mixture()
    rng = seeded(0)
    before = rng.get_state()
    assert perturb(mixing, CHOICES, 0.0, rng) is mixing
    assert torch.equal(rng.get_state(), before)


def test_draws_follow_the_generator():
    mixing = mixture()
    state = torch.random.get_rng_state()
    first, again, other = (perturb(mixing, CHOICES, 0.3, seeded(seed))["ragged"] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_without_a_generator_the_global_one_is_used():
    mixing = mixture()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = perturb(mixing, CHOICES, 0.3, None)["ragged"]
        second = perturb(mixing, CHOICES, 0.3, None)["ragged"]
    assert torch.equal(first, perturb(mixing, CHOICES, 0.3, seeded(5))["ragged"])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("part", [Random, Adversarial])
def test_schedule(part):
    """The published radius: 0.03 first, 0.165 half-way, 0.2946 in the last of 50 epochs and 0.2973 of 100."""
    assert part().epsilon(0, 50) == pytest.approx(0.03)
    assert part().epsilon(25, 50) == pytest.approx(0.165)
    assert part().epsilon(49, 50) == pytest.approx(0.2946)
    assert part().epsilon(99, 100) == pytest.approx(0.2973)
    assert part(start=0.1, maximum=0.5).epsilon(3, 4) == pytest.approx(0.4)
    assert [part(start=0.2, maximum=0.2).epsilon(epoch, 9) for epoch in range(9)] == [0.2] * 9
    assert [part(start=0.0, maximum=0.0).epsilon(epoch, 9) for epoch in range(9)] == [0.0] * 9


@pytest.mark.parametrize("part", [Random, Adversarial])
def test_a_radius_that_shrinks_is_refused(part):
    with pytest.raises(ConfigError, match=r"perturbation\.maximum=0\.01: .* at least .*=0\.03; use .*=0\.03$"):
        part(maximum=0.01)
