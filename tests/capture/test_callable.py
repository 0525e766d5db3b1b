"""Graphed passes against eager code, bit for bit, through the stand-in of a graph."""

import copy
import logging
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.func import functional_call

from cases import build_space, images, random_genotype, random_mixing, tiny_supernet
from nas_lightning.capture import Graphed, Policy, stand_in, statements
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats, plain_autograd
from nas_lightning.regularizers import DropPath, Noise, SkipDropPath
from nas_lightning.spaces.operations import drop_path


class Toy(nn.Module):
    """Convolution, normalisation, a mask that drops images, a product with mixing weights; two heads."""

    graphable = True

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.idle = nn.Parameter(torch.ones(2))
        self.head = nn.Linear(4, 2)
        self.probability = 0.3
        self.passes = 0

    def forward(self, x, mixing):
        self.passes += 1
        y = torch.relu(self.norm(self.conv(x)))
        if self.training:
            y = drop_path(y, lambda: self.probability, "toy")
        y = y * mixing[:, None, None]
        return self.head(y.mean((2, 3))), y.sum((1, 2, 3)).detach()


def toy():
    torch.manual_seed(0)
    return Toy().double()


def batch(step, size=4):
    return images(size, seed=step).double()


def mixing_of(step):
    return torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).requires_grad_()


def graphed_of(module, setting="required", **more):
    def function(weights, inputs, options):
        return functional_call(module, weights, (inputs["x"], inputs["mixing"]))

    return Graphed(function, module, Policy(setting, "graph"), **more)


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def state(module):
    return [t.detach().clone() for t in module.state_dict().values()]


@pytest.fixture(autouse=True)
def recorded():
    with stand_in():
        yield


def step_of(compute, module, step, size=4):
    """One pass and its gradients; weights move a little. Returns all that came out."""
    x, mixing = batch(step, size), mixing_of(step)
    with draws.keyed(0, step, "weights"):
        logits, sums = compute(x, mixing)
    assert logits.requires_grad
    assert not sums.requires_grad
    module.zero_grad()
    logits.square().sum().backward()
    found = [logits.detach(), sums, mixing.grad, *(p.grad for p in module.parameters())]
    with torch.no_grad():
        for p in module.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    return found


def test_steps_are_those_of_eager_code():
    """Images, mixing weights, masks, weights and the probability change; buffers move once a pass."""
    plain, module = toy(), toy()
    graphed = graphed_of(module)
    for step in range(5):
        plain.probability = module.probability = 0.1 + 0.15 * step
        expected = step_of(plain, plain, step)
        same(step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, step), expected)
        same(state(module), state(plain))
    assert module.norm.num_batches_tracked == 5
    assert module.idle.grad is None  # as in eager code
    assert graphed.policy.captures == 1


def test_the_draws_outside_of_a_block_are_those_of_eager_code_in_number():
    plain, module = toy(), toy()
    graphed = graphed_of(module)
    found = []
    for compute in (plain, lambda x, m: graphed({"x": x, "mixing": m})):
        torch.manual_seed(5)
        found.append([compute(batch(step), mixing_of(step))[0].detach() for step in range(3)] + [torch.rand(2)])
    same(*found)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_evaluation_is_a_graph_without_a_backward_pass(guard):
    plain, module = toy().eval(), toy().eval()
    graphed = graphed_of(module)
    for step in range(3):
        with guard():
            same(graphed({"x": batch(step), "mixing": mixing_of(step)}), plain(batch(step), mixing_of(step)))
    same(state(module), state(plain))
    assert graphed.policy.captures == 1
    module.train()  # the same shapes in train mode: another graph
    plain.train()
    same(step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, 0), step_of(plain, plain, 0))


