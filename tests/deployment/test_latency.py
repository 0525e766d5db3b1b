"""Latency is a median: a single slow call does not change it."""

import time

import torch

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
