"""Hypergradients against a closed form, and against central differences of the unrolled objective in float64."""

import copy

import pytest
import torch
from torch.func import functional_call

import nas_lightning as nl
from nas_lightning.core import draws
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.hypergradients import Bilevel, FirstOrder, Implicit, SGDStep, Unrolled, first_order, unrolled
from nas_lightning.spaces import CellSpace

ESTIMATORS = {
    "first order": FirstOrder(),
    "finite difference": Unrolled(),
    "exact": Unrolled(exact=True),
    "implicit": Implicit(),
}


def same(tensors):
    return tensors


class Quadratic:
    """L_train = ½ w'Aw + w'Bα, L_arch = ½ |w − t|² + c'α: every derivative is known by hand."""

    def __init__(self, seed=0):
        rng = torch.Generator().manual_seed(seed)
        random = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        root = random(5, 5)
        self.A, self.B, self.t, self.c = root @ root.T, random(5, 3), random(5), random(3)
        self.w, self.alpha, self.buffer = random(5), random(3), random(5)
        self.lr, self.momentum, self.decay, self.nesterov = 0.07, 0.9, 0.03, False

    def train_loss(self, weights, arch):
        w, alpha = weights["w"], arch["alpha"]
        return 0.5 * w @ self.A @ w + w @ self.B @ alpha

    def arch_loss(self, weights, arch):
        return 0.5 * (weights["w"] - self.t).square().sum() + self.c @ arch["alpha"]

    def stepped(self):
        gradient = self.A @ self.w + self.B @ self.alpha
        return self.w - self.lr * (self.momentum * self.buffer + gradient + self.decay * self.w)

    def run(self, estimator, reduce=same):
        weights = {"w": self.w.clone().requires_grad_()}
        arch = {"alpha": self.alpha.clone().requires_grad_()}
        step = SGDStep(self.lr, self.momentum, self.decay, [self.buffer], self.nesterov)
        gradients, loss = estimator(Bilevel(self.train_loss, self.arch_loss, weights, arch, step, reduce))
        assert torch.equal(weights["w"], self.w)
        assert weights["w"].grad is None
        assert not loss.requires_grad
        return gradients["alpha"], loss


@pytest.mark.parametrize("seed", range(3))
def test_first_order_is_the_direct_gradient(seed):
    problem = Quadratic(seed)
    gradient, loss = problem.run(FirstOrder())
    torch.testing.assert_close(gradient, problem.c)
    torch.testing.assert_close(loss, 0.5 * (problem.w - problem.t).square().sum() + problem.c @ problem.alpha)


@pytest.mark.parametrize("name", ["finite difference", "exact"])
@pytest.mark.parametrize("seed", range(3))
def test_unrolled_matches_the_closed_form(name, seed):
    """∇_α L_arch(w'(α), α) = c − ξ·B'(w' − t), with momentum and decay in w'."""
    problem = Quadratic(seed)
    gradient, loss = problem.run(ESTIMATORS[name])
    virtual = problem.stepped()
    expected = problem.c - problem.lr * problem.B.T @ (virtual - problem.t)
    # The train loss is quadratic, so the finite difference has no truncation error either.
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(loss, 0.5 * (virtual - problem.t).square().sum() + problem.c @ problem.alpha)


def test_no_momentum_buffer_before_the_first_step():
    problem = Quadratic()
    weights = {"w": problem.w}
    with_none = SGDStep(0.1, 0.9, 0.01, [None])(weights, [problem.t])
    torch.testing.assert_close(with_none["w"], problem.w - 0.1 * (problem.t + 0.01 * problem.w))