def test_other_weights_go_into_slots():
    """Weights of an unrolled step: not the module's, gradients with respect to them; frozen ones get none."""
    plain, module = toy(), toy()
    graphed = graphed_of(module)
    for step in range(3):
        results = []
        for net, compute in ((plain, None), (module, graphed)):
            weights = {n: (p.detach() + 0.1 * (step + 1)).requires_grad_() for n, p in net.named_parameters()}
            x, mixing = batch(step), mixing_of(step)
            with draws.keyed(0, step, "inner"), frozen_batch_stats(net):
                if compute is None:
                    logits, _ = functional_call(net, weights, (x, mixing))
                else:
                    logits, _ = compute({"x": x, "mixing": mixing}, weights)
            wanted = [mixing, *weights.values()]
            results.append([logits, *torch.autograd.grad(logits.sum(), wanted, allow_unused=True)])
        same(*results)
    same(state(module), state(plain))  # statistics were frozen
    results = []
    for net in (plain, module):
        frozen = {n: p.detach() for n, p in net.named_parameters()}
        x, mixing = batch(0), mixing_of(0)
        with draws.keyed(0, 0, "weights"), frozen_batch_stats(net):
            if net is plain:
                logits, _ = functional_call(net, frozen, (x, mixing))
            else:
                logits, _ = graphed({"x": x, "mixing": mixing}, frozen)
        logits.sum().backward()
        results.append([logits, mixing.grad])
    same(*results)
    assert graphed.policy.captures == 2
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("setting", ["required", "off"])
def test_frozen_weights_get_no_gradients(setting):
    plain, module = toy(), toy()
    graphed = graphed_of(module, setting)
    for step in range(2):
        x, mixing, other = batch(step), mixing_of(step), mixing_of(step)
        with draws.keyed(0, step, "outer"):
            logits, _ = graphed({"x": x, "mixing": mixing}, frozen=True)
        with draws.keyed(0, step, "outer"):
            expected, _ = plain(x, other)
        logits.square().sum().backward()
        expected.square().sum().backward()
        same([logits, mixing.grad], [expected, other.grad])
    assert all(p.grad is None for p in module.parameters())
    with draws.keyed(0, 0, "outer"):
        assert not graphed({"x": batch(0), "mixing": mixing_of(0).detach()}, frozen=True)[0].requires_grad


def test_addresses_stay():
    module = toy()
    graphed = graphed_of(module)
    seen = []
    for step in range(3):
        step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, step)
        (section,) = graphed._sections.values()
        drawn = [t for _, t in section._drawn]
        assert len(drawn) == 1
        static = [*section.static, *section.outputs, *drawn, *(g for g in section.gradients if g is not None)]
        seen.append([t.data_ptr() for t in static])
        assert [t.data_ptr() for t in section.static[2:]] == [p.data_ptr() for p in module.parameters()]
    assert seen[0] == seen[1] == seen[2]


def test_outputs_and_gradients_survive_the_next_pass():
    module = toy()
    graphed = graphed_of(module)
    first = step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, 0)
    kept = [None if t is None else t.clone() for t in first]
    module.zero_grad()
    step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, 1)
    same(first, kept)


def test_what_went_in_and_what_autograd_gave_is_the_callers():
    """Weights given once are not written to, and gradients are not overwritten, by the next pass."""
    module = toy()
    graphed, kept = graphed_of(module), []
    for step in range(2):
        weights = {n: (p.detach() + step + 1).requires_grad_() for n, p in module.named_parameters()}
        given = [batch(step), mixing_of(step), *weights.values()]
        with draws.keyed(0, step, "inner"):
            logits, _ = graphed({"x": given[0], "mixing": given[1]}, weights)
        found = torch.autograd.grad(logits.square().sum(), given[1:], allow_unused=True)
        kept += [(t, t.detach().clone()) for t in (*given, *found) if t is not None]
    assert all(torch.equal(*pair) for pair in kept)


def test_another_shape_is_eager():
    plain, module = toy(), toy()
    graphed = graphed_of(module)
    for step, size in enumerate((4, 4, 3, 4)):
        found = step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, step, size)
        same(found, step_of(plain, plain, step, size))
    assert graphed.policy.captures == 1
    assert graphed.policy.reason is None


REPLACED = {
    "data": lambda module: setattr(module.conv.weight, "data", module.conv.weight.data + 1),
    "assign": lambda module: module.load_state_dict({n: t + 1 for n, t in module.state_dict().items()}, assign=True),
    "layout": lambda module: module.to(memory_format=torch.channels_last),
    "buffer": lambda module: setattr(module.norm, "running_mean", torch.ones(4, dtype=torch.float64)),
    "module": lambda module: setattr(module, "head", toy().head),
}


@pytest.mark.parametrize("name", REPLACED)
def test_replaced_tensors_are_captured_anew(name):
    plain, module = toy(), toy()
    graphed = graphed_of(module)
    for step in range(4):
        if step == 2:
            REPLACED[name](plain)
            REPLACED[name](module)
        same(step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, step), step_of(plain, plain, step))
        same(state(module), state(plain))
    assert graphed.policy.captures == 2


def test_a_rollback_copies_in_place_and_needs_no_capture():
    plain, module = toy(), toy()
    graphed, saved = graphed_of(module), copy.deepcopy(plain.state_dict())
    for step in range(4):
        if step == 2:
            plain.load_state_dict(saved)
            module.load_state_dict(saved)
        same(step_of(lambda x, m: graphed({"x": x, "mixing": m}), module, step), step_of(plain, plain, step))
    assert graphed.policy.captures == 1


