"""Curvature against finite differences, closed forms and dense Hessians, on real supernets."""

import gc
import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from cases import build_space, images, seeded, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.curvature import (
    density,
    dominant_eigenvalue,
    hessian,
    measure,
    spectrum,
    top_eigenvalues,
)
from nas_lightning.relaxations import Softmax

# A small network ------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Two mixed layers with batch normalisation, smooth everywhere; `gate` is mixed without softmax."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6, 3)

    def forward(self, x, arch):
        for row in range(2):
            weights = torch.softmax(arch["op"][row], dim=0)
            x = sum(w * layer(x) for w, layer in zip(weights, self.layers, strict=True))
            x = torch.tanh(self.dropout(self.norm(x)))
        return self.head(x * torch.exp(arch["gate"]).sum())


def toy(dropout=0.0, dtype=torch.float64):
    """Network, loss of the architecture parameters and these parameters: P = 6 + 2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Toy(dropout).to(dtype)
        x, y = torch.randn(12, 6, dtype=dtype), torch.randint(0, 3, (12,))
        arch = {"op": torch.randn(2, 3, dtype=dtype), "gate": 0.3 * torch.randn(1, 2, dtype=dtype)}
    return net, lambda a: F.cross_entropy(net(x, a), y), arch


def test_hessian_equals_central_differences_of_the_gradient():
    net, loss, arch = toy()
    found = hessian(loss, arch, net)
    sizes = [a.numel() for a in arch.values()]
    flat = torch.cat([a.flatten() for a in arch.values()])

    def gradient(point):
        leaf = point.clone().requires_grad_()
        parts = leaf.split(sizes)
        value = loss({name: part.view_as(a) for (name, a), part in zip(arch.items(), parts, strict=True)})
        return torch.autograd.grad(value, leaf)[0]

    step = 1e-5
    unit = torch.eye(8, dtype=torch.float64)
    differences = torch.stack([(gradient(flat + step * e) - gradient(flat - step * e)) / (2 * step) for e in unit])
    torch.testing.assert_close(found, differences, rtol=1e-7, atol=1e-9)
    assert found.abs().max() > 0.01
    assert torch.equal(found, found.T)
    assert found.dtype == torch.float64


def test_weight_decay_is_added_to_the_diagonal():
    net, loss, arch = toy()
    plain = hessian(loss, arch, net)
    torch.testing.assert_close(hessian(loss, arch, net, weight_decay=0.25), plain + 0.25 * torch.eye(8).double())
    for exact in (False, True):
        shifted = dominant_eigenvalue(loss, arch, net, exact=exact, weight_decay=0.25)
        assert shifted == pytest.approx(dominant_eigenvalue(loss, arch, net, exact=exact) + 0.25, rel=1e-12)
    torch.testing.assert_close(spectrum(loss, arch, net, 0.25), torch.linalg.eigvalsh(plain) + 0.25)
    torch.testing.assert_close(top_eigenvalues(loss, arch, 2, net, 0.25), spectrum(loss, arch, net, 0.25)[[-1, -2]])


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_batched_rows_are_the_rows(chunk):
    net, loss, arch = toy()
    row_by_row = torch.stack(
        [
            torch.cat([h.flatten() for h in torch.autograd.grad(g, leaves, retain_graph=True)])
            for leaves in [[a.clone().requires_grad_() for a in arch.values()]]
            for part in torch.autograd.grad(loss(dict(zip(arch, leaves, strict=True))), leaves, create_graph=True)
            for g in part.flatten()
        ]
    )
    torch.testing.assert_close(hessian(loss, arch, net, chunk=chunk), row_by_row, rtol=1e-10, atol=1e-13)


class Unbatchable(torch.autograd.Function):
    """x³, whose backward pass looks at its values and so cannot be batched."""

    rows = 0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        if bool((g == g).all()):
            Unbatchable.rows += 1
        return 3 * g * ctx.saved_tensors[0] ** 2


def test_operators_that_cannot_be_batched_go_row_by_row():
    start = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    Unbatchable.rows = 0
    found = hessian(lambda a: (Unbatchable.apply(a) ** 2).sum(), start)  # Σ x⁶
    torch.testing.assert_close(found, torch.diag(30 * start**4))
    assert Unbatchable.rows == 1 + 3
    assert measure(lambda a: (Unbatchable.apply(a) ** 2).sum(), start, exact=True).products == 3


def test_an_error_of_the_loss_is_the_users_to_see():
    def fails(arch):
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        hessian(fails, torch.zeros(2))


# Closed forms ---------------------------------------------------------------------------------------------------


def quadratic(eigenvalues, seed=0):
    """½ a'Ha + c'a with these eigenvalues."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(len(values), len(values), generator=seeded(seed), dtype=torch.float64)).Q
    matrix = vectors @ values.diag() @ vectors.T
    linear = torch.randn(len(values), generator=seeded(seed + 1), dtype=torch.float64)
    return lambda a: 0.5 * a @ matrix.to(a.dtype) @ a + linear.to(a.dtype) @ a


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("others", [[-5.0, -2.0, -1.0, 0.0], [-5.0, -0.1, 0.2, 0.25], [0.0] * 30])
def test_largest_algebraic_not_largest_in_magnitude(others, exact, dtype):
    found = measure(quadratic([*others, 0.3]), torch.ones(len(others) + 1, dtype=dtype), exact=exact)
    assert found.value == pytest.approx(0.3, rel=1e-5)
    assert found.residual < 1e-3


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("values", [[-3.0, -1.0, -0.5], [2.0], [0.0], [-1.0], [0.7] * 5])
def test_tiny_and_negative_definite(values, exact):
    start = torch.ones(len(values), dtype=torch.float64)
    found = measure(quadratic(values), start, exact=exact, weight_decay=0.1)
    assert found.value == pytest.approx(max(values) + 0.1, rel=1e-9)
    assert found.products <= len(values)


