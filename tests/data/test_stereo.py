"""The rendered source of pairs, and the data modules that hand pairs to a search and a retraining."""

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.data import StereoScenes
from nas_lightning.data.stereo import FIRST, StereoData, stacked
from nas_lightning.data.stereo_modules import StereoEvaluationData, StereoSearchData
from nas_lightning.data.stereo_scenes import render

SIZES = {"height": 16, "width": 32, "max_disparity": 8.0, "layers": 2, "train_pairs": 20, "test_pairs": 6}


@pytest.fixture(scope="module")
def data():
    scenes = StereoScenes(**SIZES)
    scenes.prepare()
    return scenes


def test_pairs_are_the_rendered_scenes(data):
    for part, index in (("train", 3), ("test", 5)):
        pair = render(data.settings, 0, FIRST[part] + index)
        left, right, disparity = data.pair(part, index)
        assert np.abs(left.numpy() - pair.left).max() <= 0.5 / 255 + 1e-6
        assert np.abs(right.numpy() - pair.right).max() <= 0.5 / 255 + 1e-6
        np.testing.assert_allclose(disparity[0], pair.disparity, rtol=1e-6)
        if part == "test":
            assert np.array_equal(data.occluded(index)[0], pair.occluded)


def test_parts_share_no_scene_and_grow_without_changing(data):
    assert not set(data.indices("train")) & set(data.indices("test"))
    more = StereoScenes(**{**SIZES, "train_pairs": 22})
    more.prepare()
    assert torch.equal(more.pair("train", 19)[0], data.pair("train", 19)[0])
    assert torch.equal(more.pair("test", 0)[0], data.pair("test", 0)[0])
    other = StereoScenes(**SIZES, seed=1)
    other.prepare()
    assert not torch.equal(other.pair("train", 0)[0], data.pair("train", 0)[0])


