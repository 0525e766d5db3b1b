"""Weighted sums of normalised terms against the formula, term by term, and their gradients against differences."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from cases import seeded
from nas_lightning.core.functional import plain_autograd
from nas_lightning.spaces.matrices import by_hand, image, rows, scaled_sum
from nas_lightning.spaces.norm_statistics import move
from nas_lightning.spaces.normed_sums import Term, normed, normed_sum

BATCH, HEIGHT, WIDTH = 3, 2, 4


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def norms_of(number, channels, training=True):
    """Normalisations in double precision whose running statistics differ."""
    rng, made = seeded(7), []
    for _ in range(number):
        norm = nn.BatchNorm2d(channels, affine=False).double().train(training)
        norm.running_mean.normal_(generator=rng)
        norm.running_var.uniform_(0.5, 2, generator=rng)
        made.append(norm)
    return made


def tensors_of(number, channels_in, channels=None):
    """Weights [K], inputs, and kernels where `channels` of outputs are given; all of them leaves."""
    weights = random(number, seed=1)
    xs = [random(BATCH, channels_in, HEIGHT, WIDTH, seed=10 + k) + 0.3 * k for k in range(number)]
    kernels = [] if channels is None else [random(channels, channels_in, 1, 1, seed=20 + k) for k in range(number)]
    return [x.requires_grad_() for x in (weights, *xs, *kernels)]


def terms_of(norms, tensors):
    weights, *others = tensors
    kernels = others[len(norms) :] or [None] * len(norms)
    return [
        Term(x, norm, weight, kernel)
        for x, norm, weight, kernel in zip(others[: len(norms)], norms, weights.unbind(), kernels, strict=True)
    ]


def by_formula(norms, tensors, relu):
    """Pixel by pixel: Σ_k w_k·(P_k·x_k − μ_k) / √(var_k + ε) as [N, C], and the statistics of the batch."""
    total, statistics = 0, []
    for term in terms_of(norms, tensors):
        z = torch.stack([pixel for picture in term.x for pixel in picture.flatten(1).T])
        if term.pointwise is not None:
            z = z @ term.pointwise[:, :, 0, 0].T
        mean, var = term.norm.running_mean.clone(), term.norm.running_var.clone()
        if term.norm.training:
            mean, var = z.mean(0), z.var(0, unbiased=False)
            statistics.append((mean, z.var(0, unbiased=True)))
        total = total + term.weight * (z - mean) / torch.sqrt(var + term.norm.eps)
    return (total.relu() if relu else total), statistics


CASES = [(1, 3, None), (3, 2, None), (1, 3, 2), (3, 2, 4), (2, 1, 1)]
"""Terms, channels in, channels out where there are kernels."""


@pytest.mark.parametrize("context", [nullcontext, plain_autograd], ids=["by hand", "plain"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_the_formula(case, training, relu, context):
    norms, tensors = norms_of(case[0], case[2] or case[1], training), tensors_of(*case)
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    expected, statistics = by_formula(norms, tensors, relu)
    with context():
        found = normed_sum(terms_of(norms, tensors), relu)
    assert found.shape == (BATCH * HEIGHT * WIDTH, case[2] or case[1])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    slope = random(*found.shape, seed=3)
    gradients = torch.autograd.grad(found, tensors, slope)
    for gradient, other in zip(gradients, torch.autograd.grad(expected, tensors, slope), strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-11)
    for k, norm in enumerate(norms):
        mean, var = before[k]
        if training:
            mean, var = (0.9 * old + 0.1 * new.detach() for old, new in zip(before[k], statistics[k], strict=True))
        torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(norm.running_var, var, rtol=0, atol=1e-12)
        assert norm.num_batches_tracked == int(training)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", [(2, 2, None), (2, 2, 3)])
def test_gradients_and_their_gradients(case, training, relu):
    norms, tensors = norms_of(case[0], case[2] or case[1], training), tensors_of(*case)

    def value(*tensors):
        return normed_sum(terms_of(norms, tensors), relu)

    before_relu = normed_sum(terms_of(norms, tensors))
    assert before_relu.abs().min() > 1e-4  # differences would cross the kink
    assert gradcheck(value, tensors, fast_mode=True)
    assert gradgradcheck(value, tensors, fast_mode=True)


@pytest.mark.parametrize("case", [(2, 2, None), (2, 2, 3)])
def test_gradients_of_some(case):
    """Every set of inputs that want a gradient has the one that it has among all."""
    norms, tensors = norms_of(case[0], case[2] or case[1]), tensors_of(*case)
    slope = random(BATCH * HEIGHT * WIDTH, case[2] or case[1], seed=3)
    every = torch.autograd.grad(normed_sum(terms_of(norms, tensors)), tensors, slope)
    for chosen in range(1, 2 ** len(tensors)):
        wants = [bool(chosen >> k & 1) for k in range(len(tensors))]
        some = [x.detach().requires_grad_(want) for x, want in zip(tensors, wants, strict=True)]
        wanted = [x for x, want in zip(some, wants, strict=True) if want]
        found = iter(torch.autograd.grad(normed_sum(terms_of(norms, some)), wanted, slope))
        for want, expected in zip(wants, every, strict=True):
            if want:
                torch.testing.assert_close(next(found), expected, rtol=0, atol=1e-12)
    assert not normed_sum(terms_of(norms, [x.detach() for x in tensors])).requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_gradients_remember_the_mode_of_the_forward_pass(training):
    norms, tensors = norms_of(2, 2, training), tensors_of(2, 2, 2)
    expected = torch.autograd.grad(by_formula(norms, tensors, True)[0].sin().sum(), tensors, create_graph=True)
    found = normed_sum(terms_of(norms, tensors), relu=True).sin().sum()
    for norm in norms:
        norm.train(not training)
    for create_graph in (False, True):
        gradients = torch.autograd.grad(found, tensors, retain_graph=True, create_graph=create_graph)
        for gradient, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=0, atol=1e-11)


def test_a_weight_of_none_is_one():
    (norm,), x = norms_of(1, 3), random(BATCH, 3, HEIGHT, WIDTH)
    found = normed_sum([Term(x, norm)])
    torch.testing.assert_close(found, normed_sum([Term(x, norm, torch.ones((), dtype=torch.float64))]))


def test_a_channel_that_is_constant():
    """Its variance is 0: the output too, and gradients are finite."""
    (norm,), x = norms_of(1, 2), random(BATCH, 2, HEIGHT, WIDTH)
    x[:, 1] = 3
    x.requires_grad_()
    y = normed_sum([Term(x, norm)])
    torch.testing.assert_close(y[:, 1], torch.zeros(len(y), dtype=torch.float64), rtol=0, atol=1e-9)
    assert torch.autograd.grad(y.sin().sum(), x)[0].isfinite().all()


def test_some_normalisations_move_their_statistics():
    norms, tensors = norms_of(3, 2), tensors_of(3, 2, 2)
    norms[1].track_running_stats = False
    before = [norm.running_mean.clone() for norm in norms]
    normed_sum(terms_of(norms, tensors))
    moved = [not torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)]
    assert moved == [True, False, True]
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 0, 1]


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_rounding_in_single_precision(shift):
    """Many pixels, few digits: the statistics of the batch are as good as torch's, up to a small factor."""
    x = random(16, 4, 32, 32) + shift
    kernel, norm = random(4, 4, 1, 1, seed=1), nn.BatchNorm2d(4, affine=False)
    truth = rows(norm.double()(nn.functional.conv2d(x, kernel)))
    torchs = rows(norm.float()(nn.functional.conv2d(x.float(), kernel.float())))
    ours = normed_sum([Term(x.float(), norm, None, kernel.float())])
    assert (ours - truth).abs().max() <= 20 * (torchs - truth).abs().max() + 1e-5


