"""Loaders over a benchmark's own split: who sees which images."""

import json

import numpy as np
import pytest

from nas_lightning.core.errors import DataError
from nas_lightning.data import Arrays
from nas_lightning.data.module import EvaluationData, SearchData

TRAIN, TEST = 40, 24


@pytest.fixture
def data(tmp_path):
    """Images that show their own number: training images 0 to 39, test images 100 to 123."""

    def numbered(numbers):
        return np.broadcast_to(np.array(numbers, np.uint8)[:, None, None], (len(numbers), 8, 8))

    x_train, x_test = numbered(range(TRAIN)), numbered(range(100, 100 + TEST))
    y_train, y_test = np.arange(TRAIN) % 4, np.arange(TEST) % 4
    np.savez(tmp_path / "images.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    images = Arrays(str(tmp_path / "images.npz"), flip=False)
    images.prepare()
    return images


@pytest.fixture
def options(tmp_path):
    def write(**parts):
        (tmp_path / "split.json").write_text(json.dumps(parts))
        return {"split": "benchmark", "split_file": str(tmp_path / "split.json")}

    return write


def numbers(data, loader):
    """The numbers that the images of a pass show: the value that most pixels have, under the augmentation's border."""
    found = []
    for images, labels in loader:
        pixels = (images * data.std[0] + data.mean[0]) * 255
        shown = pixels.flatten(1).median(dim=1).values.round().int().tolist()
        assert [number % 100 % 4 for number in shown] == labels.tolist()
        found += shown
    return found


def test_training_images_are_shared_out(data, options):
    train, valid = list(range(0, 30)), list(range(30, 40))
    search = SearchData(data, 5, 0, **options(train=train, valid=valid))
    search.setup("fit")
    loaders = search.train_dataloader()
    assert sorted(numbers(data, loaders["train"])) == train
    assert set(numbers(data, loaders["arch"])) == set(valid)
    assert sorted(numbers(data, search.val_dataloader())) == valid
    retraining = EvaluationData(data, 5, 0, **options(train=train, valid=valid))
    retraining.setup("fit")
    assert sorted(numbers(data, retraining.train_dataloader())) == list(range(TRAIN))
    assert numbers(data, retraining.test_dataloader()) == list(range(100, 100 + TEST))


def test_test_images_are_shared_out(data, options):
    xvalid, xtest = [*range(0, 24, 2), 1, 3], list(range(5, 24, 2))
    split = options(xvalid=xvalid, xtest=xtest)
    learnt_from, left = sorted(100 + i for i in xvalid), sorted(100 + i for i in xtest)
    search = SearchData(data, 5, 0, **split)
    search.setup("fit")
    loaders = search.train_dataloader()
    assert sorted(numbers(data, loaders["train"])) == list(range(TRAIN))
    assert set(numbers(data, loaders["arch"])) == set(learnt_from)
    assert numbers(data, search.val_dataloader()) == learnt_from
    assert sorted(numbers(data, search.selection_dataloader())) == learnt_from
    images, _ = search.fixed_arch_batch()
    assert images.shape == (5, 1, 8, 8)

    retraining = EvaluationData(data, 5, 0, **split)
    retraining.setup("fit")
    assert sorted(numbers(data, retraining.train_dataloader())) == list(range(TRAIN))
    for loader in (retraining.val_dataloader(), retraining.test_dataloader()):
        assert numbers(data, loader) == left  # never those that the architecture learnt from

    candidates = EvaluationData(data, 5, 0, images="search_halves", **split)
    candidates.setup("fit")
    assert sorted(numbers(data, candidates.train_dataloader())) == list(range(TRAIN))
    assert numbers(data, candidates.val_dataloader()) == learnt_from


@pytest.mark.parametrize("augment", [True, False])
def test_val_is_augmented_as_for_other_splits(data, options, augment):
    search = SearchData(data, 8, 0, augment_val=augment, **options(xvalid=list(range(8)), xtest=[8, 9]))
    search.setup("fit")
    constant = [bool((image == image[0, 0, 0]).all()) for images, _ in search.val_dataloader() for image in images]
    assert all(constant) != augment  # shifted images have a black border


def test_mistakes_are_one_line(data, options):
    split = options(train=[0, 1, 2, 3], valid=[4, 5, 6, 7])
    with pytest.raises(DataError, match=r"data\.val_fraction=0\.1: data\.split=benchmark fixes the parts") as caught:
        SearchData(data, 2, 0, val_fraction=0.1, **split)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"data\.split_file=F: only data\.split=benchmark reads it"):
        EvaluationData(data, 2, 0, split_file="F")
    with pytest.raises(DataError, match=r"data\.split_file=null"):
        SearchData(data, 2, 0, split="benchmark").setup("fit")
