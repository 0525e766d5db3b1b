"""ImageNet16-120 as a data set: published normalisation and augmentation, and files that are none."""

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data import ImageNet16


def write(path, side=16, classes=120, channels=3):
    rng = np.random.default_rng(0)
    labels = np.arange(classes).repeat(2)
    shape = (len(labels), side, side, channels)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])
    return images, labels


def test_images_are_normalised_as_published(tmp_path):
    images, labels = write(tmp_path / "images.npz")
    data = ImageNet16(str(tmp_path / "images.npz"))
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("imagenet16_120", 3, 16, 120)
    assert data.train_labels.tolist() == labels.tolist()
    image, label = data.dataset("train", augment=False)[7]
    mean, std = np.array([122.68, 116.66, 104.01]), np.array([63.22, 61.26, 65.09])
    np.testing.assert_allclose(image, ((images[7] - mean) / std).transpose(2, 0, 1), rtol=1e-4, atol=1e-5)
    assert label == 3


def test_crops_are_shifted_by_up_to_2_pixels_and_mirrored(tmp_path):
    write(tmp_path / "images.npz")
    data = ImageNet16(str(tmp_path / "images.npz"))
    data.prepare()
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    image[:, 8, 5] = 255
    data._images["train"][0] = image
    dataset = data.dataset("train", augment=True)
    torch.manual_seed(0)
    spots = {divmod(int(dataset[0][0][0].argmax()), 16) for _ in range(800)}
    assert spots == {(8 + i, column + j) for i in range(-2, 3) for column in (5, 10) for j in range(-2, 3)}


@pytest.mark.parametrize("other", [{"side": 32}, {"classes": 10}, {"channels": 1}])
def test_other_images_are_refused(tmp_path, other):
    write(tmp_path / "images.npz", **other)
    with pytest.raises(DataError, match=r"not 3 channels of 16x16 in 120; make it with .*convert=imagenet16_120") as c:
        ImageNet16(str(tmp_path / "images.npz")).prepare()
    assert "\n" not in str(c.value)


def test_without_a_file():
    with pytest.raises(DataError, match=r"data\.path=null: .*task=convert convert=imagenet16_120"):
        ImageNet16().prepare()
    with pytest.raises(DataError, match=r"data\.path=gone\.npz: no such file"):
        ImageNet16("gone.npz").prepare()
