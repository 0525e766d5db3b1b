"""The memory of a search, predicted on `meta`: it grows with the images, and what does not fit is refused."""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.data.stand_in import without_reading
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches import memory
from nas_lightning.searches.build import search_data, stages_of
from nas_lightning.training.workbench import Workbench

SMALL = ["data=cifar10", "space=s3", "space.num_nodes=2", "search.layers=3", "search.init_channels=4", "trainer=cpu"]


def bench_of(*words):
    bench = Workbench(as_dict(nl.compose([*SMALL, *words])), RunFolder("unused"))
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
    assert peaks(f"method={method}", "space=s3", "search.batch_size=4")["search step"] > 0


def test_what_does_not_fit_is_refused_with_what_does(monkeypatch):
    bench = bench_of("search.batch_size=16")
    needed = memory.peaks_of_stage(bench, stages_of(bench)[0], torch.device("cpu"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(needed["curvature"] / 2))
    with pytest.raises(ConfigError, match=r"needs about .* use (callbacks\.curvature\.images|search\.batch_size)=\d+$"):
        memory.check_memory(bench)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(2 * needed["curvature"]))
    memory.check_memory(bench)