@pytest.mark.parametrize("nesterov", [False, True])
def test_inner_step_is_a_step_of_torch_sgd(nesterov):
    """The virtual step is the one that the optimizer would take without clipping, momentum and decay included."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4, dtype=torch.float64)) for _ in range(2)]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.02, nesterov=nesterov)
    for _ in range(3):
        gradients = [torch.randn_like(p) for p in parameters]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g.clone()
        buffers = [optimizer.state[p].get("momentum_buffer") for p in parameters]
        buffers = [b if b is None else b.clone() for b in buffers]
        before = {str(i): p.detach().clone() for i, p in enumerate(parameters)}
        expected = SGDStep(0.05, 0.9, 0.02, buffers, nesterov)(before, gradients)
        optimizer.step()
        for p, e in zip(parameters, expected.values(), strict=True):
            torch.testing.assert_close(p.detach(), e)


@pytest.mark.parametrize("exact", [False, True])
def test_a_plain_virtual_step_has_no_nesterov_momentum(exact):
    """The gradient by hand: the outer loss is taken at the plain step, through which α moves w' by −ξ·B."""
    problem = Quadratic()
    problem.nesterov = True
    expected = problem.c - problem.lr * problem.B.T @ (problem.stepped() - problem.t)
    found, loss = problem.run(Unrolled(exact=exact, virtual_step="plain"))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss, problem.arch_loss({"w": problem.stepped()}, {"alpha": problem.alpha}))
    other, _ = problem.run(Unrolled(exact=exact))
    assert (other - expected).abs().max() > 0.01


def test_flat_outer_loss_gives_the_direct_gradient():
    """‖v‖ = 0: nothing flows through the inner step, and nothing is divided by zero."""
    problem = Quadratic()
    problem.arch_loss = lambda weights, arch: problem.c @ arch["alpha"] + 0.0 * weights["w"].sum()
    for estimator in ESTIMATORS.values():
        torch.testing.assert_close(problem.run(estimator)[0], problem.c)


@pytest.mark.parametrize("name", ["first order", "finite difference", "exact"])
def test_reduce_sees_inner_gradient_vector_and_result(name):
    """Reduce halves everything: the closed form with halved inner gradient, halved v and halved result."""
    problem = Quadratic()
    gradient, _ = problem.run(ESTIMATORS[name], reduce=lambda tensors: [0.5 * x for x in tensors])
    if name == "first order":
        expected = 0.5 * problem.c
    else:
        inner = 0.5 * (problem.A @ problem.w + problem.B @ problem.alpha)
        direction = problem.momentum * problem.buffer + inner + problem.decay * problem.w
        virtual = problem.w - problem.lr * direction
        expected = 0.5 * (problem.c - problem.lr * problem.B.T @ (0.5 * (virtual - problem.t)))
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)


# A tiny supernet ----------------------------------------------------------------------------------------------

SPACES = {"s3": ["none", "skip_connect", "sep_conv_3x3"], "s4": ["noise", "sep_conv_3x3"]}


class TinySupernet:
    """Two batches and a supernet in float64: the real thing, small."""

    def __init__(self, space):
        torch.manual_seed(3)
        self.space = CellSpace(space, SPACES[space], num_nodes=2)
        self.net = self.space.supernet(num_classes=3, in_channels=1, init_channels=2, layers=3).double()
        self.net.train()
        self.batches = {
            name: (torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.randint(0, 3, (6,))) for name in "ab"
        }
        self.weights = dict(self.net.named_parameters())
        self.arch = {
            name: (0.5 * torch.randn(c.num_rows, c.num_options, dtype=torch.float64)).requires_grad_()
            for name, c in self.space.choices.items()
        }
        self.step = SGDStep(0.05, 0.9, 3e-4, [0.1 * torch.randn_like(w) for w in self.weights.values()])

    def loss(self, batch):
        images, labels = self.batches[batch]

        def loss(weights, arch):
            mixing = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
            with draws.keyed(0, 0, batch):
                logits = functional_call(self.net, weights, (images, mixing))
            return torch.nn.functional.cross_entropy(logits, labels)

        return loss

    def run(self, estimator):
        with frozen_batch_stats(self.net):
            return estimator(Bilevel(self.loss("a"), self.loss("b"), self.weights, self.arch, self.step, same))

    def unrolled_objective(self, arch):
        """L_arch(w'(α), α) by itself: gradient by autograd, step by hand."""
        with frozen_batch_stats(self.net):
            loss = self.loss("a")(self.weights, arch)
            gradients = torch.autograd.grad(loss, list(self.weights.values()), allow_unused=True)
            virtual = {}
            for (name, w), g, b in zip(self.weights.items(), gradients, self.step.buffers, strict=True):
                g = torch.zeros_like(w) if g is None else g
                virtual[name] = (w - 0.05 * (0.9 * b + g + 3e-4 * w)).detach()
            with torch.no_grad():
                return self.loss("b")(virtual, arch)


