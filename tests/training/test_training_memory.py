"""What each process of a run may take, and when work is refused."""

import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.memory import GIB, Demand
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training import memory
from nas_lightning.training.workbench import Workbench


def bench_of(*words):
    return Workbench(as_dict(nl.compose(["trainer=cpu", *words])), RunFolder("unused"))


def test_processes_on_a_cpu_share_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * GIB)
    assert memory.free_for(bench_of()) == 8 * GIB
    assert memory.free_for(bench_of("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=4")) == 2 * GIB


def test_the_device_with_the_least_decides_and_the_first_process_alone(monkeypatch):
    bench = bench_of()
    left = {"one": 8 * GIB, "other": 3 * GIB}
    monkeypatch.setattr(type(bench.probe.strategy), "parallel_devices", ["one", "other"], raising=False)
    monkeypatch.setattr(memory, "free_bytes", left.get)
    assert memory.free_for(bench) == 3 * GIB
    monkeypatch.setattr(ranks, "is_first", lambda: False)
    assert memory.free_for(bench) is None


def test_mixed_precision_is_warned_of_and_not_refused(caplog):
    demand = Demand("search step", 10 * GIB, "search.batch_size", 64)
    with pytest.raises(ConfigError, match=r"search\.batch_size=64: a search step needs about 10\.0 GiB"):
        memory.refuse_excess(bench_of(), demand, GIB)
    memory.refuse_excess(bench_of("trainer.precision=bf16-mixed"), demand, GIB)
    assert "trainer.precision=bf16-mixed takes less" in caplog.text
