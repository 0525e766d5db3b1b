"""The objective of disparities against numpy, pixel by pixel."""

import numpy as np
import pytest
import torch

from nas_lightning.core.batches import Maps
from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.objectives import Disparity
from nas_lightning.objectives.disparity import truth_at


def truth(seed=0, shape=(3, 1, 8, 12), share=0.3):
    rng = np.random.default_rng(seed)
    targets = rng.uniform(0, 40, shape)
    targets[rng.random(shape) < share] = np.nan
    targets[0, 0, :4, :4] = np.nan  # a pixel of the coarsest scale without any truth
    targets[1, 0, 0, 0] = np.inf
    return torch.from_numpy(targets)


def maps(seed=1, sizes=((2, 3), (4, 6), (8, 12))):
    rng = np.random.default_rng(seed)
    return Maps(tuple(torch.from_numpy(rng.uniform(0, 40, (3, 1, *size))) for size in sizes))


def averaged(targets, height, width):
    """Means of known pixels, and where there are any, by a loop."""
    values = targets.numpy()
    rows, columns = values.shape[2] // height, values.shape[3] // width
    found = np.full((len(values), 1, height, width), np.nan)
    for b, y, x in np.ndindex(len(values), height, width):
        window = values[b, 0, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
        if np.isfinite(window).any():
            found[b, 0, y, x] = window[np.isfinite(window)].mean()
    return found


@pytest.mark.parametrize("size", [(2, 3), (4, 6), (8, 12), (1, 1)])
def test_truth_of_a_scale_is_the_mean_of_the_known_pixels(size):
    targets = truth()
    expected = averaged(targets, *size)
    values, known = truth_at(targets, *size)
    assert np.array_equal(known.numpy(), np.isfinite(expected))
    np.testing.assert_allclose(values.numpy()[known.numpy()], expected[np.isfinite(expected)], rtol=1e-12)


@pytest.mark.parametrize("weights", [None, (0.5, 0.0, 2.0)])
def test_loss_is_the_weighted_sum_of_the_errors_of_all_scales(weights):
    outputs, targets = maps(), truth()
    expected = sum(
        weight * np.nanmean(np.abs(scale.numpy() - averaged(targets, *scale.shape[2:])))
        for weight, scale in zip(weights or (1, 1, 1), outputs.scales, strict=True)
    )
    assert Disparity(weights=weights).loss(outputs, targets).item() == pytest.approx(expected, rel=1e-12)


def test_the_truth_has_no_error_at_any_scale():
    targets = truth()
    scales = [truth_at(targets, *size)[0] for size in ((2, 3), (4, 6), (8, 12))]
    outputs = Maps(tuple(scales))
    assert Disparity().loss(outputs, targets).item() == 0
    meter = Disparity().new_metric()
    meter.update(outputs, targets)
    assert meter.compute().item() == 0


def test_unknown_pixels_have_no_gradient_and_no_value():
    targets, prediction = truth(), maps().scales[-1].requires_grad_()
    loss = Disparity().loss(Maps((prediction,)), targets)
    (gradient,) = torch.autograd.grad(loss, prediction)
    known = torch.isfinite(targets)
    assert (gradient[~known] == 0).all()
    torch.testing.assert_close(gradient[known].abs(), torch.full((int(known.sum()),), 1 / known.sum()).double())
    changed = torch.where(known, prediction.detach(), torch.full_like(prediction, torch.nan))
    assert Disparity().loss(Maps((changed,)), targets) == loss


@pytest.mark.parametrize("metric", ["epe", "bad_3", "d1"])
def test_metric_over_batches_against_numpy(metric):
    objective = Disparity(metric)
    targets = truth(shape=(6, 1, 8, 12)) * 4
    outputs = targets.nan_to_num(0, 0) + torch.from_numpy(np.random.default_rng(3).normal(0, 4, targets.shape))
    meter = objective.new_metric()
    for part in (slice(0, 1), slice(1, 6)):
        meter.update(Maps((torch.zeros(1), outputs[part])), targets[part])
    value, true = outputs.numpy(), targets.numpy()
    known = np.isfinite(true)
    error = np.abs(value - np.where(known, true, 0))[known]
    expected = {
        "epe": error.mean(),
        "bad_3": (error > 3).mean(),
        "d1": ((error > 3) & (error > 0.05 * np.abs(true[known]))).mean(),
    }
    assert expected["d1"] < expected["bad_3"]
    assert meter.compute().item() == pytest.approx(expected[metric], rel=1e-6)
    unit = "px" if metric == "epe" else "%"
    assert objective.goal.to_dict() == {"metric": metric, "unit": unit, "direction": "min"}
    assert objective.goal.key("test") == "test_metric"


def test_a_batch_without_truth_and_wrong_weights_are_refused_in_one_line():
    nothing = torch.full((2, 1, 8, 12), torch.nan)
    with pytest.raises(DataError, match=r"^2 pairs of a batch have no pixel with a true disparity; "):
        Disparity().loss(Maps(tuple(scale[:2] for scale in maps().scales)), nothing)
    with pytest.raises(ConfigError, match=r"^objective\.weights has 2 numbers: .* 3 scales; .*weights=null$"):
        Disparity(weights=(1.0, 1.0)).loss(maps(), truth())
    with pytest.raises(ConfigError, match="at least one must be positive"):
        Disparity(weights=(0.0, 0.0))


def test_networks_have_one_output():
    assert Disparity().outputs(10) == 1