def test_a_backward_pass_needs_its_own_replay():
    graphed = graphed_of(toy())
    first, _ = graphed({"x": batch(0), "mixing": mixing_of(0)})
    second, _ = graphed({"x": batch(1), "mixing": mixing_of(1)})
    with pytest.raises(RuntimeError, match="after another pass was replayed"):
        first.sum().backward()
    second.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="for a second time"):
        second.sum().backward()


def test_a_pass_of_another_graph_counts_too():
    """They share their memory."""
    module = toy()
    graphed = graphed_of(module)
    first, _ = graphed({"x": batch(0), "mixing": mixing_of(0)})
    with torch.no_grad():
        graphed({"x": batch(1), "mixing": mixing_of(1)})
    with pytest.raises(RuntimeError, match="after another pass was replayed"):
        first.sum().backward()


def test_a_second_derivative_is_refused_or_eager():
    module, mixing = toy(), mixing_of(0)
    graphed = graphed_of(module)

    def second(x):
        with draws.keyed(0, 0, "weights"):
            logits, _ = graphed({"x": x, "mixing": mixing})
        (first,) = torch.autograd.grad(logits.square().sum(), mixing, create_graph=True)
        return torch.autograd.grad(first.sum(), mixing)[0]

    with pytest.raises(RuntimeError, match="plain_autograd"):
        second(batch(0))
    with plain_autograd():
        found = second(batch(0))
    assert torch.isfinite(found).all()
    assert graphed.policy.passing == ["gradients of second order"]


@contextmanager
def hooked(module):
    handle = module.head.register_forward_hook(lambda *_: None)
    try:
        yield
    finally:
        handle.remove()


def test_passes_that_a_replay_would_falsify_are_eager(recwarn):
    module = toy()
    graphed, inputs = graphed_of(module), {"x": batch(0), "mixing": mixing_of(0)}
    blocks = {
        "anomaly mode": torch.autograd.detect_anomaly(check_nan=False),
        "torch's hooks on modules": hooked(module),
        "gradients of second order": plain_autograd(),
    }
    for reason, block in blocks.items():
        with block:
            graphed(inputs)
        assert graphed.policy.passing[-1] == reason
    module.eval()
    torch.func.grad(lambda m: graphed({"x": batch(0), "mixing": m})[0].sum())(mixing_of(0).detach())
    torch.func.jvp(
        lambda m: graphed({"x": batch(0), "mixing": m})[0], (mixing_of(0).detach(),), (torch.ones(4).double(),)
    )
    assert graphed.policy.passing[-1] == "a transform of torch.func"
    assert graphed.policy.captures == 0
    assert graphed.policy.reason is None


def test_too_many_captures_end_in_eager_code(caplog):
    plain, module = toy(), toy()
    graphed = graphed_of(module, "auto")
    caplog.set_level(logging.INFO)
    found = []
    for compute in (lambda x, m, k: plain(x, m), lambda x, m, k: graphed({"x": x, "mixing": m}, options=k)):
        torch.manual_seed(0)
        found.append([compute(batch(k), mixing_of(k), k)[0] for k in range(55)])
    same(*found)
    same(state(module), state(plain))
    assert graphed.policy.captures == 50
    assert graphed.policy.reason == "more than 50 captures, the last one for other options"
    assert [r.message for r in caplog.records].count(f"engine: cuda graph off: {graphed.policy.reason}") == 1


def test_too_many_captures_are_an_error_where_graphs_are_required():
    graphed = graphed_of(toy(), limit=2)
    for option in range(2):
        graphed({"x": batch(0), "mixing": mixing_of(0)}, options=option)
    graphed({"x": batch(0), "mixing": mixing_of(0)}, options=1)  # known: no capture
    with pytest.raises(ConfigError, match=r"^graph=required: more than 2 captures, .* options; write graph=auto"):
        graphed({"x": batch(0), "mixing": mixing_of(0)}, options=2)


def test_every_capture_says_why(caplog):
    caplog.set_level(logging.INFO, "nas_lightning.capture")
    module = toy()
    graphed = graphed_of(module)
    for change in (lambda: None, module.eval, module.train, lambda: REPLACED["data"](module)):
        change()
        graphed({"x": batch(0), "mixing": mixing_of(0)})
    with frozen_batch_stats(module), torch.no_grad():
        graphed({"x": batch(0), "mixing": mixing_of(0)})
    causes = [r.message.rpartition("; ")[2] for r in caplog.records]
    assert causes == ["first pass", "other modes", "other addresses", "other gradients, modes"]
    assert "train {'x': [4, 3, 8, 8], 'mixing': [4]}, 7 gradients" in caplog.records[0].message


