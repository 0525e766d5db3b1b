"""The mean loss of an epoch, and its state between two batches."""

import pytest
import torch

from nas_lightning.training.metrics import MeanLoss, restore_metrics, state_of_metrics


def test_batches_weigh_by_their_images():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 1)
    mean.update(torch.tensor(3.0), 3)
    assert mean.compute() == pytest.approx(2.5)


def test_nan_is_told():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 1)
    mean.update(torch.tensor(torch.nan), 1)
    assert mean.compute().isnan()


def test_a_restored_mean_goes_on():
    whole, cut, resumed = MeanLoss(), MeanLoss(), MeanLoss()
    for value, images in ((1.0, 4), (2.0, 3)):
        whole.update(torch.tensor(value), images)
        cut.update(torch.tensor(value), images)
    restore_metrics({"loss": resumed}, state_of_metrics({"loss": cut}))
    for mean in (whole, resumed):
        mean.update(torch.tensor(5.0), 2)
    assert resumed.compute() == whole.compute() == pytest.approx((4 + 6 + 10) / 9)
