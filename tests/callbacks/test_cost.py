"""Cost of a phase against a clock that the test moves by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import nas_lightning as nl
from lightning_parts import CrashOnce
from nas_lightning.callbacks import Cost, cost, hardware
from nas_lightning.core.batches import Chunk
from nas_lightning.runs.folder import RunFolder

TRAINER = SimpleNamespace(world_size=1)


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(cost, "time", found)
    return found


@pytest.fixture
def memory(monkeypatch):
    """Peaks in MiB that are told one after the other, the last one for good."""
    peaks = [100.0]
    monkeypatch.setattr(cost, "peak_memory_mib", lambda device: peaks.pop(0) if len(peaks) > 1 else peaks[0])
    return peaks


def module(phase="search", device="cpu", reads_arch=True):
    return SimpleNamespace(phase=phase, device=torch.device(device), reads_arch=reads_arch)


def part(number):
    return torch.zeros(number, 1, 2, 2), torch.zeros(number)


def test_tokens_of_a_text_count_as_images_do(clock, memory):
    chunk = Chunk(torch.zeros(5, 3).long()), torch.zeros(5, 3)
    counter = Cost()
    epoch(counter, clock, module(), [{"train": chunk, "arch": chunk}, {"train": chunk, "arch": chunk}])
    assert counter.images == 60


def epoch(counter, clock, searched, batches, step=1.0, validation=0.0):
    counter.on_train_epoch_start(TRAINER, searched)
    for index, batch in enumerate(batches):
        clock.now += step
        counter.on_train_batch_end(TRAINER, searched, None, batch, index)
    counter.on_validation_start(TRAINER, searched)
    clock.now += validation
    counter.on_validation_end(TRAINER, searched)
    counter.on_train_epoch_end(TRAINER, searched)


def test_both_streams_count_and_validation_does_not_slow_training(clock, memory):
    counter, searched = Cost(), module()
    counter.on_fit_start(TRAINER, searched)
    batches = [{"train": part(8), "arch": part(8)}, {"train": part(5), "arch": part(8)}]
    for _ in range(2):
        epoch(counter, clock, searched, batches, step=2.0, validation=6.0)
        clock.now += 50  # between two epochs something else is measured
    counter.on_fit_end(TRAINER, searched)
    # 29 images an epoch in 2 · 2 s; 10 s with the validation.
    assert counter.report() == {"seconds": 20.0, "images": 58, "images_per_second": 7.2, "peak_memory_mib": 100.0}


def test_the_arch_stream_counts_in_steps_that_read_it(clock, memory):
    counter = Cost()
    for reads in (False, True):
        epoch(counter, clock, module(reads_arch=reads), [{"train": part(8), "arch": part(5)}])
    assert counter.images == 8 + 8 + 5


def test_validation_outside_of_training_is_not_timed(clock, memory):
    counter, searched = Cost(), module()
    counter.on_validation_start(TRAINER, searched)
    clock.now += 9
    counter.on_validation_end(TRAINER, searched)
    epoch(counter, clock, searched, [part(30)], step=3.0)
    assert counter.report() == {"seconds": 3.0, "images": 30, "images_per_second": 10.0, "peak_memory_mib": 100.0}


def test_each_phase_by_itself(clock, memory):
    searching, selecting = Cost(), Cost("selection")
    memory[:] = [300.0, 200.0]
    for phase, seconds in (("search", 2.0), ("selection", 5.0)):
        for counter in (searching, selecting):
            start = clock.now
            counter.on_fit_start(TRAINER, module(phase))
            epoch(counter, clock, module(phase), [part(10)], step=seconds)
            counter.on_fit_end(TRAINER, module(phase))
            clock.now = start
    assert searching.report() == {"seconds": 2.0, "images": 10, "images_per_second": 5.0, "peak_memory_mib": 300.0}
    assert selecting.report() == {"seconds": 5.0, "images": 10, "images_per_second": 2.0, "peak_memory_mib": 200.0}
    assert searching.state_key != selecting.state_key


def test_nothing_trained():
    assert Cost().report() == {"seconds": 0.0, "images": 0, "images_per_second": 0.0, "peak_memory_mib": None}


def test_what_was_done_before_a_resume_counts(clock, memory):
    memory[:] = [800.0, 100.0]
    first, second = Cost(), Cost()
    epoch(first, clock, module(), [part(10)], step=1.0, validation=1.0)
    second.load_state_dict(first.state_dict())
    clock.now += 1000
    epoch(second, clock, module(), [part(50)], step=2.0)
    assert second.report() == {"seconds": 4.0, "images": 60, "images_per_second": 20.0, "peak_memory_mib": 800.0}


def test_memory_of_the_gpu_is_that_of_the_phase(monkeypatch):
    """The counter is reset when the phase starts, on the device of the module; another phase leaves it alone."""
    reset = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {1: 3 * 2**20}[device.index])
    counter = Cost()
    counter.on_fit_start(TRAINER, module("selection", "cuda:1"))
    assert reset == []
    counter.on_fit_start(TRAINER, module(device="cuda:1"))
    assert reset == [torch.device("cuda:1")]
    counter.on_fit_end(TRAINER, module(device="cuda:1"))
    assert counter.report()["peak_memory_mib"] == 3.0


STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells it in this file")
def test_memory_of_the_process_on_the_cpu():
    """As the system tells it by another way, also after the memory was given back."""
    held = torch.ones(2**25)  # 128 MiB
    device = held.device
    del held
    told = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    assert cost.peak_memory_mib(device) == pytest.approx(int(told.split()[1]) / 2**10, abs=8)


def test_hardware(monkeypatch):
    assert hardware({"accelerator": "cpu", "precision": None}) == {
        "device": f"cpu ({torch.get_num_threads()} threads)",
        "precision": "32-true",
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert hardware({"precision": "bf16-mixed"}) == {"device": "a GPU", "precision": "bf16-mixed"}
    assert hardware({"accelerator": "cpu"})["device"].startswith("cpu")


# ------------------------------------------------------------------------------------------------- in a run folder
CRASH = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def state_of(folder, name="last.ckpt"):
    return RunFolder(folder).checkpoint(name)["callbacks"]["Cost"]


@pytest.mark.parametrize("phase", ["search", "evaluation"])
def test_a_resumed_run_counts_every_image_once(tiny, tmp_path, phase):
    """40 images: a search step reads one of each half, so an epoch reads 40 again; retraining reads all 40."""
    words = [*tiny, *CRASH, f"+callbacks.crash.phase={phase}", "+callbacks.crash.epoch=1"]
    CrashOnce.armed = True
    task = {"search": nl.search, "evaluation": nl.evaluate}[phase]
    given = [] if phase == "search" else ["random"]
    with pytest.raises(RuntimeError, match="the machine died"):
        task(nl.compose(words), *given, run_dir=tmp_path / "run")
    nl.resume(tmp_path / "run")
    state = state_of(tmp_path / "run", "last.ckpt" if phase == "search" else "evaluation/last.ckpt")
    section = summary_of(tmp_path / "run")[phase]
    training = state["seconds"] - state["validating"]
    assert 0 < state["validating"] < state["seconds"]
    assert section["images_per_second"] == pytest.approx(state["images"] / training, abs=0.06)
    assert state["images"] == IMAGES[phase]
    assert section["peak_memory_mib"] >= round(state["peak"], 1) > 50
    assert section["seconds"] == pytest.approx(state["seconds"], abs=1e-3)


IMAGES = {"search": 2 * (20 + 2 * 16), "evaluation": 2 * 40}
"""Two epochs: of a half of 20 the train stream reads 20 and the arch stream two whole batches of 16."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["search.arch.interval=3"], 4 * 20 + 2 * 16),  # of 8 steps the third and the sixth
        (["search.arch.warmup_epochs=3"], 4 * 20 + 2 * 16),  # the two steps of the last epoch
        pytest.param(["method=rs_ws"], 4 * 20, marks=pytest.mark.slow),
        (["search.arch.images=train"], 4 * 20),
    ],
)
def test_steps_without_an_architecture_step_read_one_stream(tiny, tmp_path, words, expected):
    """Two steps an epoch, with 16 and 4 images of the train half; 16 of the arch half in each architecture step."""
    nl.search(nl.compose([*tiny, "search.epochs=4", *words]), run_dir=tmp_path / "run")
    assert summary_of(tmp_path / "run")["search"]["images"] == expected


def test_retraining_says_on_what_it_ran(tiny, tmp_path):
    words = [*tiny, "trainer.precision=bf16-mixed"]
    nl.evaluate(nl.compose(words), "random", run_dir=tmp_path / "run")
    evaluation = summary_of(tmp_path / "run")["evaluation"]
    assert evaluation["precision"] == "bf16-mixed"
    assert evaluation["device"] == f"cpu ({torch.get_num_threads()} threads)"
    assert evaluation["images_per_second"] > 0
    assert evaluation["peak_memory_mib"] > 50
