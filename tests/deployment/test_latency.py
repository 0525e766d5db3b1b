"""Latency is a median, which a single slow call does not change; operations of a space are timed one by one."""

import time

import torch

from layered_toy import toy
from nas_lightning.core.costs import Costs
from nas_lightning.core.functional import count_parameters
from nas_lightning.deployment import latency


def test_the_median_of_known_waits(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    waits = iter([0.0] * latency.WARM_UP + [0.02, 0.02, 0.5, 0.02, 0.02])
    found = latency.median_milliseconds(lambda images: time.sleep(next(waits)), torch.zeros(1))
    assert 20 <= found < 200
    assert next(waits, None) is None  # LEAST calls after the time is over


def test_many_fast_calls_end(monkeypatch):
    calls = []
    monkeypatch.setattr(latency, "SECONDS", 60.0)
    assert latency.median_milliseconds(calls.append, torch.zeros(1)) >= 0
    assert len(calls) == latency.WARM_UP + latency.MOST


def test_the_cpu_has_a_name():
    name = latency.cpu_name()
    assert name.strip() == name != ""


def test_each_structure_is_timed_once_and_counted_where_it_is():
    """A timer that returns the parameters of what it times: latencies then are the counted parameters."""
    space = toy()
    costs = Costs(space, lambda genotype: space.network(genotype, num_classes=3), lambda: torch.zeros(1, 3, 8, 8))
    timed = []

    def time_call(part, images):
        timed.append((repr(part), tuple(images.shape)))
        return float(count_parameters(part))

    found, rest = latency.operation_latencies(costs, torch.zeros(2, 3, 8, 8), time_call)
    params = costs.table("params")
    assert rest == params.fixed
    for (name, row, option), value in found.items():
        assert value == params.options[name][row, option]
    assert len(found) == int(space.choices["layers"].mask.sum())
    assert {shape[0] for _, shape in timed} == {2}
    networks = [call for call in timed if call[0].startswith("LayerNetwork")]
    operations = [call for call in timed if not call[0].startswith("LayerNetwork")]
    assert len(networks) == 5
    assert len(operations) == len(set(operations)) < len(found)  # the identity, at least, stands in several rows
