"""What is refused, what is computed eagerly, and what is said about it."""

import logging
from contextlib import contextmanager

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphed_toy import REPLACED, Toy, batch, graphed_of, mixing_of, same, state, toy
from nas_lightning.capture import stand_in
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats, plain_autograd


@pytest.fixture(autouse=True)
def recorded():
    with stand_in():
        yield


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


@contextmanager
def globally_hooked():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
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
        "torch's global hooks on modules": globally_hooked(),
        "a dispatch mode, such as a counter of operators": FlopCounterMode(display=False),
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
