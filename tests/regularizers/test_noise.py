"""Noise on operations: formula, bias, gradients, draws."""

import math
import statistics

import pytest
import torch
from torch.func import functional_call

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.capture import Graphed, Policy, stand_in
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import Noise

EDGE = EdgeInfo("normal", cell=3, row=1, source=1, node=2, stride=1, channels=4)
KEY = ("output noise", 3, 1, "skip_connect")


def noisy(part, y, op="skip_connect", edge=EDGE, step=0, pass_name="weights", rank=0):
    with draws.keyed(0, step, pass_name, rank):
        return part.on_op(y, op, edge)


def numbers(y, kind):
    """The draws that a part must have taken, as a flat list."""
    with draws.keyed(0, 0, "weights"):
        if kind == "normal":
            return draws.normal_like(y, *KEY).flatten().tolist()
        rng = draws.generator(*KEY, per_sample=True)
        return (2 * torch.rand(y.shape, dtype=y.dtype, generator=rng) - 1).flatten().tolist()


REFERENCES = {
    "gaussian": ({"mean": 0.3}, lambda y, s, n, d: y + d * (0.3 + 0.2 * s * n)),
    "uniform": ({"distribution": "uniform"}, lambda y, s, n, d: y + d * math.sqrt(3 * 0.2) * n),
    "uniform_matched": (
        {"distribution": "uniform_matched", "mean": -1.0},
        lambda y, s, n, d: y + d * (math.sqrt(3) * 0.2 * s * n - 1),
    ),
    "multiplicative": ({"form": "multiplicative"}, lambda y, s, n, d: y * (1 + d * ((1 + 0.2 * n) - 1))),
    "multiplicative, biased": (
        {"form": "multiplicative", "mean": 0.5},
        lambda y, s, n, d: y * (1 + d * ((0.5 + 0.2 * n) - 1)),
    ),
}


@pytest.mark.parametrize("epoch", [None, 20])
@pytest.mark.parametrize("name", REFERENCES)
def test_formula_number_by_number(name, epoch):
    arguments, formula = REFERENCES[name]
    part, remaining = Noise(std=0.2, decay=epoch is not None, epochs=50, **arguments), 1.0
    if epoch is not None:
        part.at_epoch(epoch)
        remaining = 0.5 * (1 + math.cos(math.pi * epoch / 50))
    y = images(2, 3, 2)
    values = y.flatten().tolist()
    drawn = numbers(y, "uniform" if "uniform" in name else "normal")
    spread = statistics.stdev(values)
    expected = [formula(v, spread, n, remaining) for v, n in zip(values, drawn, strict=True)]
    found = noisy(part, y).flatten().tolist()
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_captured_pass_reads_strength_and_decay_anew(name, learnable):
    """A control raises `std`, an epoch ends, λ is trained: the replay is the eager pass to the bit."""
    part = Noise(std=0.2, decay=True, epochs=50, learnable=learnable, **REFERENCES[name][0])
    part.build(build_space("s2"))
    module = part.double()
    graphed = Graphed(lambda w, i, _: part.on_op(i["y"], "skip_connect", EDGE), module, Policy("required", "graph"))
    for step in range(3):
        part.at_epoch(10 * step)
        part.std = 0.2 + 0.1 * step
        y = images(2, 3, 2, seed=step).double()
        expected = noisy(part, y, step=step)
        with draws.keyed(0, step, "weights"), torch.no_grad(), stand_in():
            assert torch.equal(graphed({"y": y}), expected)
        with torch.no_grad():
            for rho in part.parameters():
                rho += 0.1
    assert graphed.policy.captures == 1


def test_uniform_deviations():
    """As released the variance is std, absolute; matched it is that of Gaussian noise."""
    y = 3 * images(20, 60)
    spread = float(y.std())
    for distribution, variance in (("uniform", 0.2), ("uniform_matched", (0.2 * spread) ** 2)):
        noise = noisy(Noise(std=0.2, distribution=distribution), y) - y
        bound = math.sqrt(3 * variance)
        assert 0.999 * bound < float(noise.abs().max()) <= bound * (1 + 1e-12)
        # The square of U(−a, a) has variance a⁴·(1/5 − 1/9).
        error = bound**2 * math.sqrt((1 / 5 - 1 / 9) / y.numel())
        assert abs(float(noise.square().mean()) - variance) < 4 * error
        assert abs(float(noise.mean())) < 4 * math.sqrt(variance / y.numel())
    gaussian = noisy(Noise(std=0.2), y) - y
    assert float(gaussian.std()) == pytest.approx(0.2 * spread, rel=4 / math.sqrt(2 * y.numel()))