@pytest.mark.parametrize("exact", [False, True])
def test_parts_without_curvature_are_zero_rows(exact):
    arch = {name: torch.ones(2, 2, dtype=torch.float64) for name in ("unused", "linear", "square")}

    def loss(a):
        return a["linear"].sum() - a["square"].square().sum()

    found = hessian(loss, arch)
    torch.testing.assert_close(found, torch.diag(torch.tensor([0.0] * 8 + [-2.0] * 4, dtype=torch.float64)))
    assert dominant_eigenvalue(loss, arch, exact=exact) == pytest.approx(0, abs=1e-12)
    for flat in (lambda a: a["linear"].sum(), lambda a: torch.tensor(1.0), lambda a: 0.0 * a["unused"].sum()):
        assert dominant_eigenvalue(flat, arch, exact=exact, weight_decay=1e-3) == pytest.approx(1e-3, rel=1e-12)
        assert not hessian(flat, arch).any()


def test_no_architecture_parameters():
    for nothing in ({}, [], torch.zeros(0)):
        with pytest.raises(ValueError, match="no architecture parameters"):
            dominant_eigenvalue(lambda a: torch.zeros(()), nothing)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loss, a: measure(loss, a, rtol=-1.0), "rtol"),
        (lambda loss, a: measure(loss, a, max_products=0), "max_products"),
        (lambda loss, a: top_eigenvalues(loss, a, 4), "k=4: there are 3"),
        (lambda loss, a: top_eigenvalues(loss, a, 0), "k=0"),
        (lambda loss, a: hessian(loss, a, chunk=0), "chunk=0"),
    ],
)
def test_numbers_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call(quadratic([1.0, 2.0, 3.0]), torch.ones(3).double())


def test_structures_of_architecture_parameters():
    """The loss gets what was given: a mapping, a sequence or a tensor; the value is the same."""
    flat = torch.linspace(-1, 1, 6, dtype=torch.float64)
    loss = quadratic([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])

    def of_dict(a):
        assert list(a) == ["normal", "reduce"]
        return loss(torch.cat([x.flatten() for x in a.values()]))

    def of(kind):
        def inner(a):
            assert type(a) is kind
            return loss(torch.cat([x.flatten() for x in a]))

        return inner

    parts = [flat[:4].view(2, 2), flat[4:].view(1, 2)]
    expected = hessian(loss, flat)
    for function, arch in (
        (of_dict, {"normal": parts[0], "reduce": parts[1]}),
        (of(list), parts),
        (of(tuple), tuple(parts)),
    ):
        torch.testing.assert_close(hessian(function, arch), expected)
        assert dominant_eigenvalue(function, arch) == pytest.approx(3.2, rel=1e-9)


