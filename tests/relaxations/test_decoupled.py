"""Two relaxations in one: which of them a step sees."""

import pytest
import torch

from cases import build_space, seeded
from nas_lightning.relaxations import Decoupled, Dirichlet, Gumbel, Softmax, Uniform


@pytest.mark.parametrize("name", ["s1", "s3"])
def test_each_step_sees_its_own(name):
    choices = build_space(name).choices
    both, path, smooth = Decoupled(Uniform(none=False), Softmax(init_std=0.5)), Uniform(none=False), Softmax(0.5)
    path.init(choices)
    arch, alone = both.init(choices, seeded(0)), smooth.init(choices, seeded(0))
    assert all(torch.equal(arch[key], alone[key]) for key in choices)

    mixing, expected = both(arch, 3, seeded(1)), smooth(arch, 3, seeded(1))
    assert all(torch.equal(mixing[key], expected[key]) for key in choices)
    assert both.active(mixing) is None
    mean = both.mean(arch)
    assert all(torch.equal(mean[key], expected[key]) for key in choices)
    assert both.active(mean) is None
    assert both.penalty(arch) is None

    mixing, expected = both.in_weight_step(arch, 3, seeded(1)), path(arch, 3, seeded(1))
    assert all(torch.equal(mixing[key], expected[key]) for key in choices)
    active = both.active(mixing)
    assert all(torch.equal(active[key], mixing[key] == 1) for key in choices)


def test_the_architecture_learns_and_the_weights_do_not_ask_it():
    choices = build_space("s3").choices
    both = Decoupled(Uniform(), Softmax())
    arch = {key: value.requires_grad_() for key, value in both.init(choices, seeded(0)).items()}
    assert all(value.requires_grad for value in both(arch, 0, seeded(1)).values())
    assert not any(value.requires_grad for value in both.in_weight_step(arch, 0, seeded(1)).values())


def test_other_pairs():
    choices = build_space("s3").choices
    both = Decoupled(Dirichlet(), Gumbel(end=10.0))  # a mixture for the weights, single operations for the architecture
    arch = both.init(choices, seeded(0))
    mixing = both(arch, 0, seeded(1))
    assert all(torch.equal(both.active(mixing)[key], mixing[key] == 1) for key in choices)
    assert both.active(both.in_weight_step(arch, 0, seeded(1))) is None
    assert both.active(both.mean(arch)) is None
    anchored = Decoupled(Uniform(), Dirichlet(anchor="kl", strength=2.0))
    arch = anchored.init(choices, seeded(0))
    assert torch.equal(anchored.penalty(arch), anchored.arch.penalty(arch))
