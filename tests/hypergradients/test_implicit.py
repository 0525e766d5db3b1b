"""The Neumann series on a quadratic, whose error is known by eigenvalues, and on a supernet in float64."""

import pytest
import torch
from torch.func import functional_call

from nas_lightning.core import draws
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.hypergradients import Bilevel, Implicit, SGDStep, implicit, unrolled
from nas_lightning.spaces import CellSpace


class Quadratic:
    """L_train = ½ w'Aw − w'Bα, L_arch = ½ |w − t|² + c'α, so w* = A⁻¹Bα and dL_arch/dα = c + B'A⁻¹(w* − t)."""

    def __init__(self, seed=0):
        rng = torch.Generator().manual_seed(seed)
        random = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        root = random(6, 6)
        self.A, self.B = root @ root.T + 0.5 * torch.eye(6, dtype=torch.float64), random(6, 3)
        self.t, self.c, self.alpha = random(6), random(3), random(3)
        self.w = torch.linalg.solve(self.A, self.B @ self.alpha)
        self.values, self.vectors = torch.linalg.eigh(self.A)
        self.lr = float(1 / self.values.max())

    def train_loss(self, weights, arch):
        return 0.5 * weights["w"] @ self.A @ weights["w"] - weights["w"] @ self.B @ arch["alpha"]

    def arch_loss(self, weights, arch):
        return 0.5 * (weights["w"] - self.t).square().sum() + self.c @ arch["alpha"]

    def problem(self, reduce=lambda tensors: tensors):
        weights = {"w": self.w.clone().requires_grad_()}
        arch = {"alpha": self.alpha.clone().requires_grad_()}
        return Bilevel(self.train_loss, self.arch_loss, weights, arch, SGDStep(self.lr), reduce)

    def run(self, part, **kwargs):
        problem = self.problem(**kwargs)
        gradients, loss = part(problem)
        assert torch.equal(problem.weights["w"], self.w)
        assert problem.weights["w"].grad is None
        assert not loss.requires_grad
        torch.testing.assert_close(loss, self.arch_loss({"w": self.w}, {"alpha": self.alpha}))
        return gradients["alpha"]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("terms", [0, 1, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_each_eigenvalue_is_inverted_up_to_a_power(seed, terms, exact):
    """ξ Σ_{k=0..K} (1 − ξλ)^k = (1 − (1 − ξλ)^(K+1)) / λ along each eigenvector."""
    quadratic = Quadratic(seed)
    inverse = (1 - (1 - quadratic.lr * quadratic.values) ** (terms + 1)) / quadratic.values
    solved = quadratic.vectors @ (inverse * (quadratic.vectors.T @ (quadratic.w - quadratic.t)))
    found = quadratic.run(Implicit(terms=terms, exact=exact))
    torch.testing.assert_close(found, quadratic.c + quadratic.B.T @ solved, rtol=1e-8, atol=1e-9)


def test_the_series_ends_at_the_derivative_of_the_outer_loss_at_the_optimum():
    quadratic = Quadratic()

    def at_optimum(alpha):
        return quadratic.arch_loss({"w": torch.linalg.solve(quadratic.A, quadratic.B @ alpha)}, {"alpha": alpha})

    true = torch.autograd.functional.jacobian(at_optimum, quadratic.alpha)
    errors = [
        float((quadratic.run(Implicit(terms=k, exact=True)) - true).norm() / true.norm()) for k in (0, 3, 30, 999)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-9


@pytest.mark.parametrize("exact", [False, True])
def test_without_terms_it_is_the_unrolled_gradient_where_the_outer_loss_is_linear(exact):
    """Momentum and decay 0: the only difference is where v is taken, and here v is the same everywhere."""
    quadratic = Quadratic()
    quadratic.arch_loss = lambda weights, arch: quadratic.t @ weights["w"] + quadratic.c @ arch["alpha"]
    found = quadratic.run(Implicit(terms=0, exact=exact))
    torch.testing.assert_close(found, unrolled(quadratic.problem(), exact=True)[0]["alpha"])


@pytest.mark.parametrize("terms", [1, 2, 4])
def test_the_diagonal_is_the_slope_of_the_norm_of_the_gradient(terms):
    """The series of the released variant, entry by entry; h by central differences of the norm."""
    quadratic = Quadratic()
    quadratic.w = quadratic.w + quadratic.t  # away from the optimum, where the norm has no slope
    v = quadratic.w - quadratic.t

    def norm(w):
        return (quadratic.A @ w - quadratic.B @ quadratic.alpha).norm()

    h = torch.stack([(norm(quadratic.w + e) - norm(quadratic.w - e)) / 2e-5 for e in 1e-5 * torch.eye(6).double()])
    series = sum((1 - quadratic.lr * h) ** k for k in range(terms + 1)) * v
    found = quadratic.run(Implicit(terms=terms, hessian="diagonal"))
    torch.testing.assert_close(found, quadratic.c + quadratic.lr * quadratic.B.T @ series, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("part", [Implicit(), Implicit(exact=True), Implicit(hessian="diagonal")])
def test_a_flat_outer_loss_gives_the_direct_gradient(part):
    quadratic = Quadratic()
    quadratic.arch_loss = lambda weights, arch: quadratic.c @ arch["alpha"] + 0.0 * weights["w"].sum()
    torch.testing.assert_close(quadratic.run(part), quadratic.c)


def test_reduce_sees_v_each_product_and_the_result():
    """Reduce halves everything: v/2, then I − ξH/2 once, then half of the result."""
    quadratic = Quadratic()
    v = 0.5 * (quadratic.w - quadratic.t)
    series = 2 * v - 0.5 * quadratic.lr * quadratic.A @ v
    expected = 0.5 * (quadratic.c + quadratic.lr * quadratic.B.T @ series)
    found = quadratic.run(Implicit(terms=1, exact=True), reduce=lambda tensors: [0.5 * x for x in tensors])
    torch.testing.assert_close(found, expected)


def test_products_on_a_supernet_are_differences_of_its_gradients():
    """The series and the last product, each by central differences over the weights of a real supernet."""
    torch.manual_seed(0)
    space = CellSpace("s3", ["none", "skip_connect", "sep_conv_3x3"], num_nodes=2)
    net = space.supernet(num_classes=3, in_channels=1, init_channels=2, layers=3).double().train()
    batches = [(torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.randint(0, 3, (6,))) for _ in range(2)]
    weights = dict(net.named_parameters())
    arch = {
        name: (0.5 * torch.randn(c.num_rows, c.num_options, dtype=torch.float64)).requires_grad_()
        for name, c in space.choices.items()
    }

    def loss_of(batch):
        def loss(weights, arch):
            mixing = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
            with draws.keyed(0, 0, "inner"), frozen_batch_stats(net):
                return torch.nn.functional.cross_entropy(functional_call(net, weights, (batch[0], mixing)), batch[1])

        return loss

    train, outer = map(loss_of, batches)
    values = [w.detach() for w in weights.values()]

    def slope(shift, by):
        """Return the gradient with respect to `by` at shifted weights."""
        moved = {n: (w + s).requires_grad_() for n, w, s in zip(weights, values, shift, strict=True)}
        inputs = list(moved.values()) if by == "weights" else list(arch.values())
        found = torch.autograd.grad(train(moved, arch), inputs, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]

    def product(vector, by):
        sides = [slope([sign * x for x in vector], by) for sign in (1e-6, -1e-6)]
        return [(plus - minus) / 2e-6 for plus, minus in zip(*sides, strict=True)]

    lr = 0.05
    alpha, ours = list(arch.values()), list(weights.values())
    both = torch.autograd.grad(outer(weights, arch), [*alpha, *ours], allow_unused=True)
    v = [torch.zeros_like(w) if g is None else g for g, w in zip(both[len(alpha) :], ours, strict=True)]
    power, series = v, v
    for _ in range(2):
        power = [p - lr * h for p, h in zip(power, product(power, "weights"), strict=True)]
        series = [s + p for s, p in zip(series, power, strict=True)]
    expected = [d - lr * m for d, m in zip(both[: len(alpha)], product(series, "arch"), strict=True)]
    found, _ = implicit(Bilevel(train, outer, weights, arch, SGDStep(lr), lambda x: x), terms=2, exact=True)
    for got, want in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)
    direct = torch.cat([d.flatten() for d in both[: len(alpha)]])
    assert (torch.cat([g.flatten() for g in found.values()]) - direct).norm() > 1e-2 * direct.norm()
