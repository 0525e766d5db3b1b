"""Masks on a device: copied once for equal values, never out of date."""

import torch

from nas_lightning.core.placed import placed

META = torch.device("meta")


def test_on_the_cpu_it_is_the_mask_itself():
    mask = torch.tensor([[True, False]])
    assert placed(mask, torch.device("cpu")) is mask


def test_equal_masks_are_copied_once_and_other_values_or_shapes_anew():
    mask = torch.tensor([[True, False, True], [False, True, True]])
    first = placed(mask, META)
    assert (first.device, first.dtype, first.shape) == (META, torch.bool, mask.shape)
    assert placed(mask.clone(), META) is first
    assert placed(mask.T.contiguous(), META).shape == (3, 2)
    mask[0, 0] = False  # what was placed is found by its values, so the change is seen
    assert placed(mask, META) is not first


def test_what_is_placed_in_a_validation_serves_training():
    mask = torch.tensor([True, True, False, True, False])
    with torch.inference_mode():
        found = placed(mask, META)
    assert not found.is_inference()
    weights = torch.ones(5, device=META, requires_grad=True)
    torch.where(found, weights, 0).sum().backward()
