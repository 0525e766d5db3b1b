"""The clip of the virtual step, against one double backward through it; weights in two tensors, in float64."""

import pytest
import torch

from nas_lightning.hypergradients import Bilevel, SGDStep, Unrolled, unrolled

LR, MOMENTUM, DECAY = 0.3, 0.9, 0.05


class Curved:
    """L_train = Σ tanh(Aw + Bα)² + w'Bα, L_arch = ¼ Σ (w − t)⁴ + cos(α)'Cw: no second derivative is constant."""

    def __init__(self):
        rng = torch.Generator().manual_seed(5)
        random = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        self.A, self.B, self.C, self.t = random(5, 5), random(5, 3), random(3, 5), random(5)
        self.weights = {"first": random(2), "second": random(3)}
        self.arch = {"alpha": random(3).requires_grad_()}
        self.buffers = [random(2), random(3)]

    def train_loss(self, weights, arch):
        w, alpha = torch.cat(list(weights.values())), arch["alpha"]
        return torch.tanh(self.A @ w + self.B @ alpha).square().sum() + w @ self.B @ alpha

    def arch_loss(self, weights, arch):
        w = torch.cat(list(weights.values()))
        return 0.25 * (w - self.t).pow(4).sum() + torch.cos(arch["alpha"]) @ self.C @ w

    def run(self, clip, reduce=lambda tensors: tensors, **options):
        step = SGDStep(LR, MOMENTUM, DECAY, self.buffers)
        problem = Bilevel(self.train_loss, self.arch_loss, self.weights, self.arch, step, reduce)
        found, loss = Unrolled(clip=clip, **options)(problem)
        return found["alpha"], loss

    def expected(self, clip, factor=1.0):
        """By hand: w' as one graph over α with a constant coefficient; α's own gradient, and v pulled back through w'.

        `factor` is what averaging over the processes multiplies each gradient by.
        """
        w = torch.cat(list(self.weights.values())).requires_grad_()
        parts = lambda x: {"first": x[:2], "second": x[2:]}  # noqa: E731
        alpha = self.arch["alpha"]
        (g,) = torch.autograd.grad(self.train_loss(parts(w), self.arch), w, create_graph=True)
        coefficient = min(1.0, clip / float((factor * g.detach()).norm()))
        stepped = w - LR * (MOMENTUM * torch.cat(self.buffers) + coefficient * factor * g + DECAY * w)
        virtual = stepped.detach().requires_grad_()
        loss = self.arch_loss(parts(virtual), self.arch)
        direct, v = torch.autograd.grad(loss, (alpha, virtual))
        before = float(v.norm())
        v = factor * v * min(1.0, clip / (factor * before))
        # Of the inner step only c·∇L depends on α; that it was averaged is undone here, and done to the result.
        (through,) = torch.autograd.grad(stepped, alpha, v / factor)
        return factor * (direct + through), loss.detach(), factor * float(g.detach().norm()), factor * before


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("clip", [0.25, 5.0, 40.0])
def test_a_clipped_virtual_step_is_that_of_one_double_backward(exact, clip):
    """Norms: both gradients exceed 0.25, that of the outer loss alone exceeds 5, and neither 40."""
    problem = Curved()
    gradient, loss = problem.run(clip, exact=exact, radius=1e-5)
    expected, at_virtual, _, _ = problem.expected(clip)
    torch.testing.assert_close(loss, at_virtual, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-12 if exact else 1e-6, atol=1e-9)


def test_each_clip_of_that_comparison_matters():
    """Norms are as the comparison says, and each clip moves the gradient."""
    problem = Curved()
    _, _, inner, v = problem.expected(40.0)
    assert 0.25 < inner < 5 < v < 40
    both, outer, neither = (problem.run(clip, exact=True)[0] for clip in (0.25, 5.0, 40.0))
    assert (both - outer).norm() > 0.1 * outer.norm()
    assert (outer - neither).norm() > 0.1 * neither.norm()


@pytest.mark.parametrize("exact", [False, True])
def test_a_clip_that_is_not_reached_changes_no_bit(exact):
    problem = Curved()
    for found, plain in zip(problem.run(1e6, exact=exact), problem.run(None, exact=exact), strict=True):
        assert torch.equal(found, plain)


@pytest.mark.parametrize("clip", [None, 3.0])
def test_gradients_are_averaged_before_their_norms(clip):
    """Two processes whose gradients cancel to a hundredth: what one of them sees alone exceeds a clip, the mean not."""
    problem = Curved()
    hundredth = lambda tensors: [0.01 * x for x in tensors]  # noqa: E731
    found, _ = problem.run(clip, hundredth, exact=True)
    expected, _, inner, v = problem.expected(clip or 1e9, factor=0.01)
    assert inner < 3 < 100 * inner
    assert v < 3 < 100 * v
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("exact", [False, True])
def test_an_averaged_gradient_is_clipped(exact):
    problem = Curved()
    halved = lambda tensors: [0.5 * x for x in tensors]  # noqa: E731
    found, _ = problem.run(0.25, halved, exact=exact, radius=1e-5)
    expected, _, inner, _ = problem.expected(0.25, factor=0.5)
    assert inner > 0.25
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_zero_gradients_are_divided_by_nothing():
    """An inner loss that is flat in the weights, and an outer loss that is: the direct gradient alone."""
    problem = Curved()
    problem.train_loss = lambda weights, arch: arch["alpha"].sum() + 0.0 * torch.cat(list(weights.values())).sum()
    problem.arch_loss = lambda weights, arch: arch["alpha"].square().sum() + 0.0 * weights["first"].sum()
    for exact in (False, True):
        found, _ = problem.run(0.25, exact=exact)
        torch.testing.assert_close(found, 2 * problem.arch["alpha"].detach())


def test_the_function_takes_the_clip_of_the_part():
    problem = Curved()
    step = SGDStep(LR, MOMENTUM, DECAY, problem.buffers)
    bilevel = Bilevel(problem.train_loss, problem.arch_loss, problem.weights, problem.arch, step, lambda x: x)
    assert torch.equal(unrolled(bilevel, clip=0.25)[0]["alpha"], problem.run(0.25)[0])