def relative_error(found, expected):
    found, expected = (torch.cat([x.flatten() for x in d.values()]) for d in (found, expected))
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(params=list(SPACES), scope="module")
def tiny(request):
    """A supernet, and its unrolled hypergradient by central differences of the objective, entry by entry."""
    problem = TinySupernet(request.param)
    expected = {}
    for name, a in problem.arch.items():
        table = torch.zeros_like(a)
        for index in range(a.numel()):
            sides = []
            for sign in (1e-6, -1e-6):
                arch = {k: v.detach().clone() for k, v in problem.arch.items()}
                arch[name].view(-1)[index] += sign
                sides.append(problem.unrolled_objective(arch))
            table.view(-1)[index] = (sides[0] - sides[1]) / 2e-6
        expected[name] = table
    return problem, expected


def test_exact_unrolled_on_a_supernet(tiny):
    problem, expected = tiny
    gradients, loss = problem.run(Unrolled(exact=True))
    assert relative_error(gradients, expected) <= 1e-6
    torch.testing.assert_close(loss, problem.unrolled_objective(problem.arch))


def test_finite_difference_unrolled_on_a_supernet(tiny):
    """With a radius that crosses no kink of a ReLU the difference is the derivative almost everywhere."""
    problem, expected = tiny
    gradients, _ = problem.run(Unrolled(radius=1e-6))
    assert relative_error(gradients, expected) <= 1e-3


def test_first_order_differs_from_unrolled(tiny):
    """The comparison above would mean nothing if the second-order term were negligible."""
    problem, expected = tiny
    gradients, _ = problem.run(FirstOrder())
    assert relative_error(gradients, expected) > 1e-2


@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_buffers_and_gradients_are_left_as_found(tiny, name):
    problem, _ = tiny
    before = copy.deepcopy(problem.net.state_dict())
    problem.run(ESTIMATORS[name])
    for key, value in problem.net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in problem.net.parameters())
    assert all(a.grad is None for a in problem.arch.values())


def test_functions_and_parts_agree(tiny):
    problem, _ = tiny
    for part, function in ((FirstOrder(), first_order), (Unrolled(), unrolled)):
        for x, y in zip(problem.run(part)[0].values(), problem.run(function)[0].values(), strict=True):
            assert torch.equal(x, y)


def test_fresh_masks_would_ruin_the_finite_difference():
    """Why the draws are shared: with noise redrawn in each pass the estimate is far off (space S4)."""
    problem = TinySupernet("s4")
    exact, _ = problem.run(Unrolled(exact=True))
    passes = iter(range(1000))
    shared = problem.loss

    def fresh(batch):
        def loss(weights, arch):
            images, labels = problem.batches[batch]
            mixing = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
            with draws.keyed(0, next(passes), batch):
                logits = functional_call(problem.net, weights, (images, mixing))
            return torch.nn.functional.cross_entropy(logits, labels)

        return loss

    problem.loss = fresh
    noisy, _ = problem.run(Unrolled())
    problem.loss = shared
    assert relative_error(noisy, exact) > 0.1


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_draw_of_none_alone_gives_a_gradient_of_zero(engine):
    """No path leads to the output: the loss is that of the classifier's bias, whatever α is."""
    space = nl.build_space(nl.compose(["space=nasbench201", f"engine={engine}"]))
    supernet = space.supernet(init_channels=4, layers=1)
    drawn = torch.zeros(6, 5)
    drawn[:, 0] = 1.0  # none

    def loss(weights, arch):
        mixing = {"cell": drawn + arch["cell"] - arch["cell"].detach()}
        outputs = functional_call(supernet, weights, (torch.ones(2, 3, 8, 8), mixing, {"cell": drawn > 0}))
        return outputs.square().sum()

    arch = {"cell": torch.zeros(6, 5, requires_grad=True)}
    problem = Bilevel(loss, loss, dict(supernet.named_parameters()), arch, SGDStep(0.1), same)
    found, value = FirstOrder()(problem)
    assert torch.equal(found["cell"], torch.zeros(6, 5))
    assert value > 0
