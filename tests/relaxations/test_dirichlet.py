"""The Dirichlet relaxation against closed forms, torch.distributions and Monte Carlo."""

import math

import pytest
import torch
from torch.distributions import kl_divergence
from torch.nn.functional import elu

from cases import build_space, images, seeded, tiny_supernet
from nas_lightning.hypergradients import Bilevel, SGDStep, unrolled
from nas_lightning.relaxations import Dirichlet
from nas_lightning.relaxations.dirichlet import concentration
from nas_lightning.spaces import Choice

ROWS = 40_000
ALPHA = torch.tensor([-1.5, 0.7, 0.0, 2.0], dtype=torch.float64)


def many(alpha, rows=ROWS):
    """A relaxation with the same parameters in every row: one pass is a sample of that size."""
    choice = Choice("cell", "op", (tuple(map(str, range(len(alpha)))),) * rows, (0,) * rows, (1,) * rows)
    relaxation = Dirichlet()
    relaxation.init({"cell": choice})
    return relaxation, {"cell": alpha.repeat(rows, 1).requires_grad_()}


def moments(beta):
    """Mean and covariance of Dir(β), textbook."""
    total = beta.sum()
    mean = beta / total
    return mean, (torch.diag(mean) - torch.outer(mean, mean)) / (total + 1)


def assert_distributed_as(sample, beta):
    mean, covariance = moments(beta)
    n = len(sample)
    assert ((sample.mean(dim=0) - mean).abs() <= 4.5 * (covariance.diag() / n).sqrt()).all()
    products = torch.einsum("ni,nj->nij", sample - mean, sample - mean)
    assert ((products.mean(dim=0) - covariance).abs() <= 4.5 * (products.var(dim=0) / n).sqrt()).all()


def test_moments():
    relaxation, arch = many(ALPHA)
    sample = relaxation(arch, 0, seeded(0))["cell"].detach()
    beta = elu(ALPHA) + 1
    assert_distributed_as(sample, beta)
    torch.testing.assert_close(relaxation.mean(arch)["cell"][0], moments(beta)[0], rtol=1e-12, atol=0)
    assert relaxation.active({"cell": sample}) is None


def test_concentration_is_elu_plus_one_without_its_cancellation():
    alpha = torch.linspace(-9, 5, 57)
    expected = elu(alpha.double()) + 1
    torch.testing.assert_close(concentration(alpha).double(), expected, rtol=3e-7, atol=0)
    assert elu(torch.tensor(-18.0)) + 1 == 0
    assert concentration(alpha.half()).dtype == torch.float32
    leaf = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    concentration(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, torch.tensor([math.exp(-2), 1, 1], dtype=torch.float64))


def test_gradient_of_an_expectation():
    """E Σ c θ² = Σ c β(β+1) / (S(S+1)), differentiated with respect to α."""
    c = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    alpha = ALPHA.clone().requires_grad_()
    beta = elu(alpha) + 1
    total = beta.sum()
    (c * beta * (beta + 1) / (total * (total + 1))).sum().backward()

    relaxation, arch = many(ALPHA)
    (c * relaxation(arch, 0, seeded(1))["cell"].square()).sum().backward()
    each = arch["cell"].grad
    deviation = each.std(dim=0) / math.sqrt(ROWS)
    assert ((each.mean(dim=0) - alpha.grad).abs() <= 4.5 * deviation).all()
    assert (alpha.grad.abs() > 20 * deviation).all()  # the test can tell


