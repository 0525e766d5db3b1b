"""Fixtures: a tiny set of images on disk, a folder of one's own, and the overrides of a run of seconds."""

import gc
import os

import numpy as np
import pytest
import torch
from _pytest.doctest import DoctestModule
from torch import nn

from composed_once import compose_choices_once
from sketched import Sketching, sketch_pictures

torch.set_num_threads(1)  # tiny kernels: threads cost more than they give, above all when tests run side by side


def pytest_configure(config):
    """No GPU unless its tests are asked for: bits are compared, here and in subprocesses, that a CPU makes."""
    if "gpu" not in config.getoption("markexpr").replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    compose_choices_once()
    sketch_pictures()
    gc.disable()  # until all is imported and collected, which makes much that stays and little garbage


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Look for examples in docstrings only where the text of a file has one."""
    found = yield
    if file_path.suffix == ".py" and ">>> " not in file_path.read_text(encoding="utf-8"):
        return [collector for collector in found if not isinstance(collector, DoctestModule)]
    return found


def pytest_collection_finish():
    """Visit less garbage: the objects of torch and of the tests stay to the end, and a run makes few cycles."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)  # in place of 700, 10, 10


TINY_SIZES = [
    "search.epochs=2",
    "search.batch_size=16",
    "search.init_channels=2",
    "search.layers=3",
    "evaluation.epochs=2",
    "evaluation.batch_size=16",
    "evaluation.init_channels=4",
    "evaluation.layers=3",
    "evaluation.auxiliary=0",
    "evaluation.cutout=2",
]


def write_images(path, train=40, test=20, classes=4, size=8):
    """Images whose bright quadrant is their class: learnable, and quick to read."""
    rng = np.random.default_rng(0)

    def part(number):
        labels = np.arange(number) % classes
        images = rng.integers(0, 100, (number, size, size), dtype=np.uint8)
        half = size // 2
        for image, label in zip(images, labels, strict=True):
            row, column = half * (label // 2), half * (label % 2)
            image[row : row + half, column : column + half] += 150
        return images, labels

    (x_train, y_train), (x_test, y_test) = part(train), part(test)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


@pytest.fixture(autouse=True)
def sketched(request, monkeypatch):
    """Of what every run draws, render one picture of each kind; render all in the tests of pictures."""
    monkeypatch.setattr(Sketching, "on", request.path.parent.name != "reports")


@pytest.fixture(scope="session")
def images_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "tiny.npz"
    write_images(path)
    return path


@pytest.fixture
def tiny(images_file, tmp_path, monkeypatch):
    """Overrides of a run that takes a second; the test stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return ["data=arrays", f"data.path={images_file}", "space=s3", "trainer=cpu", "~callbacks.curvature", *TINY_SIZES]


@pytest.fixture
def tracked(tiny):
    """The same with the curvature tracked, which takes longer."""
    return [override for override in tiny if override != "~callbacks.curvature"]


@pytest.fixture(scope="session")
def searched(images_file, tmp_path_factory):
    """Run folder of a finished search in S3 with two nodes: two epochs, both kept; `val` is not augmented."""
    import nas_lightning as nl

    folder = tmp_path_factory.mktemp("searched") / "run"
    data = ["data=arrays", f"data.path={images_file}", "data.augment_val=false", "~callbacks.curvature"]
    learning = ["search.snapshots=1", "search.arch.lr=0.3", "search.weights.lr=0.1"]
    nl.search(
        nl.compose([*data, *TINY_SIZES, *learning, "space=s3", "space.num_nodes=2", "trainer=cpu"]), run_dir=folder
    )
    return folder


@pytest.fixture(scope="session")
def regressed(images_file, tmp_path_factory):
    """Run folder of a search and an evaluation that minimise an error, of two and four epochs."""
    import nas_lightning as nl
    from nas_lightning.config.compose import as_dict
    from nas_lightning.runs.folder import RunFolder
    from nas_lightning.tasks.run import run_task

    folder = tmp_path_factory.mktemp("regressed") / "run"
    data = ["data=arrays", f"data.path={images_file}", "space=s3", "trainer=cpu", "~callbacks.curvature"]
    config = nl.compose([*data, *TINY_SIZES, "space.num_nodes=2", "objective=regression", "evaluation.epochs=4"])
    run_task(as_dict(config), RunFolder(folder))
    return folder


@pytest.fixture
def compiled_graphs(monkeypatch):
    """Compilation without a compiler: graphs are traced, and run as they are; the list of those traced."""
    graphs = []

    def run_as_it_is(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **kw: compile_(self, backend=run_as_it_is, **kw))
    torch.compiler.reset()
    yield graphs
    torch.compiler.reset()
