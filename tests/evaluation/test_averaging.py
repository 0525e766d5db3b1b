"""SGD that averages its weights from some step on: against torch's two optimizers and an average by hand."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from nas_lightning.evaluation.averaging import AveragedSgd, stalled


def weights_of(seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, dtype=dtype, generator=rng)) for shape in ((3, 4), (5,))]


def gradients(step, weights):
    """Set gradients that depend on the weights, so that an error in a step shows in the next."""
    rng = torch.Generator().manual_seed(step)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, dtype=weight.dtype, generator=rng) + 0.1 * weight.detach().sin()


def steps(optimizer, weights, rates, first=0):
    """Take a step at each rate; return the weights after each."""
    taken = []
    for number, rate in enumerate(rates, first):
        gradients(number, weights)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        taken.append([weight.detach().clone() for weight in weights])
    return taken


def averages(optimizer, weights):
    return [optimizer.state[weight]["average"].clone() for weight in weights]


LOSSES = [9.0, 7.0, 6.0, 5.5, 5.6, 5.4, 5.7, 5.8, 5.3, 5.5, 5.5, 5.5, 5.5, 5.5]


def test_averaging_begins_when_a_loss_exceeds_the_least_of_all_but_the_last_ones():
    """With a patience of five, the loss of epoch 11 is the first above the least of those more than five before it."""
    assert [stalled(LOSSES[:epoch], LOSSES[epoch], 5) for epoch in range(14)] == [False] * 11 + [True] * 3
    assert not stalled(LOSSES, 5.3, 5)  # equal to the least is not above it
    assert stalled([1.0, 2.0], 1.5, 1)
    assert not stalled([1.0], 9.0, 1)  # nothing but the last one to compare with
    assert stalled([3.0], 4.0, 0)


def test_before_averaging_it_is_plain_sgd():
    ours, theirs = weights_of(), weights_of()
    optimizer = AveragedSgd(ours, lr=0.5, weight_decay=0.01)
    found = steps(optimizer, ours, [0.5, 0.2, 0.4])
    expected = steps(torch.optim.SGD(theirs, lr=0.5, weight_decay=0.01), theirs, [0.5, 0.2, 0.4])
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert not optimizer.averaging
    optimizer.exchange()  # no averages yet
    assert all(torch.equal(weight, last) for weight, last in zip(ours, found[-1], strict=True))


@pytest.mark.parametrize("rates", [[0.5] * 7, [1.0, 0.5, 0.25, 1.0, 0.3, 0.7, 0.2]])
def test_released_steps_and_averages_are_those_of_torch(rates):
    """With rates that change only the released variant agrees: torch takes the rate of the step before, in float32."""
    ours, theirs = weights_of(), weights_of()
    optimizer = AveragedSgd(ours, lr=rates[0], weight_decay=0.01, compat="released")
    optimizer.begin_averaging()
    torchs = torch.optim.ASGD(theirs, lr=rates[0], t0=0, lambd=0.0, weight_decay=0.01)
    torch.testing.assert_close(steps(optimizer, ours, rates), steps(torchs, theirs, rates), rtol=1e-6, atol=1e-6)
    expected = [torchs.state[weight]["ax"] for weight in theirs]
    torch.testing.assert_close(averages(optimizer, ours), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("compat", "taken"), [("none", [1, 0.5, 0.25, 1]), ("released", [1, 1, 0.5, 0.25])])
def test_rates_are_taken_when_they_are_set(compat, taken):
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = AveragedSgd([weight], lr=1.0, compat=compat)
    optimizer.begin_averaging()
    places = [0.0]
    for rate in (1, 0.5, 0.25, 1):
        weight.grad = torch.ones_like(weight)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        places.append(weight.item())
    assert [before - after for before, after in pairwise(places)] == taken


def test_the_average_is_the_mean_of_all_weights_but_the_first():
    weights = weights_of()
    optimizer = AveragedSgd(weights, lr=0.3)
    steps(optimizer, weights, [0.3] * 4)
    optimizer.begin_averaging()
    taken = steps(optimizer, weights, [0.3, 0.1, 0.2, 0.3, 0.3], first=4)
    for place, average in enumerate(averages(optimizer, weights)):
        torch.testing.assert_close(
            average, torch.stack([step[place] for step in taken[1:]]).mean(0), rtol=1e-13, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_averages_are_exchanged_and_back_to_the_bit(dtype):
    weights = weights_of(dtype=dtype)
    optimizer = AveragedSgd(weights, lr=0.3)
    optimizer.begin_averaging()
    steps(optimizer, weights, [0.3] * 5)
    before, means = [weight.detach().clone() for weight in weights], averages(optimizer, weights)

    def validate():
        assert all(torch.equal(weight, mean) for weight, mean in zip(weights, means, strict=True))
        assert not torch.equal(weights[0], before[0])
        raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"), optimizer.averaged():  # given back after an error, too
        validate()
    assert all(torch.equal(weight, kept) for weight, kept in zip(weights, before, strict=True))
    assert all(torch.equal(one, mean) for one, mean in zip(averages(optimizer, weights), means, strict=True))


@pytest.mark.parametrize("compat", ["none", "released"])
@pytest.mark.parametrize("cut", [2, 6])
def test_a_saved_state_goes_on_to_the_bit(compat, cut):
    rates = [0.5, 0.2, 0.4, 0.1, 0.3, 0.5, 0.2, 0.4]

    def run(optimizer, weights, part, first):
        for number, rate in enumerate(part, first):
            if number == 4:
                optimizer.begin_averaging()
            steps(optimizer, weights, [rate], number)

    whole = weights_of()
    straight = AveragedSgd(whole, lr=0.5, weight_decay=0.01, compat=compat)
    run(straight, whole, rates, 0)

    first = weights_of()
    optimizer = AveragedSgd(first, lr=0.5, weight_decay=0.01, compat=compat)
    run(optimizer, first, rates[:cut], 0)
    second = [nn.Parameter(weight.detach().clone()) for weight in first]
    resumed = AveragedSgd(second, lr=0.5, weight_decay=0.01, compat=compat)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.averaging == (cut > 4)
    run(resumed, second, rates[cut:], cut)
    assert all(torch.equal(one, other) for one, other in zip(whole, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(averages(straight, whole), averages(resumed, second), strict=True))


def test_weights_without_a_gradient_stay_and_are_averaged():
    weights = weights_of()
    optimizer = AveragedSgd(weights, lr=0.3, weight_decay=0.1)
    optimizer.begin_averaging()
    weights[0].grad = torch.ones_like(weights[0])
    kept = weights[1].detach().clone()
    optimizer.step()
    assert torch.equal(weights[1], kept)
    assert torch.equal(optimizer.state[weights[1]]["average"], kept)
