"""Magnitude selection: softmax strengths with `none` in their denominator."""

import math

import pytest
import torch

from cases import SPACES, build_space, seeded
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import Magnitude


def by_hand(choice, logits):
    """Section 1.5 of the specification with math.exp: pick the strongest edge twice, lowest source at ties."""
    edges = []
    for node in sorted(set(choice.nodes)):
        left = {}
        for row, target in enumerate(choice.nodes):
            if target == node:
                powers = {op: math.exp(v) for op, v in zip(choice.options[row], logits[row].tolist(), strict=True)}
                total = sum(powers.values())
                powers.pop("none", None)
                best = max(powers, key=powers.get)
                left[choice.sources[row]] = (powers[best] / total, best)
        for _ in range(2):
            source = max(left, key=lambda s: left[s][0])
            edges.append((node, left.pop(source)[1], source))
    return tuple(edges)


@pytest.mark.parametrize("name", SPACES)
def test_against_exponentials(name):
    space, relaxation = build_space(name), Softmax()
    for seed in range(10):
        arch = {
            key: torch.randn(value.shape, generator=seeded(seed), dtype=torch.float64) * 2
            for key, value in relaxation.init(space.choices).items()
        }
        found = Magnitude()(space, relaxation.mean(arch))
        assert found.cells == {key: by_hand(choice, arch[key]) for key, choice in space.choices.items()}
        assert found.space == name


def test_the_mass_of_none_weakens_an_edge():
    space, relaxation = build_space("s3"), Softmax()
    arch = {key: torch.zeros(14, 3) for key in relaxation.init(space.choices)}
    arch["normal"][9:, 2] = torch.tensor([1.0, 0.9, 0.5, 0.4, 0.3])  # sep_conv_3x3 into node 5
    assert Magnitude()(space, relaxation.mean(arch)).cells["normal"][-2:] == (
        (5, "sep_conv_3x3", 0),
        (5, "sep_conv_3x3", 1),
    )
    arch["normal"][9, 0] = 3.0  # the strongest logit stands beside a strong `none`
    assert Magnitude()(space, relaxation.mean(arch)).cells["normal"][-2:] == (
        (5, "sep_conv_3x3", 1),
        (5, "sep_conv_3x3", 2),
    )


def test_the_mean_of_the_relaxation_is_what_counts():
    class Reversed(Softmax):
        def mean(self, arch):
            return {key: -value for key, value in self(arch).items()}

    space = build_space("s2")
    arch = {key: torch.tensor([[2.0, 1.0]]).repeat(14, 1) for key in space.choices}
    plain = Magnitude()(space, Softmax().mean(arch))
    assert {op for _, op, _ in plain.cells["normal"]} == {"skip_connect"}
    turned = Magnitude()(space, Reversed().mean(arch))
    assert {op for _, op, _ in turned.cells["normal"]} == {"sep_conv_3x3"}
