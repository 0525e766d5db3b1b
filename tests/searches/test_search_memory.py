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
from nas_lightning.searches.build import search_data, stages_of
from nas_lightning.training.workbench import Workbench

SMALL = ["data=cifar10", "search.layers=3", "search.init_channels=4", "trainer=cpu"]


def bench_of(*words):
    named = [] if any(word.startswith("space=") for word in words) else ["space=s3", "space.num_nodes=2"]
    bench = Workbench(as_dict(nl.compose([*SMALL, *named, *words])), RunFolder("unused"))
    bench.data = without_reading(bench.source)
    search_data(bench).setup("fit")
    return bench


def peaks(*words):
    bench = bench_of(*words)
    return memory.peaks_of_stage(bench, stages_of(bench)[0], torch.device("cpu"))


def test_peaks_grow_with_the_images_and_curvature_with_its_own():
    eight, sixteen = peaks("search.batch_size=8"), peaks("search.batch_size=16")
    assert sixteen["search step"] == pytest.approx(2 * eight["search step"], rel=0.1)
    assert sixteen["curvature"] == pytest.approx(2 * eight["curvature"], rel=0.1)
    fewer = peaks("search.batch_size=16", "callbacks.curvature.images=8")
    assert fewer["search step"] == sixteen["search step"]
    assert fewer["curvature"] < 0.6 * sixteen["curvature"]
    assert fewer["curvature"] > fewer["search step"] / 2


@pytest.mark.parametrize("method", ["darts_2nd", "gdas", "sdarts_adv", "drnas", "pc_darts"])
def test_methods_run_without_numbers(method):
    assert peaks(f"method={method}", "search.batch_size=4")["search step"] > 0


def test_what_does_not_fit_is_refused_with_what_does(monkeypatch):
    bench = bench_of("search.batch_size=16")
    needed = memory.peaks_of_stage(bench, stages_of(bench)[0], torch.device("cpu"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(needed["curvature"] / 2))
    with pytest.raises(ConfigError, match=r"needs about .* use (callbacks\.curvature\.images|search\.batch_size)=\d+$"):
        memory.check_memory(bench)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(2 * needed["curvature"]))
    memory.check_memory(bench)


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
sgd, adam = build_optimizers(module.supernet, module.arch, module.settings)
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
