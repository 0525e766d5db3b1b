"""Frozen batch statistics, full precision and parameter counts."""

import pytest
import torch
from torch import nn

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core.functional import count_parameters, frozen_batch_stats, full_precision


def buffers(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(name="net")
def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).double()


def test_no_buffer_moves_but_batch_statistics_are_used(net):
    x = 3 * images() + 1
    before = buffers(net)
    with frozen_batch_stats(net):
        frozen = net(x)
    assert same(before, buffers(net))
    y = nn.functional.conv2d(x, net[0].weight, net[0].bias)
    for step in (True, False):
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
        y = (y - mean) / (var + 1e-5).sqrt()
        y = y.clamp(min=0) if step else y
    torch.testing.assert_close(frozen, y, rtol=0, atol=1e-10)
    plain = net(x)
    assert torch.equal(plain, frozen)
    assert not same(before, buffers(net))  # after the block the statistics move again
    assert net[1].num_batches_tracked == 1


def test_restored_after_exceptions(net):
    with pytest.raises(RuntimeError, match="inside"), frozen_batch_stats(net):
        raise RuntimeError("inside")
    net(images())
    assert [net[1].num_batches_tracked, net[3].num_batches_tracked] == [1, 1]


def test_nested_blocks_restore_once_the_outer_one_ends(net):
    before = buffers(net)
    with frozen_batch_stats(net):
        with frozen_batch_stats(net):
            net(images())
        net(images())
    assert same(before, buffers(net))
    net(images())
    assert net[1].num_batches_tracked == 1


def test_modules_in_eval_mode_are_unaffected(net):
    net(images())
    net[1].eval()
    before = buffers(net)
    expected = (net[0](images()) - net[1].running_mean[:, None, None]) / (
        net[1].running_var[:, None, None] + 1e-5
    ).sqrt()
    with frozen_batch_stats(net):
        assert net[1].track_running_stats
        torch.testing.assert_close(net[1](net[0](images())), expected, rtol=0, atol=1e-10)
        net(images())
    assert same(before, buffers(net))
    assert not net[1].training
    assert net[3].training


def test_statistics_that_were_never_tracked_stay_so():
    net = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm1d(3))
    with frozen_batch_stats(net):
        pass
    assert [norm.track_running_stats for norm in net] == [False, True]


def test_whole_supernet_with_functional_call_and_func_grad():
    space = build_space("darts")
    supernet = tiny_supernet(space, layers=3)
    mixing, x = random_mixing(space), images()
    weights = dict(supernet.named_parameters())
    before = buffers(supernet)

    def loss(weights, mixing):
        return torch.func.functional_call(supernet, weights, (x, mixing)).square().sum()

    with frozen_batch_stats(supernet):
        grads, mixing_grads = torch.func.grad(loss, argnums=(0, 1))(weights, mixing)
        again = torch.func.grad(loss)(weights, mixing)
    assert same(before, buffers(supernet))
    assert all(torch.equal(grads[name], again[name]) for name in grads)
    leaves = {name: value.clone().requires_grad_() for name, value in mixing.items()}
    supernet(x, leaves).square().sum().backward()
    for name, weight in supernet.named_parameters():
        torch.testing.assert_close(grads[name], weight.grad, rtol=1e-9, atol=1e-10)
    for name, leaf in leaves.items():
        torch.testing.assert_close(mixing_grads[name], leaf.grad, rtol=1e-9, atol=1e-10)


def test_full_precision_leaves_autocast_and_tf32_and_restores_them():
    operators = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
    before = [operator.fp32_precision for operator in operators]
    assert before[0] == "tf32"
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match="out"), full_precision("cpu", "cuda"):  # noqa: PT012
            assert [operator.fp32_precision for operator in operators] == ["ieee"] * 3
            assert (a @ a).dtype == torch.float32
            raise ValueError("out")
        assert (a @ a).dtype == torch.bfloat16
    assert [operator.fp32_precision for operator in operators] == before
    assert torch.backends.cudnn.allow_tf32  # in the older spelling, too


def test_count_parameters_leaves_the_auxiliary_head_out():
    net = nn.Module()
    net.body = nn.Linear(3, 2)
    net.auxiliary = nn.Linear(5, 7)
    assert count_parameters(net) == 8
    assert count_parameters(net, auxiliary=True) == 8 + 42
