"""The optimizers of recipes against their formulas, in float64 without torch's optimizers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import nas_lightning as nl
from nas_lightning.evaluation.optimizers import groups_of
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.rmsprop import RmsProp


def recipe_of(**values):
    return Recipe(
        **{"name": "test", "epochs": 2, "batch_size": 4, "init_channels": 4, "layers": 3, "lr": 0.1, **values}
    )


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)).double()


def gradients(weights, steps=4):
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights] for _ in range(steps)]


def descended(recipe, rates):
    """Weights after steps of the recipe's optimizer with given gradients; the rate changes on the way."""
    weights = list(network().parameters())
    optimizer = recipe.build_optimizer(weights)
    for rate, grads in zip(rates, gradients(weights), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad.clone()
        optimizer.step()
    return [weight.detach().numpy() for weight in weights]


def sgd(w, m, s, g, lr, step, decay):
    g = g + decay * w
    m = 0.8 * m + g if step else g
    return w - lr * m, m, s


def rmsprop(w, m, s, g, lr, step, decay):
    """TensorFlow's: the average starts at 1, ε under the root, the rate inside the momentum."""
    g = g + decay * w
    s = (np.ones_like(w) if step == 0 else s) * 0.7 + 0.3 * g**2
    m = 0.8 * m + lr * g / np.sqrt(s + 0.05)
    return w - m, m, s


def adamw(w, m, s, g, lr, step, decay):
    w = w - lr * decay * w
    m, s = 0.8 * m + 0.2 * g, 0.7 * s + 0.3 * g**2
    return w - lr * (m / (1 - 0.8 ** (step + 1))) / (np.sqrt(s / (1 - 0.7 ** (step + 1))) + 0.05), m, s


@pytest.mark.parametrize("decay", ["all", "kernels"])
@pytest.mark.parametrize("formula", [sgd, rmsprop, adamw])
def test_optimizers_follow_their_formulas(formula, decay):
    recipe = recipe_of(optimizer=formula.__name__, momentum=0.8, rho=0.7, epsilon=0.05, weight_decay=0.2, decay=decay)
    rates = [0.1, 0.05, 0.2, 0.02]
    weights = [w.detach().numpy() for w in network().parameters()]
    grads = gradients([torch.from_numpy(w) for w in weights])
    for w, found, row in zip(weights, descended(recipe, rates), range(len(weights)), strict=True):
        m = s = np.zeros_like(w)
        coefficient = 0.2 if decay == "all" or w.ndim > 1 else 0.0
        for step, rate in enumerate(rates):
            w, m, s = formula(w, m, s, grads[step][row].numpy(), rate, step, coefficient)
        np.testing.assert_allclose(found, w, rtol=1e-12, atol=1e-14)


def test_rmsprop_by_hand():
    """One weight of 1, gradient 2, ρ = 0.9, ε = 0.001: 0.9 + 0.1 · 4 = 1.3; torch's own would take 3.16·lr."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    weight.grad = torch.tensor([2.0], dtype=torch.float64)
    RmsProp([weight], lr=0.1).step()
    assert weight.item() == pytest.approx(1 - 0.1 * 2 / 1.301**0.5, rel=1e-12)


def test_a_weight_without_gradient_stays_and_a_state_continues():
    first, second = network(), network()
    optimizers = [RmsProp(one.parameters(), lr=0.1) for one in (first, second)]
    frozen = next(first.parameters()).clone()
    steps = gradients(list(first.parameters()))

    def take(optimizer, weights, number):
        for weight, grad in list(zip(weights, steps[number], strict=True))[1:]:
            weight.grad = grad.clone()
        optimizer.step()

    for number in range(4):
        take(optimizers[0], first.parameters(), number)
    for number in range(2):
        take(optimizers[1], second.parameters(), number)
    state = copy.deepcopy(optimizers[1].state_dict())
    third = RmsProp(second.parameters(), lr=9.0)
    third.load_state_dict(state)
    for number in range(2, 4):
        take(third, second.parameters(), number)
    assert torch.equal(next(first.parameters()), frozen)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_which_weights_decay():
    weights = dict(network().named_parameters())
    (kept, still) = groups_of(list(weights.values()), 0.1, "kernels")
    names = {id(weight): name for name, weight in weights.items()}
    assert [names[id(w)] for w in kept["params"]] == ["0.weight", "3.weight"]
    assert [names[id(w)] for w in still["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert (kept["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    assert len(groups_of(list(weights.values()), 0.1, "all")) == 1
    assert len(groups_of(list(weights.values()), 0.0, "kernels")) == 1


@pytest.mark.parametrize(("optimizer", "rho", "eps"), [("rmsprop", 0.9, 1e-3), ("adamw", 0.999, 1e-8)])
def test_values_that_a_recipe_leaves_out(optimizer, rho, eps):
    (group,) = recipe_of(optimizer=optimizer).build_optimizer(list(network().parameters())).param_groups
    assert (group["rho"] if optimizer == "rmsprop" else group["betas"][1], group["eps"]) == (rho, eps)


def test_nesterov_is_of_sgd():
    with pytest.raises(nl.ConfigError, match=r"evaluation\.nesterov=true: evaluation\.optimizer=adamw .* use "):
        recipe_of(optimizer="adamw", nesterov=True)
