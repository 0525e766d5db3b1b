"""Graphed passes against eager code, bit for bit, through the stand-in of a graph."""

import copy

import pytest
import torch
from torch.func import functional_call

from graphed_toy import REPLACED, batch, graphed_of, mixing_of, same, state, step_of, toy
from nas_lightning.capture import stand_in
from nas_lightning.core import draws
from nas_lightning.core.functional import frozen_batch_stats


@pytest.fixture(autouse=True)
def recorded():
    with stand_in():
        yield


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
