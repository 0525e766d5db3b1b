"""No perturbation."""

import torch

from cases import build_space, random_mixing
from nas_lightning.perturbations import Identity


def test_mixing_comes_back_as_it_is_without_a_forward_pass():
    space = build_space("s2")
    mixing = random_mixing(space)
    copies = {name: value.clone() for name, value in mixing.items()}

    def loss(_):
        raise AssertionError("nothing to attack")

    state = torch.random.get_rng_state()
    perturbed = Identity()(mixing, loss, space.choices, 0.3, None, loss)
    assert perturbed is mixing
    assert all(torch.equal(mixing[name], copies[name]) for name in copies)
    assert torch.equal(state, torch.random.get_rng_state())


def test_epsilon_is_zero_at_every_epoch():
    assert [Identity().epsilon(epoch, 50) for epoch in (0, 25, 49)] == [0.0, 0.0, 0.0]
