"""The memory of a search, predicted on `meta`: it grows with the images, and what does not fit is refused."""

import subprocess
import sys

import pytest
import torch

import nas_lightning as nl
from killed import environment
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.data.stand_in import without_reading
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches import memory
from nas_lightning.searches.build import build_module, search_data, stages_of
from nas_lightning.searches.optimizers import build_optimizers
from nas_lightning.training.workbench import Workbench

SMALL = ["data=cifar10", "search.layers=3", "search.init_channels=4", "trainer=cpu"]


def bench_of(*words):
    named = [] if any(word.startswith("space=") for word in words) else ["space=s5"]
    bench = Workbench(as_dict(nl.compose([*SMALL, *named, *words])), RunFolder("unused"))
    bench.data = without_reading(bench.source)
    search_data(bench).setup("fit")
    return bench


def peaks(*words):
    bench = bench_of(*words)
    return memory.peaks_of_stage(bench, stages_of(bench)[0], torch.device("cpu"))


@pytest.mark.slow
def test_peaks_grow_with_the_images_and_curvature_with_its_own():
    eight, sixteen = peaks("search.batch_size=8"), peaks("search.batch_size=16")
    assert sixteen["search step"] == pytest.approx(2 * eight["search step"], rel=0.1)
    assert sixteen["curvature"] == pytest.approx(2 * eight["curvature"], rel=0.1)
    fewer = peaks("search.batch_size=16", "callbacks.curvature.images=8")
    assert fewer["search step"] == sixteen["search step"]
    assert fewer["curvature"] < 0.6 * sixteen["curvature"]
    assert fewer["curvature"] > fewer["search step"] / 2


@pytest.mark.parametrize(
    "method",
    [*(pytest.param(m, marks=pytest.mark.slow) for m in ("darts_2nd", "sdarts_adv")), "gdas", "drnas", "pc_darts"],
)
def test_methods_run_without_numbers(method):
    assert peaks(f"method={method}", "search.batch_size=4")["search step"] > 0


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_does(monkeypatch):
    bench = bench_of("search.batch_size=16")
    needed = memory.peaks_of_stage(bench, stages_of(bench)[0], torch.device("cpu"))
    monkeypatch.setattr(memory, "free_for", lambda bench: int(needed["curvature"] / 2))
    with pytest.raises(ConfigError, match=r"needs about .* use (callbacks\.curvature\.images|search\.batch_size)=\d+"):
        memory.check_memory([bench])
    monkeypatch.setattr(memory, "free_for", lambda bench: int(2 * needed["curvature"]))
    memory.check_memory([bench])


@pytest.mark.slow
def test_what_fits_with_recomputed_cells_is_told_so(monkeypatch):
    words = ["search.layers=6", "search.batch_size=16", "~callbacks.curvature"]
    bench = bench_of(*words)
    needed = peaks(*words)["search step"]
    monkeypatch.setattr(memory, "free_for", lambda bench: int(0.9 * needed))
    with pytest.raises(ConfigError, match=r"=16: .* use search\.batch_size=1\d or search\.recompute=true, which needs"):
        memory.check_memory([bench])
    memory.check_memory([bench_of(*words, "search.recompute=true")])


def test_searches_of_equal_sizes_are_predicted_once(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "free_for", lambda bench: 1)
    monkeypatch.setattr(memory, "demands_of_stage", lambda bench, stage: asked.append(bench) or [])
    one, other = bench_of("search.batch_size=4"), bench_of("search.batch_size=4", "search.weights.lr=0.5")
    larger = bench_of("search.batch_size=5")
    memory.check_memory([one, other, larger])
    assert asked == [one, larger]