def skip_gradients(part, draws_taken):
    """Gradients of a readout, linear in the edge's output, to the logit of skip; and the parts of a closed form."""
    space = build_space("s2")
    supernet = tiny_supernet(space)
    supernet.attach((part,))
    edge = supernet.cells[0].edges[1]
    x, readout = images(2, 4, 4), images(2, 4, 4, seed=1)
    outputs = [operation(x).detach() for operation in edge.operations]
    logits = torch.tensor([0.4, -0.2], dtype=torch.float64, requires_grad=True)

    def gradient(regularizers):
        loss = (readout * edge(x, logits.softmax(0), [True, True], regularizers)).sum()
        return float(torch.autograd.grad(loss, logits)[0][0])

    plain = gradient(())
    taken = []
    for step in range(draws_taken):
        with draws.keyed(0, step, "outer"):
            taken.append(gradient((part,)))
    share = float(logits.detach().softmax(0)[0])
    return plain, taken, share * (1 - share), readout, outputs[0]


@pytest.mark.parametrize(
    ("arguments", "bias"),
    [
        ({}, lambda readout, y: 0.0),
        ({"distribution": "uniform"}, lambda readout, y: 0.0),
        ({"form": "multiplicative"}, lambda readout, y: 0.0),
        ({"mean": 0.5}, lambda readout, y: 0.5 * float(readout.sum())),
        ({"form": "multiplicative", "mean": 0.5}, lambda readout, y: -0.5 * float((readout * y).sum())),
    ],
    ids=["gaussian", "uniform", "multiplicative", "mean 0.5", "multiplicative mean 0.5"],
)
def test_the_gradient_of_the_skip_logit_is_unbiased_where_the_noise_is(arguments, bias):
    """With the softmax share p of skip, noise n adds p(1 − p)·⟨readout, n⟩: its mean is all that stays."""
    plain, taken, slope, readout, y = skip_gradients(Noise(std=0.6, **arguments), 600)
    expected = slope * bias(readout, y)
    error = statistics.stdev(taken) / math.sqrt(len(taken))
    assert error > 0
    assert abs(statistics.fmean(taken) - plain - expected) < 4 * error
    if expected:
        assert abs(statistics.fmean(taken) - plain) > 8 * error


@pytest.mark.parametrize("distribution", ["gaussian", "uniform_matched"])
def test_no_gradient_flows_through_the_deviation(distribution):
    part = Noise(std=0.8, distribution=distribution)
    y, readout = images(2).requires_grad_(), images(2, seed=1)
    (gradient,) = torch.autograd.grad((readout * noisy(part, y).square()).sum(), y)

    def reference(spread):
        drawn = torch.tensor(numbers(y, "normal" if distribution == "gaussian" else "uniform"), dtype=torch.float64)
        scale = 0.8 if distribution == "gaussian" else 0.8 * math.sqrt(3)
        out = y + scale * spread * drawn.view_as(y)
        return torch.autograd.grad((readout * out.square()).sum(), y)[0]

    torch.testing.assert_close(gradient, reference(float(y.detach().std())))
    assert (gradient - reference(y.std())).abs().max() > 1e-4  # the leak would show


