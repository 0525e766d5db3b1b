"""Policies of augmentation: what is done to an image besides crop and mirror image.

`torchvision.transforms.v2` implements them. All draw from the global generators, which `keyed.KeyedDataset` seeds for
each image. What they leave empty is black.
"""

from collections.abc import Callable
from typing import Any, Literal

from torchvision.transforms import v2

Policy = Literal["standard", "autoaugment", "randaugment", "trivial"]
Learned = Literal["imagenet", "cifar10", "svhn"]
"""The data set that AutoAugment's published policy was learned on."""


def policy_transforms(policy: Policy, learned: Learned) -> list[Callable[[Any], Any]]:
    """Return the transforms of a policy, uint8 [C, H, W] to uint8 [C, H, W]; none for `standard`.

    Sources: Cubuk et al., AutoAugment (CVPR 2019), https://arxiv.org/abs/1805.09501; Cubuk et al., RandAugment (NeurIPS
    2020), https://arxiv.org/abs/1909.13719, two operations of magnitude 9 of 31, as torchvision has it; Müller and
    Hutter, TrivialAugment (ICCV 2021), https://arxiv.org/abs/2103.10158, with its wide ranges.

    Args:
        policy: Its name.
        learned: Which of AutoAugment's policies is taken.
    """
    if policy == "autoaugment":
        return [v2.AutoAugment(v2.AutoAugmentPolicy(learned))]
    if policy == "randaugment":
        return [v2.RandAugment(num_ops=2, magnitude=9)]
    return [v2.TrivialAugmentWide()] if policy == "trivial" else []