# ------------------------------------------------------------------------------------------------------ scalars times
@pytest.mark.parametrize("with_base", [True, False])
def test_scaled_sums(with_base):
    weights = random(3, seed=1).requires_grad_()
    base, *xs = (random(6, 2, seed=k).requires_grad_() for k in range(2, 6))

    def value(base, weights, *xs):
        return scaled_sum(base if with_base else None, xs, weights.unbind())

    expected = (base if with_base else 0) + weights[0] * xs[0] + weights[1] * xs[1] + weights[2] * xs[2]
    torch.testing.assert_close(value(base, weights, *xs), expected, rtol=0, atol=1e-14)
    before = base.clone()
    assert gradcheck(value, (base, weights, *xs))
    assert gradgradcheck(value, (base, weights, *xs))
    assert torch.equal(base, before)
    with plain_autograd():
        torch.testing.assert_close(value(base, weights, *xs), expected, rtol=0, atol=1e-14)
    for wanted in ([base], [weights], [xs[1]]) if with_base else ([weights], [xs[1]]):
        inputs = [x if any(x is y for y in wanted) else x.detach() for x in (base, weights, *xs)]
        (found,) = torch.autograd.grad(value(*inputs).sin().sum(), wanted)
        torch.testing.assert_close(found, torch.autograd.grad(expected.sin().sum(), wanted, retain_graph=True)[0])


# --------------------------------------------------------------------------------------------------------- small parts
def test_rows_are_pixels_and_become_an_image_again():
    x = random(2, 3, 4, 5)
    matrix = rows(x)
    assert torch.equal(matrix[(1 * 4 + 2) * 5 + 3], x[1, :, 2, 3])
    assert torch.equal(image(matrix, x.shape), x)
    last = x.contiguous(memory_format=torch.channels_last)
    assert rows(last).data_ptr() == last.data_ptr()
    assert image(matrix, x.shape).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
def test_one_normalisation_with_a_scalar_as_its_scale(training):
    (ours,), (torchs,), x = norms_of(1, 3, training), norms_of(1, 3, training), random(BATCH, 3, HEIGHT, WIDTH)
    weight = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(normed(ours, x, weight), 0.7 * torchs(x))
    torch.testing.assert_close(dict(ours.named_buffers()), dict(torchs.named_buffers()))


def test_running_statistics_move_by_the_momentum():
    norms = norms_of(2, 3)
    for norm in norms:
        norm.momentum = 0.25
    before = [norm.running_mean.clone() for norm in norms]
    values = [random(3, seed=k) for k in range(2)]
    move(norms, values, [value.square() for value in values])
    for norm, old, value in zip(norms, before, values, strict=True):
        torch.testing.assert_close(norm.running_mean, 0.75 * old + 0.25 * value)
        assert norm.num_batches_tracked == 1


def test_where_gradients_are_by_hand():
    x = torch.zeros(1)
    assert by_hand(x)
    with plain_autograd():
        assert not by_hand(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not by_hand(x)
    seen = []
    torch.func.grad(lambda y: (seen.append(by_hand(y)), y.sum())[1])(x)
    assert seen == [False]
    assert not by_hand(x.to("meta"))