class Reads(Toy):
    graphable = True

    def forward(self, x, mixing):
        return super().forward(x * float(x.mean()), mixing)


class Frozen(Toy):
    graphable = True

    def forward(self, x, mixing):
        return super().forward(x * self.probability, mixing)


def test_a_section_that_reads_the_device_is_eager_and_its_buffers_are_as_before(caplog):
    caplog.set_level(logging.INFO)
    torch.manual_seed(0)
    module = Reads().double()
    graphed = graphed_of(module, "auto")
    with draws.keyed(0, 0, "weights"):
        found = graphed({"x": batch(0), "mixing": mixing_of(0)})
    assert graphed.policy.reason == "_local_scalar_dense reads the device"
    assert module.norm.num_batches_tracked == 1
    torch.manual_seed(0)
    with draws.keyed(0, 0, "weights"):
        same(found, Reads().double()(batch(0), mixing_of(0)))


def test_the_stand_in_finds_a_frozen_number():
    torch.manual_seed(0)
    module = Frozen().double()
    graphed = graphed_of(module)
    graphed({"x": batch(0), "mixing": mixing_of(0)})
    module.probability = 0.5
    with pytest.raises(RuntimeError, match=r"operator 0 of the section is .*0\.5.* was captured"):
        graphed({"x": batch(0), "mixing": mixing_of(0)})


def test_under_autocast_weights_are_cast_at_every_replay():
    plain, module = toy().float(), toy().float()
    graphed = graphed_of(module)

    def under(compute):
        def run(x, mixing):
            with torch.autocast("cpu", torch.bfloat16):
                return compute(x.float(), mixing.float())

        return run

    for step in range(3):
        expected = step_of(under(plain), plain, step)
        same(step_of(under(lambda x, m: graphed({"x": x, "mixing": m})), module, step), expected)


# ------------------------------------------------------------------------------------------------ supernets, networks
@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("space", ["darts", "s2", "s4"])
def test_supernets_with_regularizers(space, engine):
    """Mixing weights as inputs with gradients; probabilities and strengths change from epoch to epoch."""
    space = build_space(space)
    nets, parts = [], []
    for _ in range(2):
        parts.append((DropPath(0.4, epochs=4), Noise("all", decay=True, epochs=4), SkipDropPath(0.2)))
        net = tiny_supernet(space, engine=engine, layers=2).double()
        net.attach(parts[-1])
        nets.append(net)
    plain, module = nets
    names = list(random_mixing(space))
    policy = Policy("required", "search.graph")
    graphed = Graphed(
        lambda w, i, _: functional_call(module, w, (i["images"], {n: i[n] for n in names})), module, policy
    )
    for step in range(4):
        results = []
        for net, of_net in zip(nets, parts, strict=True):
            of_net[2].probability = 0.2 + 0.1 * step
            for part in of_net:
                part.at_epoch(step)
            mixing = {n: m.double().requires_grad_() for n, m in random_mixing(space, step).items()}
            x = images(seed=step).double()
            with draws.keyed(0, step, "weights"):
                if net is plain:
                    y = net(x, mixing)
                else:
                    operations = sorted({op for c in space.choices.values() for row in c.options for op in row})
                    y = graphed({"images": x, **mixing}, options=statements(of_net, operations))
            net.zero_grad()
            y.square().sum().backward()
            results.append([y, *(m.grad for m in mixing.values()), *(p.grad for p in net.parameters())])
        same(*results)
        same(state(module), state(plain))
    assert policy.captures == 2  # without drop-path in the first epoch, with it afterwards


def test_networks_with_drop_path():
    space = build_space("s4")
    genotype = random_genotype(space, 3)
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(space.network(genotype, 3, init_channels=4, layers=3, auxiliary=True).double())
    plain, module = nets
    graphed = Graphed(lambda w, i, _: functional_call(module, w, (i["x"],)), module, Policy("required", "graph"))
    for step in range(3):
        results = []
        for net in nets:
            net.drop_probability = 0.1 * (step + 1)
            x = images(4, 32, seed=step).double()
            with draws.keyed(0, step, "evaluation"):
                logits, auxiliary = net(x) if net is plain else graphed({"x": x})
            net.zero_grad()
            (logits.square().sum() + auxiliary.sum()).backward()
            results.append([logits, auxiliary, *(p.grad for p in net.parameters())])
        same(*results)
        same(state(module), state(plain))
