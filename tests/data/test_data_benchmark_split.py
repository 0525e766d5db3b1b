"""A benchmark's own split: both forms of the file, over training or test images."""

import json

import numpy as np
import pytest

from nas_lightning.core.errors import DataError
from nas_lightning.data import benchmark_split

TRAIN = np.arange(20) % 4
TEST = np.arange(12) % 4


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "split.txt"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def released(numbers):
    """As the released code writes lists."""
    return ["int", [str(number) for number in numbers]]


@pytest.mark.parametrize("form", [released, list])
def test_training_images_are_shared_out(written, form):
    train, valid = [9, 0, 3, 2, 5, 6, 8, 1, 13], [19, 4, 10, 11, 17]
    split = benchmark_split(written({"train": form(train), "valid": form(valid)}), TRAIN, TEST)
    assert split.train.tolist() == sorted(train)
    assert split.arch.tolist() == split.val.tolist() == sorted(valid)
    assert split.train.dtype == split.arch.dtype == np.int64
    assert split.held_out is None


@pytest.mark.parametrize("form", [released, list])
def test_test_images_are_shared_out(written, form):
    xvalid, xtest = [11, 0, 2, 5, 7], [1, 3, 4, 6, 8, 9, 10]
    split = benchmark_split(written({"xvalid": form(xvalid), "xtest": form(xtest)}), TRAIN, TEST)
    assert split.train.tolist() == list(range(20))
    assert split.arch.tolist() == split.val.tolist() == [20 + number for number in sorted(xvalid)]
    assert split.held_out is not None
    assert split.held_out.tolist() == sorted(xtest)


HALF, REST = [0, 1, 2, 3], [4, 5, 6, 7]
WRONG = {
    "no json": ("train: 1", "not JSON"),
    "a list": ([1, 2], "holds a list; expected"),
    "other keys": ({"train": HALF, "test": REST}, "holds test, train; expected"),
    "one part": ({"train": HALF}, "holds train; expected"),
    "empty": ({}, "holds nothing; expected"),
    "no list": ({"train": 3, "valid": REST}, "train is not a list of images"),
    "empty part": ({"train": [], "valid": REST}, "train is not a list of images"),
    "words": ({"train": ["int", ["a"]], "valid": REST}, "train holds a non-integer"),
    "fractions": ({"train": [0.5, 1], "valid": REST}, "train holds a non-integer"),
    "flags": ({"train": [True, 2], "valid": REST}, "train holds a non-integer"),
    "too large": ({"train": HALF, "valid": [4, 20]}, "names image 20; the training images are 0 to 19"),
    "too large for the test": ({"xvalid": HALF, "xtest": [12]}, "names image 12; the test images are 0 to 11"),
    "negative": ({"train": [-1, 0], "valid": REST}, "names image -1"),
    "in both parts": ({"train": HALF, "valid": [3, 4, 5, 6, 7]}, "contains duplicates"),
    "twice": ({"train": [0, 0, 1, 2, 3], "valid": REST}, "contains duplicates"),
    "class without images": ({"train": HALF[:3], "valid": REST}, "no image of class 3 in the train part"),
    "class without test images": ({"xvalid": [0, 1, 2], "xtest": [4, 5]}, "no image of class 3 in the arch part"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(written, case):
    content, words = WRONG[case]
    with pytest.raises(DataError, match=rf"data\.split_file=.*split\.txt: .*{words}") as caught:
        benchmark_split(written(content), TRAIN, TEST)
    assert "\n" not in str(caught.value)


def test_without_a_file():
    with pytest.raises(DataError, match=r"data\.split_file=null: .*data\.split=stratified"):
        benchmark_split(None, TRAIN, TEST)
    with pytest.raises(DataError, match=r"data\.split_file=gone\.txt: no such file"):
        benchmark_split("gone.txt", TRAIN, TEST)
