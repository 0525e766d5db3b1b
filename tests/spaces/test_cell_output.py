"""What two cells read of a third one, against the modules that read the joined image."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from cases import seeded
from nas_lightning.core.functional import plain_autograd
from nas_lightning.spaces.cell_output import CellOutput, preprocess
from nas_lightning.spaces.macro import CellPlan, Preprocess

WIDTHS, SHAPE = (4, 2, 3), (4, 6)


def nodes_of(*shape, seed=0):
    """Nodes of several widths, channels_last as engines leave them."""
    rng = seeded(seed)
    return [
        torch.randn(2, *shape, width, generator=rng, dtype=torch.float64).permute(0, 3, 1, 2).requires_grad_()
        for width in WIDTHS
    ]


def module_of(reduced):
    made = Preprocess(CellPlan(1, "normal", 4, (sum(WIDTHS), sum(WIDTHS)), reduced), affine=False).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=seeded(1))
    return made


def passed(module, compute, nodes):
    """Both nodes, gradients of a sum over them, and buffers."""
    found = compute()
    slopes = [torch.randn(x.shape, generator=seeded(2), dtype=torch.float64) for x in found]
    leaves = [*nodes, *module.parameters()]
    gradients = torch.autograd.grad(sum((x * s).sum() for x, s in zip(found, slopes, strict=True)), leaves)
    return [*found, *gradients, *[buffer.clone() for buffer in module.buffers()]]


def hooked(module):
    module.last[1].register_forward_hook(lambda *_: None)
    module.before.register_forward_pre_hook(lambda *_: None)


@pytest.mark.parametrize("change", [None, nn.Module.eval, hooked], ids=["plain", "eval", "hooked"])
@pytest.mark.parametrize("reduced", [False, True])
def test_the_joined_image(reduced, change):
    shared, joined = nodes_of(*SHAPE), nodes_of(*SHAPE, seed=5)
    module = module_of(reduced)
    if reduced:  # cell k-1 has halved what cell k-2 gave
        joined = [x.detach()[:, :, ::2, ::2].clone().requires_grad_() for x in joined]
    if change is not None:
        change(module)
    twin = copy.deepcopy(module)
    found = passed(module, lambda: preprocess(module, CellOutput(shared), CellOutput(joined)), [*shared, *joined])
    expected = passed(twin, lambda: twin(torch.cat(shared, 1), torch.cat(joined, 1)), [*shared, *joined])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_one_output_for_both():
    """The ReLU is computed once, and its gradient is that of both."""
    nodes, module = nodes_of(*SHAPE), module_of(False)
    output, twin = CellOutput(nodes), copy.deepcopy(module)
    found = passed(module, lambda: preprocess(module, output, output), nodes)
    expected = passed(twin, lambda: twin(torch.cat(nodes, 1), torch.cat(nodes, 1)), nodes)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
    assert output.relu[0] is output.relu[0]


@pytest.mark.slow
@pytest.mark.parametrize("reduced", [False, True])
def test_gradients_of_gradients(reduced):
    module, nodes = module_of(reduced).requires_grad_(False), nodes_of(2, 4)

    def compute(kernel, *nodes):
        convolution = module.before.conv_1 if reduced else module.before[1]
        del convolution.weight
        convolution.weight = kernel
        return preprocess(module, CellOutput(nodes), CellOutput(nodes))[0]

    kernel = (module.before.conv_1 if reduced else module.before[1]).weight.detach().clone().requires_grad_()
    assert gradcheck(compute, (kernel, *nodes))
    assert gradgradcheck(compute, (kernel, *nodes))


def test_without_gradients_by_hand():
    nodes, module = nodes_of(*SHAPE), module_of(False)
    with plain_autograd():
        found = preprocess(module, CellOutput(nodes), CellOutput(nodes))
    assert "JoinedProduct" not in str(found[0].grad_fn.next_functions)
    torch.testing.assert_close(found, module(torch.cat(nodes, 1), torch.cat(nodes, 1)), rtol=0, atol=1e-12)
