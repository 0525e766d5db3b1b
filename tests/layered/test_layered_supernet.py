"""The supernet of layers against plain formulas in float64, and the hooks of regularizers in it."""

import pytest
import torch
from torch.nn import functional as F

import nas_lightning as nl
from cases import images, random_mixing, seeded
from layered_toy import toy, toy_supernet
from nas_lightning.core import draws
from nas_lightning.layered.blocks import EPSILON
from nas_lightning.regularizers import AuxiliarySkip, DropPath, Noise, SkipDropPath


def plain_block(block, x):
    """The three convolutions of a block, normalised by the statistics of the batch: only functions of torch."""

    def normed(unit, y, groups=1):
        conv, norm = unit[0], unit[1]
        y = F.conv2d(y, conv.weight, None, conv.stride, conv.padding, 1, groups)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        y = (y - mean) / (var + EPSILON).sqrt()
        return y * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)

    expand, depthwise, project = block.block
    y = normed(expand, x).clamp(0, 6)
    y = normed(depthwise, y, y.shape[1]).clamp(0, 6)
    return normed(project, y)


def plain_layers(supernet, x, table, outer):
    """The layers of a supernet as weighted sums."""
    y = supernet.stem(x)
    for layer, row, plan in zip(supernet.layers, table, supernet.plans, strict=True):
        blocks = [plain_block(operation, y) for operation in layer.operations[:4]]
        own = y if plan.keeps_shape and not outer else 0
        total = sum(weight * (block + own) for weight, block in zip(row[:4], blocks, strict=True))
        if plan.keeps_shape:
            total = total + (y if outer else row[4] * y)
        y = total
    return supernet.classifier(supernet.tail(y).mean((2, 3)))