def test_pairs_are_normalised_by_the_training_pairs(data):
    plain = data.dataset("train", augment=False)
    images = torch.stack([plain[index][0] for index in range(20)]).view(20, 2, 3, -1)
    assert torch.allclose(images.mean(dim=(0, 1, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(images.std(dim=(0, 1, 3), correction=0), torch.ones(3), atol=1e-5)
    truth = torch.stack([plain[index][1] for index in range(20)])
    assert data.mean_disparity == pytest.approx(float(truth.mean()), rel=1e-5)
    assert truth.max() <= data.max_disparity == 8.0
    for reach in (0.0, 3.0, 8.0):
        assert data.share_beyond(reach) == pytest.approx(float((truth > reach).float().mean()), abs=1e-6)
    images, disparities = stacked(data, "test", [2, 4])
    assert torch.equal(images[1, :3], data.pair("test", 4)[0])
    assert torch.equal(disparities[0], data.pair("test", 2)[2])


def test_a_fingerprint_knows_pairs_again(data):
    kept = data.fingerprint()
    again = StereoScenes(**SIZES)
    again.prepare()
    assert data.difference(kept, again.fingerprint()) == ""
    for changes, words in (
        ({"seed": 1}, "other train pairs: "),
        ({"train_pairs": 19}, "19 train pairs, not 20"),
        ({"width": 40}, "pairs of 16x40 pixels, not 16x32"),
    ):
        other = StereoScenes(**{**SIZES, **changes})
        other.prepare()
        assert data.difference(kept, other.fingerprint()).startswith(words)


def test_a_line_about_the_pairs(data):
    assert data.found().startswith("26 pairs of 16x32 pixels (20 to train on, 6 to test on) · disparities of ")
    images, truth = data.example(3, torch.device("cpu"))
    assert images.shape == (3, 6, 16, 32)
    assert truth.shape == (3, 1, 16, 32)


def test_without_augmentation_training_pairs_are_as_they_are(data):
    still = StereoScenes(**SIZES, augmentation=0.0)
    moved = StereoScenes(**SIZES)
    plain, same, other = (
        source.dataset("train", augment)[2] for source, augment in ((data, False), (still, True), (moved, True))
    )
    assert torch.equal(plain[0], same[0])
    assert torch.equal(plain[1], same[1])
    assert not torch.equal(plain[0], other[0])


def test_blanked_squares_are_refused(data):
    with pytest.raises(DataError, match=r"^cutout=4: .*; use cutout=0$"):
        data.dataset("train", augment=True, cutout=4)


def test_a_pair_without_truth_is_named():
    class Nothing(StereoData):
        name, height, width = "nothing", 4, 4

        def _load(self):
            self.train_labels = self.test_labels = np.zeros(2, np.int64)

        def pair(self, part, index):
            known = torch.full((1, 4, 4), float("nan") if index else 1.0)
            return torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), known

    with pytest.raises(DataError, match=r"^nothing: test pair 1 has no pixel with a true disparity .* 4x4 pixels; "):
        Nothing().dataset("test", augment=False)[1]


def batches(loader):
    return [(images.clone(), truth.clone()) for images, truth in loader]


def test_streams_of_a_search(data):
    module = StereoSearchData(data, batch_size=4, seed=3, val_fraction=0.2)
    module.setup("fit")
    loaders = module.train_dataloader()
    train, arch, val = batches(loaders["train"]), batches(loaders["arch"]), batches(module.val_dataloader())
    assert [len(images) for images, _ in train] == [len(images) for images, _ in arch] == [4, 4]
    assert [images.shape for images, _ in train] == [torch.Size([4, 6, 16, 32])] * 2
    assert [truth.shape for _, truth in train] == [torch.Size([4, 1, 16, 32])] * 2
    assert sum(len(images) for images, _ in val) == 4
    parts = [set(map(int, getattr(module.split, part))) for part in ("train", "arch", "val")]
    assert sorted(map(len, parts)) == [4, 8, 8]
    assert len(set.union(*parts)) == 20
    assert not module.val_is_augmented
    plain = data.dataset("train", augment=False)
    assert torch.equal(val[0][0][0], plain[int(module.split.val[0])][0])


def test_batches_are_a_function_of_seed_and_pass(data):
    def first(seed, number):
        module = StereoSearchData(data, batch_size=4, seed=seed)
        module.setup("fit")
        module.first_pass = number
        return batches(module.train_dataloader()["train"])[0]

    again, same = first(0, 1), first(0, 1)
    assert torch.equal(again[0], same[0])
    assert torch.equal(again[1].nan_to_num(-1), same[1].nan_to_num(-1))
    assert not torch.equal(first(0, 2)[0], again[0])
    assert not torch.equal(first(1, 1)[0], again[0])


def test_fixed_and_shuffled_batches(data):
    module = StereoSearchData(data, batch_size=4, seed=0)
    module.setup("fit")
    one, other = module.fixed_arch_batch(), module.fixed_arch_batch()
    assert torch.equal(one[0], other[0])
    assert one[1].shape == (4, 1, 16, 32)
    assert len(batches(module.selection_dataloader(5))[0][0]) == 5


def test_pairs_of_a_retraining(data):
    module = StereoEvaluationData(data, batch_size=8, seed=0)
    module.setup("fit")
    assert [len(images) for images, _ in module.train_dataloader()] == [8, 8, 4]
    test = batches(module.test_dataloader())
    assert sum(len(images) for images, _ in test) == 6
    assert torch.equal(test[0][0][0], data.dataset("test", augment=False)[0][0])
    halves = StereoEvaluationData(data, batch_size=4, seed=0, images="search_halves", val_fraction=0.2)
    halves.setup("fit")
    assert sum(len(images) for images, _ in halves.train_dataloader()) == 8
    assert sum(len(images) for images, _ in halves.test_dataloader()) == 4


def test_too_large_batches_are_refused(data):
    module = StereoSearchData(data, batch_size=11, seed=0)
    with pytest.raises(ConfigError, match=r"^search\.batch_size=11: more than the 10 "):
        module.setup("fit")
