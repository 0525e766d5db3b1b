"""Policies of augmentation: torchvision's transforms by keyed draws, whatever loads the images."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

import nas_lightning as nl
from nas_lightning.core.draws import hashed_seed
from nas_lightning.data import Arrays, ImageNet
from nas_lightning.data.base import Transform
from nas_lightning.data.from_datamodule import from_datamodule
from nas_lightning.data.module import EvaluationData
from nas_lightning.data.policies import policy_transforms
from nas_lightning.data.torchvision_sets import Cifar10, Svhn

POLICIES = ("autoaugment", "randaugment", "trivial")


def module_of(path, workers, policy, **values):
    data = EvaluationData(Arrays(str(path)), 8, seed=3, num_workers=workers, augment=policy, **values)
    data.setup("fit")
    return data


def batches(module):
    return [(images, labels) for images, labels in module.train_dataloader()]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_number_of_workers_changes_no_bit(images_file, policy):
    first, second = (batches(module_of(images_file, workers, policy, cutout=2)) for workers in (0, 2))
    assert len(first) == len(second) == 5
    for (images, labels), (others, same) in zip(first, second, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, same)
    plain = batches(module_of(images_file, 0, "standard", cutout=2))
    assert not all(torch.equal(images, others) for (images, _), (others, _) in zip(first, plain, strict=True))


def test_images_are_those_of_torchvision_by_the_key(images_file):
    """Crop and mirror image of the source, then the policy, then normalisation; all seeded by the image's key."""
    module = module_of(images_file, 0, "trivial")
    data, loader = module.data, module.train_dataloader()
    keys = [key for batch in loader.batch_sampler for key in batch]
    (images, _) = next(iter(loader))
    for position, image in enumerate(images):
        torch.manual_seed(hashed_seed(3, "train", 0, position))
        steps: list[Transform] = [*data._augmentation(), v2.TrivialAugmentWide()]
        expected: Tensor = v2.Compose(steps)(data._images["train"][keys[position][2]])
        expected = (expected / 255 - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None]
        torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_operation_takes_grey_and_colour(policy, channels):
    """Many draws, so that each of the operations is applied; the shape and the type stay."""
    (transform,) = policy_transforms(policy, "imagenet")
    image = torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    found = [transform(image) for _ in range(150)]
    assert {(out.shape, out.dtype) for out in found} == {(image.shape, torch.uint8)}
    assert len({tuple(out.flatten().tolist()) for out in found}) > 20


def test_a_policy_replaces_the_colour_jitter_of_imagenet(tmp_path):
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / part / name / f"{number}.JPEG")
    data = ImageNet(str(tmp_path), image_size=16)
    data.prepare()
    kinds = {policy: [type(step) for step in data._steps(True, policy)] for policy in ("standard", *POLICIES)}
    assert v2.ColorJitter in kinds["standard"]
    for policy, kind in zip(POLICIES, (v2.AutoAugment, v2.RandAugment, v2.TrivialAugmentWide), strict=True):
        assert kinds[policy] == [v2.RandomResizedCrop, v2.RandomHorizontalFlip, v2.PILToTensor, kind]
        torch.manual_seed(0)
        assert data.dataset("train", True, policy=policy)[0][0].shape == (3, 16, 16)


def test_the_learned_policy_is_that_of_the_images():
    found = {source: policy_transforms("autoaugment", source.learned_policy)[0].policy for source in (Cifar10, Svhn)}
    assert [policy.value for policy in found.values()] == ["cifar10", "svhn"]
    assert policy_transforms("autoaugment", ImageNet.learned_policy)[0].policy.value == "imagenet"


def test_the_device_cannot_augment_by_a_policy(images_file):
    with pytest.raises(nl.ConfigError, match=r"data\.augment_on=device: .* one by one.* use data\.augment_on=auto"):
        module_of(images_file, 0, "trivial", augment_on="device")


def test_a_datamodule_of_the_users_has_its_own_transforms():
    with pytest.raises(
        nl.DataError, match=r"evaluation\.augment=trivial does not apply; use evaluation\.augment=standard"
    ):
        from_datamodule(LightningDataModule()).dataset("train", True, policy="trivial")
