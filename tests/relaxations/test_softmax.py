"""The softmax relaxation against exponentials, row by row."""

import math

import pytest
import torch

from cases import SPACES, build_space, seeded
from nas_lightning.relaxations import Softmax
from nas_lightning.spaces import Choice

RAGGED = {"cell": Choice("cell", "op", (("a", "b", "c"), ("a",), ("a", "b")), (0, 1, 2), (3, 3, 3))}


def by_hand(logits, choice):
    rows = []
    for row, options in zip(logits.tolist(), choice.options, strict=True):
        powers = [math.exp(value) for value in row[: len(options)]]
        powers += [0.0] * (choice.num_options - len(options))
        rows.append([power / sum(powers) for power in powers])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("choices", [build_space(name).choices for name in SPACES] + [RAGGED])
def test_against_exponentials(choices):
    relaxation = Softmax()
    arch = relaxation.init(choices, seeded(0))
    large = {
        name: torch.randn(value.shape, generator=seeded(1), dtype=torch.float64) * 3 for name, value in arch.items()
    }
    mixing = relaxation(large, epoch=7)
    for name, choice in choices.items():
        assert arch[name].shape == (choice.num_rows, choice.num_options)
        torch.testing.assert_close(mixing[name], by_hand(large[name], choice), rtol=0, atol=1e-14)
        assert mixing[name][~choice.mask].eq(0).all()
    mean = relaxation.mean(large)
    assert all(torch.equal(mean[name], mixing[name]) for name in mixing)
    assert relaxation.active(mixing) is None
    assert relaxation.penalty(large) is None


def test_a_later_space_forgets_the_masks_of_the_first():
    relaxation = Softmax()
    relaxation.init(RAGGED)
    full = {"cell": Choice("cell", "op", (("a", "b"),), (0,), (1,))}
    mixing = relaxation(relaxation.init(full))
    assert mixing["cell"].gt(0.4).all()


def test_logits_start_as_small_gaussian_noise():
    choices = build_space("darts").choices
    values = torch.cat([Softmax().init(choices, seeded(seed))["normal"].flatten() for seed in range(100)])
    n = values.numel()
    assert abs(values.mean().item()) < 4.5e-3 / math.sqrt(n)
    assert abs(values.std().item() - 1e-3) < 4.5e-3 / math.sqrt(2 * n)
    first, again, other = (Softmax().init(choices, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first["reduce"], again["reduce"])
    assert not torch.equal(first["reduce"], other["reduce"])
    assert not torch.equal(first["normal"], first["reduce"])
    wide = Softmax(init_std=0.5).init(choices, seeded(0))
    torch.testing.assert_close(wide["normal"], 500 * first["normal"])
    assert Softmax(init_std=0).init(choices)["normal"].eq(0).all()


@pytest.mark.parametrize("choices", [build_space("s3").choices, RAGGED], ids=["s3", "ragged"])
def test_gradient_is_the_jacobian_of_the_softmax(choices):
    relaxation = Softmax(init_std=1.0)
    arch = {name: value.double().requires_grad_() for name, value in relaxation.init(choices, seeded(0)).items()}
    up = {name: torch.randn(value.shape, generator=seeded(2), dtype=torch.float64) for name, value in arch.items()}
    sum((relaxation(arch)[name] * up[name]).sum() for name in arch).backward()
    for name, choice in choices.items():
        for row in range(choice.num_rows):
            p = by_hand(arch[name].detach(), choice)[row]
            for j in range(choice.num_options):
                # Σ_i u_i p_i (δ_ij - p_j)
                expected = sum(up[name][row, i] * p[i] * (float(i == j) - p[j]) for i in range(choice.num_options))
                torch.testing.assert_close(arch[name].grad[row, j], expected, rtol=0, atol=1e-12)
        assert arch[name].grad.isfinite().all()
