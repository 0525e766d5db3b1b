"""What stands against a capture, and who is told."""

import logging

import pytest
import torch
from torch import nn

from cases import build_space, random_genotype, tiny_supernet
from nas_lightning import regularizers
from nas_lightning.capture import Policy, stand_in, statements
from nas_lightning.capture.policy import (
    reason_of_device,
    reason_of_module,
    reason_of_processes,
    reason_of_regularizer,
)
from nas_lightning.core.errors import ConfigError
from nas_lightning.regularizers import DropPath, Noise, Regularizer, SkipDropPath


def test_a_reason_is_said_once(caplog):
    caplog.set_level(logging.INFO)
    policy = Policy("auto", "search.graph")
    assert policy.summary == "on"
    policy.refuse_any([None, "images are on the cpu", "another"])
    policy.refuse("another")
    policy.skip("anomaly mode")
    policy.skip("anomaly mode")
    assert [r.message for r in caplog.records] == [
        "engine: cuda graph off: images are on the cpu",
        "engine: cuda graph off for single passes: anomaly mode",
    ]
    assert policy.summary == "off: images are on the cpu"


def test_required_makes_a_reason_an_error_that_says_what_to_write():
    policy = Policy("required", "search.graph")
    policy.refuse_any([None])
    policy.skip("anomaly mode")
    with pytest.raises(ConfigError, match=r"^search\.graph=required: no GPU; write search\.graph=auto, which then"):
        policy.refuse("no GPU")


def test_off_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    policy = Policy("off", "search.graph")
    policy.refuse("images are on the cpu")
    assert policy.reason == "search.graph=off"
    assert caplog.records == []


def test_devices_and_processes():
    assert reason_of_device(torch.device("cpu")) == "images are on the cpu"
    assert reason_of_device(torch.device("cuda", 1)) is None
    with stand_in():
        assert reason_of_device(torch.device("cpu")) is None
    assert reason_of_processes(1) is None
    assert reason_of_processes(2) == "2 processes train together"


# ------------------------------------------------------------------------------------------------------- modules
class Users(nn.Module):
    pass


class Said(nn.Module):
    graphable = True


class Derived(Said):
    pass


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Users(), "module test_policy.Users does not say graphable = True"),
        (Said(), None),
        (Derived(), "module test_policy.Derived does not say graphable = True"),
        (nn.Dropout(), "module torch.nn.modules.dropout.Dropout cannot be captured"),
        (nn.SyncBatchNorm(2), "module torch.nn.modules.batchnorm.SyncBatchNorm cannot be captured"),
        (nn.GELU(), None),
    ],
)
def test_modules(part, reason):
    assert reason_of_module(nn.Sequential(nn.Conv2d(3, 3, 1), part)) == reason


def test_our_own_modules_are_known():
    space = build_space("s4")
    net = tiny_supernet(space)
    net.attach((DropPath(0.2, epochs=2), Noise("all", learnable=True)))
    assert reason_of_module(net) is None
    assert reason_of_module(space.network(random_genotype(space), 3, init_channels=4, layers=3)) is None


# -------------------------------------------------------------------------------------------------- regularizers
class Acts(Regularizer):
    def on_op(self, y, op, edge):
        return 2 * y


class ActsTwice(Acts):
    def on_edge(self, y, x, edge):
        return 2 * y


class Watches(Regularizer):
    def on_images(self, images):
        return images


class Declared(Acts):
    graphable = True


class Deeper(Declared):
    def metrics(self):
        return {}


class Changed(DropPath):
    def on_edge(self, y, x, edge):
        return super().on_edge(y, x, edge) * float(y.mean())


class WhenItPleases(SkipDropPath):
    def acts_on(self, op):
        return super().acts_on(op)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Regularizer(), None),
        (Watches(), None),
        (Acts(), "regularizer test_policy.Acts acts on operations"),
        (ActsTwice(), "regularizer test_policy.ActsTwice acts on operations and edges"),
        (Declared(), None),
        (Deeper(), None),
        (Changed(), "regularizer test_policy.Changed acts on edges"),
        (WhenItPleases(), "regularizer test_policy.WhenItPleases acts on operations"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_regularizers(part, reason):
    assert reason_of_regularizer(part) == reason


def test_all_of_ours_can_be_captured():
    ours = [getattr(regularizers, name) for name in regularizers.__all__]
    parts = [kind() for kind in ours if kind is not Regularizer]
    assert len(parts) == 10
    assert [reason_of_regularizer(part) for part in parts] == [None] * 10


def test_statements_follow_what_acts():
    drop, skip = DropPath(0.4, epochs=4), SkipDropPath(0.2)
    parts, seen = (drop, skip), []
    for change in (lambda: None, lambda: drop.at_epoch(2), lambda: drop.at_epoch(3), skip.eval, skip.train):
        change()
        seen.append(statements(parts, ["none", "skip_connect"]))
    skip.probability = 0.0
    seen.append(statements(parts, ["none", "skip_connect"]))
    assert seen[1] == seen[2] == seen[4]  # another probability is no other statement
    assert len(set(seen)) == 4