def test_gradient_of_a_path_is_a_difference_quotient_of_expectations():
    """E θ₀³ by Monte Carlo at α ± h, independent of the closed forms above."""
    h = 0.25
    values = []
    for sign in (h, -h):
        relaxation, arch = many(ALPHA + torch.tensor([0, sign, 0, 0]))
        values.append(relaxation(arch, 0, seeded(2))["cell"][:, 1].detach() ** 3)
    quotient = (values[0].mean() - values[1].mean()) / (2 * h)
    relaxation, arch = many(ALPHA)
    relaxation(arch, 0, seeded(3))["cell"][:, 1].pow(3).sum().backward()
    each = arch["cell"].grad[:, 1]
    noise = math.sqrt((values[0].var() + values[1].var()) / (4 * h * h) / ROWS + each.var() / ROWS)
    assert abs(float(each.mean() - quotient)) <= 4.5 * noise + 0.02 * abs(float(quotient))
    assert abs(float(quotient)) > 10 * noise


def test_what_is_kept_is_dirichlet_again():
    relaxation, arch = many(ALPHA)
    whole = relaxation(arch, 0, seeded(4))["cell"].detach()
    kept = [0, 1, 3]
    relaxation.restrict({"cell": torch.tensor([True, True, False, True]).repeat(ROWS, 1)})
    part = relaxation(arch, 0, seeded(5))["cell"].detach()
    assert part[:, 2].eq(0).all()
    torch.testing.assert_close(part.sum(dim=1), torch.ones(ROWS, dtype=torch.float64), rtol=0, atol=1e-14)
    beta = (elu(ALPHA) + 1)[kept]
    assert_distributed_as(part[:, kept], beta)
    # Neutrality: a whole sample, cut down and divided by its sum, is distributed the same.
    assert_distributed_as(whole[:, kept] / whole[:, kept].sum(dim=1, keepdim=True), beta)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_below_zero(dtype):
    rows = [[-30.0, 1.0, 0.0], [-30.0, -30.0, -30.0], [-30.0, 2.0, -30.0]]
    choice = Choice("cell", "op", (("a", "b", "c"),) * 3, (0, 1, 2), (3, 3, 3))
    relaxation = Dirichlet(anchor="kl")
    relaxation.init({"cell": choice})
    arch = {"cell": torch.tensor(rows, dtype=dtype, requires_grad=True)}
    assert concentration(arch["cell"]).min() == torch.tensor(1e-4, dtype=dtype)
    for seed in range(20):
        theta = relaxation(arch, 0, seeded(seed))["cell"]
        assert theta.isfinite().all()
        assert theta.ge(torch.finfo(dtype).tiny).all()
        torch.testing.assert_close(theta.sum(dim=1), torch.ones(3, dtype=dtype))
        value = (theta.square() * torch.arange(9.0).view(3, 3)).sum() + relaxation.penalty(arch)
        (grad,) = torch.autograd.grad(value, arch["cell"])
        assert value.isfinite()
        assert grad.isfinite().all()
        assert grad[arch["cell"] == -30].eq(0).all()
    mean = relaxation.mean(arch)["cell"]
    torch.testing.assert_close(mean[1], torch.full((3,), 1 / 3, dtype=dtype))
    assert (mean[0, 0] / mean[0, 1]).item() == pytest.approx(1e-4 / 2)


def test_a_search_that_diverged_gives_nan_where_it_did():
    choice = Choice("cell", "op", (("a", "b"),) * 3, (0, 1, 2), (3, 3, 3))
    relaxation = Dirichlet()
    relaxation.init({"cell": choice})
    theta = relaxation({"cell": torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [0.0, 0.0]])}, 0, seeded(0))["cell"]
    assert theta.isnan().tolist() == [[True, True], [True, True], [False, False]]


