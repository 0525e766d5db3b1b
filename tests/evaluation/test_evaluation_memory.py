"""The memory of a retraining, predicted on `meta`: that of a real step, and refused where it does not fit."""

import subprocess
import sys

import pytest
import torch

import nas_lightning as nl
from killed import environment
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.data.stand_in import without_reading
from nas_lightning.evaluation import memory
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.workbench import Workbench

SMALL = ["data=cifar10", "evaluation=cifar_36x20", "evaluation.layers=3", "evaluation.init_channels=8", "trainer=cpu"]


def bench_of(*words):
    named = [] if any(word.startswith("space=") for word in words) else ["space=darts"]
    small = [word for word in SMALL if word.partition("=")[0] not in [other.partition("=")[0] for other in words]]
    bench = Workbench(as_dict(nl.compose([*small, *named, *words])), RunFolder("unused"))
    bench.data = without_reading(bench.source)
    return bench


def network_of(bench):
    return bench.evaluator.network(random_genotype(bench.space, bench.config.seed), bench)


def demand(*words):
    bench = bench_of(*words)
    return memory.demand_of_training(bench.evaluator, network_of(bench), bench)


def test_it_grows_with_the_images_but_for_the_weights():
    some, twice = (demand(f"evaluation.batch_size={size}") for size in (16, 32))
    assert 1.8 * some.peak < twice.peak < 2 * some.peak
    assert (some.kind, some.key, some.images) == ("training step", "evaluation.batch_size", 16)


def test_weights_gradients_and_momenta_are_part_of_it():
    bench = bench_of("evaluation.batch_size=2", "evaluation.init_channels=64")
    network = network_of(bench)
    weights = 4 * sum(p.numel() for p in network.parameters())
    predicted = memory.demand_of_training(bench.evaluator, network, bench).peak
    counted = predicted / memory.OPERATORS
    assert 3 * weights < counted < 4 * weights + 2**26
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_what_does_not_fit_is_refused_with_what_does(monkeypatch, caplog):
    bench = bench_of("evaluation.batch_size=32")
    needed = memory.demand_of_training(bench.evaluator, network_of(bench), bench).peak
    monkeypatch.setattr(memory, "free_for", lambda bench: needed // 2)
    refusal = r"^evaluation\.batch_size=32: a training step needs .* use evaluation\.batch_size=1\d$"
    with pytest.raises(ConfigError, match=refusal):
        memory.check_memory(bench.evaluator, lambda: network_of(bench), bench)
    monkeypatch.setattr(memory, "free_for", lambda bench: int(1.2 * needed))
    memory.check_memory(bench.evaluator, lambda: network_of(bench), bench, found=False)
    assert (
        "training step of a random genotype 0.1 GiB, predicted for 32 px, 8 channels, 3 cells, batch 32" in caplog.text
    )


def test_a_small_training_is_not_predicted(monkeypatch):
    bench = bench_of("evaluation.batch_size=2")
    monkeypatch.setattr(memory, "free_for", lambda bench: 2**34)
    memory.check_memory(bench.evaluator, lambda: pytest.fail("a network was built"), bench)


@pytest.mark.parametrize(
    ("heaviest", "words"),
    [("nor_conv_3x3", ["space=nasbench201", "evaluation=nasbench201"]), ("sep_conv_5x5", [])],
)
def test_no_step_exceeds_the_bound_below_which_none_is_predicted(heaviest, words):
    bench = bench_of(*words, "evaluation.batch_size=16")
    space, recipe = bench.space, bench.evaluator
    scores = {}
    for name, choice in space.choices.items():
        scores[name] = torch.tensor([[float(option == heaviest) for option in row] for row in choice.options])
    network = recipe.network(space.genotype(scores), bench)
    peak = memory.peak_of_step(recipe, network, bench.objective, (3, 32, 32), torch.device("cpu"))
    bound = 4 * memory.MAPS * 16 * 32**2 * recipe.init_channels * recipe.layers
    assert bound / 10 < peak < bound


REAL = """
import sys
import torch
import test_evaluation_memory as here
from nas_lightning.evaluation.step import TrainingStep

def status(name):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

bench = here.bench_of(*sys.argv[1:])
recipe = bench.evaluator
network = here.network_of(bench)
before = status("VmRSS") - 4 * sum(p.numel() for p in network.parameters())
step = TrainingStep(network.train(), bench.objective, recipe)
step.prepare("cpu")
optimizer = step.optimizer()
for _ in range(2):
    step(optimizer, torch.randn(recipe.batch_size, 3, 32, 32), torch.randint(0, 10, (recipe.batch_size,)))
print(status("VmHWM") - before)
"""
SIZES = {
    "darts": ["evaluation.layers=8", "evaluation.init_channels=16", "evaluation.batch_size=48"],
    "nasbench201": [
        "space=nasbench201",
        "evaluation=nasbench201",
        "evaluation.layers=5",
        "evaluation.init_channels=16",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("space", SIZES)
def test_the_peak_is_that_of_a_fresh_process(space):
    """Peak RSS above that of the imports, within a fifth."""
    program = [sys.executable, "-c", REAL, *SIZES[space]]
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    real = int(done.stdout)
    assert real > 3e8
    assert demand(*SIZES[space]).peak == pytest.approx(real, rel=0.2)
