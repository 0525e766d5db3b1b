"""The user's `.npz` file: layouts, labels, and one clear line for each mistake."""

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data import Arrays

RNG = np.random.default_rng(0)


def contents(**changes):
    arrays = {
        "x_train": RNG.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": RNG.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return arrays | changes


@pytest.fixture
def write(tmp_path):
    def write(arrays, **options):
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        return Arrays(str(path), **options)

    return write


def prepared(data):
    data.prepare()
    return data


def test_attributes(write):
    arrays = contents()
    data = prepared(write(arrays))
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("arrays", 3, 16, 3)
    assert data.class_names == ("0", "1", "2")
    np.testing.assert_allclose(data.mean, arrays["x_train"].mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(data.std, arrays["x_train"].std((0, 1, 2)) / 255)
    assert data.train_labels.dtype == np.int64


@pytest.mark.parametrize("layout", ["last", "first", "grey", "grey_last"])
def test_layouts_give_the_same_pixels(write, layout):
    arrays = contents()
    expected = {name: arrays[name].transpose(0, 3, 1, 2) for name in ("x_train", "x_test")}
    for name in expected:
        if layout == "first":
            arrays[name] = expected[name]
        elif layout.startswith("grey"):
            expected[name] = expected[name][:, :1]
            arrays[name] = expected[name][:, 0] if layout == "grey" else arrays[name][..., :1]
    data = prepared(write(arrays))
    for part in ("train", "test"):
        assert np.array_equal(data._images[part].numpy(), expected[f"x_{part}"])
        image, label = data.dataset(part, augment=False)[1]
        mean, std = (np.array(values)[:, None, None] for values in (data.mean, data.std))
        np.testing.assert_allclose(image, (expected[f"x_{part}"][1] / 255 - mean) / std, rtol=1e-4, atol=1e-5)
        assert label == 1


def test_floats_from_0_to_1_are_accepted(write):
    arrays = contents()
    floats = {name: (arrays[name] / 255).astype(np.float32) for name in ("x_train", "x_test")}
    assert np.array_equal(prepared(write(arrays | floats))._images["train"], prepared(write(arrays))._images["train"])


def test_medmnist_files_are_read(write):
    arrays = contents()
    renamed = {
        "train_images": arrays["x_train"],
        "train_labels": arrays["y_train"][:, None].astype(np.uint8),
        "val_images": arrays["x_test"][:1],
        "val_labels": arrays["y_test"][:1, None],
        "test_images": arrays["x_test"],
        "test_labels": arrays["y_test"][:, None],
    }
    data = prepared(write(renamed))
    assert len(data.train_labels) == 12
    assert data.train_labels.tolist() == arrays["y_train"].tolist()


def test_images_are_resized(write):
    wide = RNG.integers(0, 256, (12, 10, 14, 3), dtype=np.uint8)
    data = prepared(write(contents(x_train=wide, x_test=wide[:6]), image_size=8))
    assert data.image_size == 8
    assert data.dataset("train", augment=True)[0][0].shape == (3, 8, 8)


def test_crops_move_by_an_eighth_and_flip_can_be_off(write):
    image = np.zeros((16, 16), dtype=np.uint8)
    image[8, 4] = 255
    data = write(contents(x_train=np.stack([image] * 12), x_test=np.stack([image] * 6)), flip=False)
    dataset = data.dataset("train", augment=True)
    torch.manual_seed(0)
    spots = {divmod(int(dataset[0][0].argmax()), 16) for _ in range(600)}
    assert spots == {(8 + i, 4 + j) for i in range(-2, 3) for j in range(-2, 3)}
    mirrored = write(contents(x_train=np.stack([image] * 12), x_test=np.stack([image] * 6)))
    dataset = mirrored.dataset("train", augment=True)
    assert any(int(dataset[0][0].argmax()) % 16 > 8 for _ in range(30))


BAD = [
    ({"y_train": np.arange(11) % 3}, "y_train has 11 labels for 12 images"),
    ({"y_train": np.zeros(12, int)}, r"y_train holds one class only \(0\)"),
    ({"y_train": np.arange(12) % 3 + 1}, "y_train holds the labels 1, 2, 3.*without gaps"),
    ({"y_train": np.arange(12) % 3 * 2}, "y_train holds the labels 0, 2, 4"),
    ({"y_train": np.arange(12) % 3 - 1}, "y_train holds the labels -1, 0, 1"),
    ({"y_train": np.zeros((12, 4), int)}, r"y_train holds int64 of shape \(12, 4\)"),
    ({"y_train": np.arange(12) / 2}, "y_train holds float64"),
    ({"y_test": np.arange(6)}, "y_test holds the label 3, which y_train lacks"),
    ({"x_train": np.full((12, 16, 16), 2.0)}, "x_train holds float64 values from 2.0 to 2.0"),
    ({"x_train": np.full((12, 16, 16), np.nan)}, "x_train holds float64 values from nan"),
    ({"x_train": np.zeros((12, 16, 16), np.int64)}, "x_train holds int64.*uint8"),
    ({"x_train": np.zeros((12, 256), np.uint8)}, r"x_train has the shape \(12, 256\)"),
    ({"x_train": np.zeros((0, 16, 16, 3), np.uint8)}, r"x_train has the shape \(0, 16, 16, 3\)"),
    ({"x_train": np.zeros((12, 16, 20, 3), np.uint8)}, "16x20 pixels.*data.image_size=32"),
    ({"x_train": np.zeros((12, 16, 16), np.uint8)}, "x_train and x_test differ in shape"),
    ({"x_train": np.array([None] * 12)}, "not a readable .npz file"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_unusable_arrays_are_refused_in_one_line(write, changes, message):
    with pytest.raises(DataError, match=message) as raised:
        write(contents(**changes)).prepare()
    assert "images.npz" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_arrays_are_named(write):
    arrays = contents()
    del arrays["y_train"], arrays["x_test"]
    with pytest.raises(DataError, match=r"lacks y_train, x_test; store x_train"):
        write(arrays).prepare()


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match=r"data.path=null.*data.path=FILE.npz"):
        Arrays().prepare()
    with pytest.raises(DataError, match=r"no such file.*data.path=FILE.npz"):
        Arrays(str(tmp_path / "none.npz")).prepare()
    good = tmp_path / "good.npz"
    np.savez(good, **contents())
    whole = good.read_bytes()
    middle = len(whole) // 3
    damaged = {
        "text": b"hello",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :],
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable .npz file"):
            Arrays(str(path)).prepare()
    np.save(tmp_path / "lone.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"not a readable .npz file"):
        Arrays(str(tmp_path / "lone.npy")).prepare()