def test_a_missed_tolerance_is_logged(caplog):
    loss = quadratic(torch.linspace(0, 1, 60))
    with caplog.at_level(logging.WARNING):
        found = measure(loss, torch.ones(60).double(), max_products=4)
    assert found.products == 4
    assert 0 < 1 - found.value < found.residual * 20
    assert f"{found.value:.6g}" in caplog.text
    assert f"{found.residual:.3g}" in caplog.text
    assert "after 4 products" in caplog.text
    caplog.clear()
    measure(loss, torch.ones(60).double(), max_products=60)
    assert not caplog.records


@pytest.mark.parametrize("exact", [False, True])
def test_a_hessian_that_is_not_finite_gives_nan(exact, caplog):
    found = measure(lambda a: (a * a).sum() * torch.nan, torch.ones(3), exact=exact)
    assert found.value != found.value
    assert found.residual != found.residual
    assert caplog.records
    assert spectrum(lambda a: (a * a).sum() * torch.nan, torch.ones(3)).isnan().tolist() == [True] * 3


def test_density():
    values = torch.tensor([-1.0, 0.0, 0.0, 2.0])
    points, found = density(values, width=0.1, grid=2001)
    assert torch.trapezoid(found, points).item() == pytest.approx(1, abs=1e-6)
    at = {v: density(values, 0.1, torch.tensor([v]))[1].item() for v in (-1.0, 0.0, 2.0, 1.0)}
    assert at[-1.0] == pytest.approx(0.25 / (0.1 * 2.5066282746), rel=1e-6)
    assert at[0.0] == pytest.approx(2 * at[-1.0])
    assert at[1.0] < 1e-10
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="width"):
            density(values, wrong)


# What is left behind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module_training", [True, False])
@pytest.mark.parametrize("exact", [False, True])
def test_everything_is_left_as_it_was(exact, module_training):
    net, loss, arch = toy(dropout=0.5)
    net.train(module_training)
    net.layers[0].eval()
    for a in arch.values():
        a.requires_grad_().grad = torch.full_like(a, 7.0)
    torch.manual_seed(11)
    rng = torch.get_rng_state()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    copies = {name: a.detach().clone() for name, a in arch.items()}
    found = measure(loss, arch, net, exact=exact)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in net.modules()] == modes
    assert net.norm.track_running_stats
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for p in net.parameters():
        assert p.grad is None
    for name, a in arch.items():
        assert a.requires_grad
        assert torch.equal(a, copies[name])
        assert torch.equal(a.grad, torch.full_like(a, 7.0))
    assert measure(loss, arch, net, exact=exact) == found  # the same draws again
    torch.manual_seed(12)
    assert (measure(loss, arch, net, exact=exact).value != found.value) == module_training  # dropout was active


def test_everything_is_left_as_it_was_after_an_error():
    net, loss, arch = toy(dropout=0.5)
    before = net.norm.running_mean.clone()

    def fails(a):
        loss(a)
        raise ZeroDivisionError

    rng = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        measure(fails, arch, net)
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(net.norm.running_mean, before)
    assert net.norm.track_running_stats


def test_all_products_see_the_same_draws():
    """With dropout, too, Lanczos finds what the dense Hessian of the same draws has."""
    net, loss, arch = toy(dropout=0.5)
    calls = []

    def counted(a):
        calls.append(1)
        return loss(a)

    assert dominant_eigenvalue(counted, arch, net) == pytest.approx(spectrum(loss, arch, net)[-1].item(), rel=1e-9)
    assert len(calls) == 1


def test_the_surroundings_do_not_matter():
    """No-grad and inference mode, and autocast, which is switched off."""
    net, loss, arch = toy(dtype=torch.float32)
    expected = measure(loss, arch, net)
    for surroundings in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with surroundings:
            assert measure(loss, arch, net) == expected
            created = {name: a.clone() for name, a in arch.items()}
            assert measure(loss, created, net) == expected


def live_tensors():
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("exact", [False, True])
def test_nothing_grows(exact):
    """A hundred measurements without the help of the garbage collector: a graph kept each time would be 100 MB."""
    weights = torch.randn(64, 64, generator=seeded(0)) / 8
    x = torch.randn(512, 64, generator=seeded(1))

    def loss(a):
        y = x
        for row in torch.softmax(a, dim=1):
            y = row[0] * torch.tanh(y @ weights) + row[1] * y
        return y.square().mean()

    arch = torch.zeros(4, 2)
    for _ in range(5):
        measure(loss, arch, exact=exact)
    gc.collect()
    tensors, memory = live_tensors(), resident_bytes()
    gc.disable()
    try:
        for _ in range(100):
            measure(loss, arch, exact=exact)
        assert live_tensors() <= tensors
    finally:
        gc.enable()
    assert resident_bytes() - memory < 20e6