def test_a_constant_output_and_none_get_no_noise():
    y = torch.zeros(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    out = noisy(Noise("all"), y, "sep_conv_3x3")
    assert torch.equal(out, y)
    assert torch.equal(torch.autograd.grad(out.sum(), y)[0], torch.ones_like(y))
    for part in (Noise("all", distribution="uniform"), Noise("all", mean=0.5)):
        assert noisy(part, y, "none") is y


def test_only_skip_connections_or_every_operation():
    y = images()
    for op in ("sep_conv_3x3", "max_pool_3x3", "noise", "none"):
        assert noisy(Noise(), y, op) is y
        assert torch.equal(noisy(Noise("all"), y, op), y) == (op == "none")
    assert not torch.equal(noisy(Noise(), y), y)


def test_edges_of_s1_without_skip_stay():
    space, part = build_space("s1"), Noise()
    supernet, mixing = tiny_supernet(space), random_mixing(space)
    part.build(space)
    changed = 0
    for cell in supernet.cells:
        weights = mixing[cell.choice.name]
        for row, edge in enumerate(cell.edges):
            x, flags = images(2, channels=edge.edge.channels), [True] * len(edge.names)
            with frozen_batch_stats(edge), draws.keyed(0, 0, "weights"):
                same = torch.equal(edge(x, weights[row], flags, (part,)), edge(x, weights[row], flags, ()))
            assert same == ("skip_connect" not in edge.names)
            changed += not same
    assert 0 < changed < 4 * 14


def test_evaluation_mode_is_bit_identical_and_training_is_not():
    space = build_space("s3")
    mixing, x = random_mixing(space), images()
    plain, supernet = tiny_supernet(space), tiny_supernet(space)
    supernet.attach((Noise("all", mean=0.5),))
    with frozen_batch_stats(plain), frozen_batch_stats(supernet), draws.keyed(0, 0, "weights"):
        assert not torch.equal(supernet(x, mixing), plain(x, mixing))
    assert torch.equal(supernet.eval()(x, mixing), plain.eval()(x, mixing))


@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
def test_draws_differ_by_operation_edge_and_pass_and_are_the_same_for_equal_keys(distribution):
    part, y = Noise("all", distribution=distribution), images(8)
    kept, state = y.clone(), torch.random.get_rng_state()

    def noise(op="skip_connect", cell=0, row=0, **scope):
        return (noisy(part, y, op, EdgeInfo("normal", cell, row, 0, 2, 1, 3), **scope) - y).flatten()

    drawn = [
        noise(),
        noise("sep_conv_3x3"),
        noise(cell=1),
        noise(row=1),
        noise(pass_name="outer"),
        noise(step=1),
        noise(rank=1),
    ]
    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlations.abs().max() < 4 / math.sqrt(y.numel())
    assert torch.equal(noise(), drawn[0])
    assert torch.equal(y, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_decay_fades_to_the_identity_and_stays_there():
    y = images()
    for arguments in ({"mean": 0.5}, {"form": "multiplicative", "mean": 0.5}):
        part = Noise(decay=True, epochs=50, **arguments)
        sizes = []
        for epoch in (0, 25, 49, 50, 60):
            part.at_epoch(epoch)
            sizes.append(float((noisy(part, y) - y).abs().max()))
        assert sizes[1] == pytest.approx(sizes[0] / 2)
        assert 0 < sizes[2] < 1.01e-3 * sizes[0]
        assert sizes[3:] == [0.0, 0.0]


def test_only_the_decay_needs_the_epochs():
    Noise().at_epoch(3)
    with pytest.raises(ConfigError, match=r"regularizer\.op_noise\.epochs=null"):
        Noise.standing_at("regularizer.op_noise", {"operations": "all", "decay": True}).at_epoch(0)


def test_refused_where_there_is_no_skip_connection():
    with pytest.raises(ConfigError, match=r"space=s4.*skip_connect.*op_noise.*method=noisy_darts_nfa") as caught:
        Noise().build(build_space("s4"))
    assert "\n" not in str(caught.value)
    space = build_space("s4")
    assert Noise("all").build(space) is space


def test_refused_combinations():
    with pytest.raises(ConfigError, match=r"regularizer\.skip_noise\.distribution=uniform: .*form=additive"):
        Noise(form="multiplicative", distribution="uniform")
    with pytest.raises(ConfigError, match=r"^regularizer\.n\.std=0: .* write regularizer\.n\.std=0\.2$"):
        Noise.standing_at("regularizer.n", {"std": 0.0, "learnable": True})


@pytest.mark.parametrize("operations", ["skip_connect", "all"])
@pytest.mark.parametrize("std", [0.05, 0.6, 3.0])
def test_learnable_strengths_start_at_std_one_a_row(operations, std):
    space, part = build_space("s1"), Noise(operations, std=std, learnable=True)
    assert list(part.parameters()) == []
    assert part.build(space) is space
    assert {name: tuple(rho.shape) for name, rho in part.rho.items()} == {"normal": (14,), "reduce": (14,)}
    for rho in part.rho.values():
        assert not rho.detach().any()  # what weight decay pulls to: the strength that was asked for
    assert part.metrics() == {f"noise_std/{name}": pytest.approx(std, rel=1e-5) for name in ("normal", "reduce")}
    with torch.no_grad():
        part.rho["normal"][12] = 100.0  # an edge of S1 without skip connection: its strength counts only for `all`
    expected = std if operations == "skip_connect" else (13 * std + 100 + math.log(math.expm1(std))) / 14
    assert part.metrics()["noise_std/normal"] == pytest.approx(expected, rel=1e-5)
    fixed = Noise()
    fixed.build(space)
    assert (list(fixed.parameters()), fixed.metrics()) == ([], {})


LEARNABLE = [
    {},
    {"distribution": "uniform"},
    {"distribution": "uniform_matched"},
    {"form": "multiplicative"},
    {"decay": True, "epochs": 4},
]


@pytest.mark.parametrize("arguments", LEARNABLE, ids=str)
def test_strengths_learn_through_substituted_weights(arguments):
    """S5 has one node a cell, so in one cell no noise meets another's deviation: central differences are exact."""
    space, part = build_space("s5"), Noise(learnable=True, **arguments)
    supernet = tiny_supernet(space, layers=1)
    part.build(space)
    part.at_epoch(1)
    supernet.attach((part,))
    supernet.double()
    names = [name for name, _ in supernet.named_parameters() if "rho" in name]
    assert sorted(names) == ["learnable.0.rho.normal", "learnable.0.rho.reduce"]
    weights = {name: weight.detach() for name, weight in supernet.named_parameters()}
    mixing, x = random_mixing(space), images()

    def loss(rho):
        with frozen_batch_stats(supernet), draws.keyed(0, 0, "inner"):
            substituted = {**weights, "learnable.0.rho.reduce": rho}
            return functional_call(supernet, substituted, (x, mixing)).square().mean()

    rho = (weights["learnable.0.rho.reduce"] + torch.tensor([0.3, -0.4], dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(rho), rho)
    for row in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[row] = 1e-5
        difference = (loss(rho.detach() + step) - loss(rho.detach() - step)) / 2e-5
        assert float(gradient[row]) == pytest.approx(float(difference), rel=1e-6)
        assert float(gradient[row]) != 0