REAL = """
import sys
import torch
import test_search_memory as here
from nas_lightning.callbacks.curvature import loss_of_arch
from nas_lightning.curvature.products import hessian_products
from nas_lightning.searches import memory
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.searches.optimizers import build_optimizers

def status(name):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

bench = here.bench_of(*sys.argv[1:])
module = build_module(bench, stages_of(bench)[0])
before = status("VmRSS")
module.arch = {name: a.detach().requires_grad_() for name, a in module.arch.items()}
sgd, adam = build_optimizers(module.supernet, module.arch, module.settings, module.decisions)
size = bench.config.search.batch_size
train, arch = ((torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))) for _ in range(2))
for _ in range(2):
    memory._arch_step(module, train, arch, sgd, adam)
    memory._weight_step(module, train, sgd)
print(status("VmHWM") - before)
with hessian_products(loss_of_arch(module, arch), module.arch, module.supernet) as products:
    for _ in range(2):
        products(torch.ones(products.size, dtype=torch.float64))
print(status("VmHWM") - before)
"""
SIZES = {
    "nasbench201": ["space=nasbench201", "search.layers=5", "search.init_channels=16", "search.batch_size=20"],
    "darts": ["space=darts", "search.layers=3", "search.init_channels=16", "search.batch_size=12"],
}


@pytest.mark.slow
@pytest.mark.parametrize("space", SIZES)
def test_peaks_are_those_of_a_fresh_process(space):
    """Peak RSS above that of the imports, within a fifth where it is no less than 300 MB."""
    words = SIZES[space]
    program = [sys.executable, "-c", REAL, *words]
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    real = dict(zip(("search step", "curvature"), map(int, done.stdout.split()), strict=True))
    predicted = peaks(*words)
    assert real["curvature"] > 3e8
    for kind, most in real.items():
        assert most < 3e8 or predicted[kind] == pytest.approx(most, rel=0.2), kind


STEPS = {
    "darts": ["space=darts", "search.layers=3", "space.num_nodes=2"],
    "darts_2nd": ["method=darts_2nd"],
    "sdarts_adv": ["method=sdarts_adv", "perturbation.steps=1"],
    "gdas": ["method=gdas", "space=nasbench201", "search.layers=1"],
    "pc_darts": ["method=pc_darts", "space=darts", "space.num_nodes=2", "search.layers=3", "search.init_channels=8"],
    "noisy_darts": ["method=noisy_darts", "space=darts", "space.num_nodes=2", "search.layers=3"],
    "learned noise": ["method=noisy_darts", "regularizer.skip_noise.learnable=true"],
    "moving": ["search.arch.batch_norm=moving", "space=nasbench201", "search.layers=1"],
}
QUICKLY = ("gdas", "learned noise", "moving")
"""Drawn paths, noise with parameters, moving statistics; the others run with the slow tests."""


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=name, marks=[] if name in QUICKLY else pytest.mark.slow) for name, words in STEPS.items()],
)
@pytest.mark.parametrize("engine", ["fast", pytest.param("reference", marks=pytest.mark.slow)])
def test_recomputed_cells_change_no_result(words, engine):
    def after_two_steps(*more):
        bench = bench_of("search.batch_size=4", f"engine={engine}", *words, *more)
        module = build_module(bench, stages_of(bench)[0])
        module.arch = {name: a.detach().requires_grad_() for name, a in module.arch.items()}
        optimizers = build_optimizers(module.supernet, module.arch, module.settings, module.decisions)
        rng = torch.Generator().manual_seed(0)
        images = [torch.randn(4, 3, 32, 32, generator=rng) for _ in range(2)]
        train, arch = ((x, torch.arange(4)) for x in images)
        for _ in range(2):
            memory._arch_step(module, train, arch, *optimizers)
            memory._weight_step(module, train, optimizers[0])
        return {**module.state_dict(), **module.arch}

    plain, recomputed = after_two_steps(), after_two_steps("search.recompute=true")
    assert plain.keys() == recomputed.keys()
    for name, value in plain.items():
        if engine == "reference":
            assert torch.equal(value, recomputed[name]), name
        else:  # whose cells share products of the images between them, which are joined here
            torch.testing.assert_close(recomputed[name], value, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.slow
def test_recomputed_cells_take_less_memory():
    words = ["search.layers=8", "search.batch_size=8", "~callbacks.curvature"]
    assert peaks(*words, "search.recompute=true")["search step"] < 0.5 * peaks(*words)["search step"]