# --------------------------------------------------------------------------------------------------- the anchor
def test_divergence_against_torch():
    choice = Choice("cell", "op", (("a", "b", "c", "d"), ("a", "b"), ("a", "b", "c"), ("a",)), (0, 1, 2, 3), (4,) * 4)
    edge = Choice("edge", "edge", (("0", "1", "2", "3"),), (0,), (4,))
    relaxation = Dirichlet(anchor="kl", strength=0.5)
    shapes = {name: value.shape for name, value in relaxation.init({"cell": choice, "edge": edge}).items()}
    arch = {name: 2 * torch.randn(shape, generator=seeded(7)).double() for name, shape in shapes.items()}

    def by_torch(rows):
        total = 0.0
        for values in rows:
            beta = elu(values) + 1
            one = torch.distributions.Dirichlet(torch.ones_like(beta))
            total += kl_divergence(torch.distributions.Dirichlet(beta), one).item()
        return 0.5 * total

    rows = [arch["cell"][0], arch["cell"][1, :2], arch["cell"][2, :3], arch["edge"][0]]
    assert relaxation.penalty(arch).item() == pytest.approx(by_torch(rows), rel=1e-10)
    relaxation.restrict({"cell": torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()})
    rows = [arch["cell"][0, [0, 2, 3]], arch["edge"][0]]
    assert relaxation.penalty(arch).item() == pytest.approx(by_torch(rows), rel=1e-10)
    assert Dirichlet(anchor="l2").penalty(arch) is None
    assert Dirichlet(anchor="none").penalty(arch) is None


