"""A batch at once against torchvision's transforms of one image after the other, seeded by the same keys."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data import Arrays, Cutout, KeyedDataset
from nas_lightning.data.base import LabelledImages
from nas_lightning.data.batched import BatchedImages, Raw, concatenate
from nas_lightning.data.keyed import KeyedBatches
from nas_lightning.data.transforms import CropAndFlip, Standardise

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def images(count, channels=3, side=12):
    pixels = np.random.default_rng(count).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return torch.from_numpy(pixels)


def alone(image, key, padding, flip, cutout):
    """What one image becomes, step by step in the published order, all drawn from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hashed_seed(*key))
        side = image.shape[-1]
        if padding:
            image = v2.RandomCrop(side, padding)(image)
        if flip:
            image = v2.RandomHorizontalFlip()(image)
        mean, std = (torch.tensor(values[: len(image)]).view(-1, 1, 1) * 255 for values in (MEAN, STD))
        image = (image.float() - mean) / std
        if cutout:
            row, column = int(torch.randint(side, ())), int(torch.randint(side, ()))
            half = cutout // 2
            image[:, max(0, row - half) : row + half, max(0, column - half) : column + half] = 0
    return image


def batched(parts, padding, flip, cutout):
    parts = [parts] if isinstance(parts, torch.Tensor) else parts
    channels, side = parts[0].shape[1:3]
    steps = [CropAndFlip(side, padding, flip)] if padding else []
    steps += [Standardise(MEAN[:channels], STD[:channels]), *([Cutout(cutout)] if cutout else [])]
    return BatchedImages(parts, np.arange(sum(map(len, parts))) % 7, steps)


KEYS = [(pass_number, position, (7 * position + pass_number) % 40) for pass_number in (0, 5) for position in range(60)]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
@pytest.mark.parametrize(
    ("padding", "flip", "cutout", "channels"),
    [(2, True, 6, 3), (2, True, 0, 3), (1, False, 5, 1), (0, False, 4, 3), (0, False, 1, 1), (0, False, 0, 3)],
)
def test_a_batch_is_what_each_image_alone_becomes(seed, padding, flip, cutout, channels):
    pixels = images(40, channels)
    dataset = batched(pixels, padding, flip, cutout)
    found, labels = KeyedBatches(dataset, seed, "train").__getitems__(KEYS)
    expected = [alone(pixels[i], (seed, "train", n, at), padding, flip, cutout) for n, at, i in KEYS]
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.stack(expected))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [index % 7 for _, _, index in KEYS]

    single = KeyedDataset(dataset, seed, "train").__getitems__(KEYS)  # what the same transforms do one by one
    assert torch.equal(torch.stack([image for image, _ in single]), found)
    assert [label for _, label in single] == labels.tolist()


def test_a_part_of_a_batch_is_a_part_of_its_images():
    keyed = KeyedBatches(batched(images(40), 2, True, 6), 1, "train")
    assert torch.equal(keyed.__getitems__(KEYS[50:57])[0], keyed.__getitems__(KEYS)[0][50:57])


def test_raw_batches_become_the_finished_ones():
    dataset = batched(pixels := images(40), 2, True, 6)
    raw, labels = KeyedBatches(dataset, 1, "arch", finished=False).__getitems__(KEYS)
    assert isinstance(raw, Raw)
    assert raw.stream == "arch"
    assert raw.words.shape == (len(KEYS), dataset.words) == (len(KEYS), 5)
    assert torch.equal(raw.images, pixels[[index for _, _, index in KEYS]])
    finished, same = KeyedBatches(dataset, 1, "arch").__getitems__(KEYS)
    assert torch.equal(dataset.finish(raw.images, raw.words), finished)
    assert torch.equal(labels, same)


def test_stored_images_stay_as_they_are():
    dataset = batched(pixels := images(40), 0, False, 12)
    KeyedBatches(dataset, 1).__getitems__(KEYS)
    dataset[3]
    assert torch.equal(pixels, images(40))


def test_images_in_two_parts_are_those_of_both():
    pixels = images(40)
    whole = batched(pixels, 2, True, 6)
    both = concatenate(batched(pixels[:25], 2, True, 6), batched(pixels[25:], 2, True, 6))
    assert isinstance(both, BatchedImages)
    both.labels = whole.labels
    for one, other in zip(
        KeyedBatches(both, 1).__getitems__(KEYS), KeyedBatches(whole, 1).__getitems__(KEYS), strict=True
    ):
        assert torch.equal(one, other)
    assert all(torch.equal(KeyedDataset(both, 1)[key][0], KeyedDataset(whole, 1)[key][0]) for key in KEYS)
    for index in (-1, 40):
        with pytest.raises(IndexError):
            both[index]


def test_what_cannot_be_batched_goes_one_by_one(tmp_path):
    class Jittered(Arrays):
        def _augmentation(self):
            return [v2.ColorJitter(0.4), *super()._augmentation()]

    pixels, labels = images(8).numpy(), np.arange(8) % 2
    np.savez(tmp_path / "x.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    data = Jittered(str(tmp_path / "x.npz"))
    assert isinstance(data.dataset("train", augment=True), LabelledImages)
    assert isinstance(data.dataset("train", augment=False, cutout=4), BatchedImages)
    one, other = (data.dataset("train", augment=augment) for augment in (True, False))
    assert [label for _, label in (concatenate(one, other)[i] for i in range(16))] == [*labels, *labels]