@pytest.mark.parametrize("engine", ["reference", "fast"])
@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_the_mixture_is_the_weighted_sum(residual, engine):
    space = toy(residual=residual)
    supernet = toy_supernet(space, engine=engine)
    supernet.plans = space.structure.layers
    x, mixing = images(size=16), random_mixing(space)
    kept = x.clone()
    table = mixing["layers"].requires_grad_()
    found = supernet(x, mixing)
    torch.testing.assert_close(found, plain_layers(supernet, x, table, residual == "outer"))
    assert torch.equal(x, kept)
    weights = [table, *supernet.parameters()]
    expected = torch.autograd.grad(plain_layers(supernet, x, table, residual == "outer").square().sum(), weights)
    for one, other in zip(torch.autograd.grad(found.square().sum(), weights), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_inactive_options_neither_run_nor_get_gradients():
    """They would give NaN."""
    space = toy()
    supernet = toy_supernet(space)
    path = space.sample(seeded(1))
    mixing, active = {"layers": torch.full((4, 5), 0.3, dtype=torch.float64)}, {"layers": path["layers"].bool()}
    taken, others = [], []
    for layer, row in zip(supernet.layers, active["layers"].tolist(), strict=True):
        for operation, on in zip(layer.operations, row, strict=False):
            (taken if on else others).extend(operation.parameters())
    with torch.no_grad():
        for parameter in others:
            parameter.fill_(torch.nan)
    supernet(images(), mixing, active).sum().backward()
    assert all(parameter.grad is None for parameter in others)
    assert taken
    assert all(parameter.grad.isfinite().all() for parameter in taken)


@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_a_layer_without_active_options_adds_nothing(residual):
    space = toy(residual=residual)
    supernet = toy_supernet(space)
    for layer, plan in zip(supernet.layers, space.structure.layers, strict=True):
        x = images(channels=plan.inputs)
        y = layer(x, torch.ones(5, dtype=torch.float64), [False] * 5, ())
        assert y.shape == (4, plan.outputs, 8 // plan.stride, 8 // plan.stride)
        assert torch.equal(y, x if residual == "outer" and plan.keeps_shape else torch.zeros_like(y))


def layers_of(supernet, space, parts):
    """Each layer's plan, input, weights, and outputs with and without these regularizers, which share their draws."""
    supernet.attach(parts)
    for part in parts:
        part.train().double()
        part.build(space)
        part.at_epoch(1)
    for layer, plan, row in zip(supernet.layers, space.structure.layers, random_mixing(space)["layers"], strict=True):
        x = images(batch=16, channels=plan.inputs)
        with draws.keyed(0, 0, "weights"):
            noisy = layer(x, row, [True] * 5, parts)
        yield layer, plan, x, row, noisy, layer(x, row, [True] * 5, ())


@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_noise_reaches_the_skip_option_or_the_outer_identity(residual):
    space = toy(residual=residual)
    for layer, plan, x, row, noisy, plain in layers_of(toy_supernet(space), space, (Noise(std=0.5),)):
        if not plan.keeps_shape:
            assert torch.equal(noisy, plain)
            continue
        with draws.keyed(0, 0, "weights"):
            drawn = draws.normal_like(x, "output noise", layer.edge.cell, layer.edge.row, "skip_connect")
        weight = 1.0 if residual == "outer" else row[4]
        torch.testing.assert_close(noisy, plain + weight * 0.5 * x.std() * drawn)


def test_noise_of_all_operations_reaches_every_layer():
    space = toy()
    for _, _, _, _, noisy, plain in layers_of(toy_supernet(space), space, (Noise("all"),)):
        assert (noisy - plain).abs().min() > 0


@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_a_dropped_path_leaves_the_image_as_it_is(residual):
    space = toy(residual=residual)
    part = DropPath(maximum=0.5, epochs=2)
    for layer, plan, x, _, dropped, plain in layers_of(toy_supernet(space), space, (part,)):
        if not plan.keeps_shape:
            assert torch.equal(dropped, plain)
            continue
        with draws.keyed(0, 0, "weights"):
            kept = draws.keep_mask(draws.sample_like(x), 0.5, "drop path", layer.edge.cell, layer.edge.row)
        assert 0 < kept.sum() < 16
        torch.testing.assert_close(dropped, x + (plain - x) * kept / 0.5)
    assert part.probability == 0.5


def test_auxiliary_skips_stand_where_the_shape_stays():
    space, part = toy(), AuxiliarySkip(branch="convolution", epochs=4)
    for _, plan, x, _, helped, plain in layers_of(toy_supernet(space), space, (part,)):
        torch.testing.assert_close(helped, plain + (0.75 * x if plan.keeps_shape else 0))  # begins as the identity
    assert sorted(part.branches) == ["0_0", "1_1", "3_3"]


def test_parts_on_skip_connections_are_refused_where_no_layer_keeps_its_shape():
    space = toy(widths=[5, 6], depths=[1, 1])
    for part in (Noise(), SkipDropPath(0.3)):
        with pytest.raises(nl.ConfigError, match="offers skip_connect"):
            part.build(space)


def test_layers_computed_again_give_the_same_gradients():
    space = toy()
    found = []
    for recomputes in (False, True):
        supernet = toy_supernet(space)
        supernet.attach((Noise(),))
        supernet.recomputes = recomputes
        mixing = {"layers": random_mixing(space)["layers"].requires_grad_()}
        with draws.keyed(0, 0, "weights"):
            loss = supernet(images(), mixing).square().sum()
        loss.backward()
        found.append([loss, mixing["layers"].grad, *(p.grad for p in supernet.parameters()), *supernet.buffers()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_dominant_eigenvalue_is_that_of_the_dense_hessian():
    space = toy(depths=[1, 2])
    supernet, x = toy_supernet(space), images(size=8)
    mask = space.choices["layers"].mask

    def loss(arch):
        weights = torch.softmax(arch["layers"].masked_fill(~mask, -torch.inf), dim=1)
        return F.cross_entropy(supernet(x, {"layers": weights}), torch.tensor([0, 1, 2, 0]))

    arch = {"layers": torch.randn(3, 5, dtype=torch.float64, generator=seeded(2))}
    found = nl.curvature.dominant_eigenvalue(loss, arch, module=supernet, exact=True)
    dense = torch.autograd.functional.hessian(lambda table: loss({"layers": table}), arch["layers"]).view(15, 15)
    assert found == pytest.approx(torch.linalg.eigvalsh(dense)[-1].item(), rel=1e-4)