def test_the_released_divergence_counts_dropped_options_at_one():
    """Released code sets α of dropped options to 0 and compares all: the slope of the kept ones is another."""
    choice = Choice("cell", "op", (("a", "b", "c", "d"), ("a", "b"), ("a", "b", "c")), (0, 1, 2), (3,) * 3)
    kept = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]]).bool()
    alpha = 0.8 * torch.randn(3, 4, generator=seeded(8), dtype=torch.float64)
    found = {}
    for over in ("kept", "all"):
        relaxation = Dirichlet(anchor="kl", strength=0.5, anchor_over=over)
        relaxation.init({"cell": choice})
        relaxation.restrict({"cell": kept})
        leaf = alpha.clone().requires_grad_()
        value = relaxation.penalty({"cell": leaf})
        found[over] = value.detach(), *torch.autograd.grad(value, leaf)

    leaf = alpha.clone().requires_grad_()
    total = 0.0
    for row, options in enumerate((4, 2, 3)):  # a dropped option has α = 0; one that the space lacks is none
        beta = elu(torch.stack([leaf[row, o] if kept[row, o] else leaf[row, o] * 0 for o in range(options)])) + 1
        one = torch.distributions.Dirichlet(torch.ones_like(beta))
        total = total + 0.5 * kl_divergence(torch.distributions.Dirichlet(beta), one)
    (slope,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(found["all"], (total.detach(), slope), rtol=1e-10, atol=1e-13)
    assert not torch.allclose(found["kept"][1][0], slope[0], rtol=0.1)
    torch.testing.assert_close(found["kept"][1][2], slope[2], rtol=1e-10, atol=0)  # nothing dropped: the same


def test_divergence_against_integration():
    """Beta distributions, α = (a, b): ∫ f log f over [0, 1], and its slope, by the trapezoidal rule."""
    relaxation = Dirichlet(anchor="kl", strength=1.0)
    relaxation.init({"cell": Choice("cell", "op", (("a", "b"),), (0,), (1,))})
    alpha = torch.tensor([[1.2, 0.6]], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]

    def integral(first):
        a, b = 1 + first, 1.6
        log_f = (a - 1) * x.log() + (b - 1) * (1 - x).log() + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        return torch.trapezoid(log_f.exp() * log_f, x).item()

    value = relaxation.penalty({"cell": alpha})
    assert value.item() == pytest.approx(integral(1.2), abs=1e-6)
    value.backward()
    assert alpha.grad[0, 0].item() == pytest.approx((integral(1.2 + 1e-3) - integral(1.2 - 1e-3)) / 2e-3, abs=1e-5)


def test_the_anchor_vanishes_at_the_uniform_distribution():
    space, relaxation = build_space("s3"), Dirichlet(init_std=0, anchor="kl")
    arch = {name: value.double() for name, value in relaxation.init(space.choices).items()}
    assert abs(relaxation.penalty(arch).item()) < 1e-15


# ------------------------------------------------------------------------------------------------------- draws
def test_draws_are_keyed_and_leave_the_global_generator_alone():
    space, relaxation = build_space("s3"), Dirichlet()
    arch = relaxation.init(space.choices, seeded(0))
    state = torch.get_rng_state()
    first, again, other = (relaxation(arch, epoch, seeded(seed)) for epoch, seed in ((0, 1), (9, 1), (0, 2)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert not torch.equal(first["normal"], first["reduce"])
    rng = seeded(1)
    assert not torch.equal(relaxation(arch, 0, rng)["normal"], relaxation(arch, 0, rng)["normal"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        loose = relaxation(arch)
        assert not torch.equal(relaxation(arch)["normal"], loose["normal"])
        torch.manual_seed(3)
        assert torch.equal(relaxation(arch)["normal"], loose["normal"])


def test_never_half_precision():
    space, relaxation = build_space("s3"), Dirichlet(anchor="kl")
    arch = relaxation.init(space.choices, seeded(0))
    expected = relaxation(arch, 0, seeded(1))["normal"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = relaxation(arch, 0, seeded(1))["normal"]
        assert relaxation.penalty(arch).dtype == torch.float32
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    half = relaxation({key: value.bfloat16() for key, value in arch.items()}, 0, seeded(1))
    assert half["normal"].dtype == torch.float32
    double = relaxation({key: value.double() for key, value in arch.items()}, 0, seeded(1))["normal"]
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-6)


def test_the_mean_is_differentiated_twice():
    choice = Choice("cell", "op", (("a", "b", "c"), ("a", "b")), (0, 1), (2, 2))
    relaxation = Dirichlet()
    relaxation.init({"cell": choice})
    relaxation.restrict({"cell": torch.tensor([[True, True, True], [True, False, False]])})
    alpha = torch.randn(2, 3, generator=seeded(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: relaxation.mean({"cell": a})["cell"], alpha)


@pytest.mark.parametrize("exact", [True, False])
def test_second_order_hypergradient_goes_through_the_sample(exact):
    """Its mixed term is not the derivative of a deterministic relaxation: it needs the path of the sample only once."""
    space, relaxation = build_space("s5"), Dirichlet()
    net = tiny_supernet(space, init_channels=2)
    arch = {key: value.double().requires_grad_() for key, value in relaxation.init(space.choices, seeded(0)).items()}
    x, targets = images(), torch.tensor([0, 1, 2, 0])

    def loss(seed):
        def of(weights, arch):
            mixing = relaxation(arch, 0, seeded(seed))
            return torch.nn.functional.cross_entropy(torch.func.functional_call(net, weights, (x, mixing)), targets)

        return of

    step = SGDStep(0.1, 0.0, 0.0, None)
    found, _ = unrolled(Bilevel(loss(0), loss(1), dict(net.named_parameters()), arch, step, lambda t: t), exact=exact)
    assert found["normal"].isfinite().all()
    assert found["normal"].ne(0).any()


def test_genotypes_are_derived_from_the_softmax_as_released():
    """Two edges whose order differs between softmax(α) and the distribution's mean."""
    choice = Choice("cell", "op", (tuple("abcdefg"),) * 2, (0, 1), (2, 2), keep=1)
    relaxation = Dirichlet()
    relaxation.init({"cell": choice})
    alpha = torch.tensor([[2.0, 0, 0, 0, 0, 0, 0], [0.5, -1, -1, -1, -1, -1, -1]], dtype=torch.float64)
    strengths, mean = relaxation.strengths({"cell": alpha})["cell"], relaxation.mean({"cell": alpha})["cell"]
    assert torch.allclose(strengths, alpha.exp() / alpha.exp().sum(dim=1, keepdim=True))
    assert strengths[0, 0] > strengths[1, 0]
    assert mean[0, 0] < mean[1, 0]