# Supernets ------------------------------------------------------------------------------------------------------


def supernet_problem(name, dtype, seed=0, channels=2, layers=3, batch=4, scale=1.0):
    """A supernet in train mode, its loss on one batch and logits scale·N(0, 1)."""
    space = build_space(name)
    net = tiny_supernet(space, seed, init_channels=channels, layers=layers).to(dtype).train()
    relaxation = Softmax(init_std=scale)
    arch = {choice: a.to(dtype) for choice, a in relaxation.init(space.choices, seeded(seed)).items()}
    x, y = images(batch, seed=seed).to(dtype), torch.randint(0, 3, (batch,), generator=seeded(seed))
    weights = {n: w.detach() for n, w in net.named_parameters()}

    def loss(a):
        mixing = relaxation.mean(a)
        with draws.keyed(0, 0, "curvature"):
            return F.cross_entropy(functional_call(net, weights, (x, mixing, relaxation.active(mixing))), y)

    return net, loss, arch


@pytest.mark.parametrize("name", ["s3", "s4"])
def test_shifts_of_a_softmax_row_have_no_curvature(name):
    """Softmax does not see a shift of its row, so each is an eigenvector whose eigenvalue is the weight decay."""
    net, loss, arch = supernet_problem(name, torch.float64)
    matrix = hessian(loss, arch, net, weight_decay=1e-3)
    rows, options = sum(a.shape[0] for a in arch.values()), arch["normal"].shape[1]
    assert matrix.shape == (rows * options, rows * options)
    shifts = torch.block_diag(*[torch.ones(1, options, dtype=torch.float64)] * rows)
    assert matrix.abs().max() > 0.01
    torch.testing.assert_close(shifts @ matrix, 1e-3 * shifts, rtol=1e-10, atol=1e-13)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert ((eigenvalues - 1e-3).abs() < 1e-13).sum() >= rows == 28


@pytest.mark.parametrize(
    ("dtype", "seed", "scale"),
    [
        (torch.float32, 0, 1e-3),
        pytest.param(torch.float32, 1, 1.0, marks=pytest.mark.slow),
        pytest.param(torch.float64, 2, 1.0, marks=pytest.mark.slow),
    ],
)
def test_lanczos_equals_dense_on_s3(dtype, seed, scale):
    net, loss, arch = supernet_problem("s3", dtype, seed, scale=scale)
    dense = torch.linalg.eigvalsh(hessian(loss, arch, net, weight_decay=1e-3))
    assert len(dense) == 84
    found = measure(loss, arch, net, weight_decay=1e-3)
    assert found.value == pytest.approx(dense[-1].item(), rel=1e-4)
    assert found.products <= 20
    assert found.residual < 0.02 * found.value
    if dtype == torch.float64:
        largest = top_eigenvalues(loss, arch, 3, net, weight_decay=1e-3)
        torch.testing.assert_close(largest, dense.flip(0)[:3], rtol=0, atol=1e-4 * dense[-1].item())


@pytest.mark.slow
def test_products_on_the_darts_space():
    """At most 20 for 224 parameters, from the logits of the first epoch, where the largest eigenvalues are closest."""
    net, loss, arch = supernet_problem("darts", torch.float32, channels=4, scale=1e-3)
    assert sum(a.numel() for a in arch.values()) == 224
    found = measure(loss, arch, net, weight_decay=1e-3)
    assert 10 <= found.products <= 20
    assert found.residual < 0.02 * found.value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "seed", "channels", "scale"),
    [(torch.float32, 0, 4, 1e-3), (torch.float32, 1, 8, 1.0), (torch.float64, 2, 4, 1e-3)],
)
def test_lanczos_equals_dense_on_the_darts_space(dtype, seed, channels, scale):
    net, loss, arch = supernet_problem("darts", dtype, seed, channels=channels, batch=8, scale=scale)
    dense = torch.linalg.eigvalsh(hessian(loss, arch, net, weight_decay=1e-3))
    assert len(dense) == 224
    for start in range(3):
        found = measure(loss, arch, net, weight_decay=1e-3, seed=start)
        assert found.value == pytest.approx(dense[-1].item(), rel=1e-4)
        assert found.products <= 20
