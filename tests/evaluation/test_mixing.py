"""MixUp and CutMix against torchvision's, their losses against those of mixed labels, and the draws."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot
from torchvision.transforms import v2

from cases import images
from nas_lightning.core import draws
from nas_lightning.evaluation.mixing import Drawn, draw, mix
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import TrainingStep
from nas_lightning.objectives import Classification


def batch(number=5, size=12):
    return images(number, size, seed=3).double(), torch.tensor([0, 2, 1, 1, 2])[:number]


def soft(targets, mixed, classes=3):
    own, partners = one_hot(targets, classes).double(), one_hot(mixed.partners, classes).double()
    return mixed.share * own + (1 - mixed.share) * partners


def test_mixup_is_the_formula_and_torchvisions():
    x, y = batch()
    mixed = mix(x, y, Drawn("mixup", 0.3))
    for index in range(5):
        torch.testing.assert_close(mixed.images[index], 0.3 * x[index] + 0.7 * x[index - 1], rtol=0, atol=1e-15)
        assert mixed.partners[index] == y[index - 1]
    theirs = v2.MixUp(num_classes=3)
    parameters = {"labels": y, "batch_size": 5, "lam": 0.3}
    torch.testing.assert_close(mixed.images, theirs.transform(x, parameters))
    torch.testing.assert_close(soft(y, mixed), theirs.transform(y, parameters).double())


@pytest.mark.parametrize(
    ("share", "row", "column"), [(0.3, 0.5, 0.5), (0.6, 0.0, 0.99), (0.1, 0.9, 0.1), (1.0, 0.5, 0.5)]
)
def test_cutmix_takes_torchvisions_rectangle(share, row, column):
    """Also where the border cuts it, and where it is empty."""
    x, y = batch()
    mixed = mix(x, y, Drawn("cutmix", share, row, column))
    half = 0.5 * np.sqrt(1 - share)
    top, bottom = (np.clip(int(row * 12) + sign * int(half * 12), 0, 12) for sign in (-1, 1))
    left, right = (np.clip(int(column * 12) + sign * int(half * 12), 0, 12) for sign in (-1, 1))
    adjusted = 1 - (bottom - top) * (right - left) / 144
    theirs = v2.CutMix(num_classes=3)
    parameters = {"labels": y, "batch_size": 5, "box": (left, top, right, bottom), "lam_adjusted": adjusted}
    assert torch.equal(mixed.images, theirs.transform(x, parameters))
    torch.testing.assert_close(soft(y, mixed), theirs.transform(y, parameters).double())
    replaced = (mixed.images != x).any(1).double().mean((1, 2))  # no pixel of two images is equal
    assert replaced.tolist() == pytest.approx([1 - mixed.share] * 5)


def test_the_distributions_of_draws():
    """Beta(α, α) has the variance 1 / (4 · (2α + 1)); of two kinds each is as likely; equal keys give equal draws."""

    def drawn(step, mixup=0.4, cutmix=1.0):
        with draws.keyed(0, step, "evaluation"):
            return draw(mixup, cutmix)

    found = [drawn(step) for step in range(3000)]
    shares = {kind: [d.share for d in found if d.kind == kind] for kind in ("mixup", "cutmix")}
    assert len(shares["mixup"]) / 3000 == pytest.approx(0.5, abs=0.03)
    for kind, alpha in (("mixup", 0.4), ("cutmix", 1.0)):
        assert np.mean(shares[kind]) == pytest.approx(0.5, abs=0.04)
        assert np.var(shares[kind]) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
    assert np.mean([d.row for d in found]) == pytest.approx(0.5, abs=0.03)
    assert drawn(7) == found[7]
    assert drawn(8) != found[7]
    assert {drawn(step, cutmix=0.0).kind for step in range(20)} == {"mixup"}
    assert {drawn(step, mixup=0.0).kind for step in range(20)} == {"cutmix"}


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_the_loss_is_that_of_mixed_labels(kind):
    """Smoothed, with an auxiliary head; the step draws what is drawn here."""
    x, y = batch()
    recipe = Recipe(
        name="test", epochs=1, batch_size=5, init_channels=4, layers=3, lr=0.1, auxiliary=0.4, label_smoothing=0.1,
        **{kind: 0.7},
    )  # fmt: skip

    class Heads(torch.nn.Module):
        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            shape = (x[0].numel(), 3)
            self.main, self.second = (
                torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for _ in range(2)
            )

        def forward(self, inputs):
            return inputs.flatten(1) @ self.main, inputs.flatten(1) @ self.second

    objective, network = Classification(), Heads()
    objective.bind("abc", y)
    with draws.keyed(1, 2, "evaluation"):
        loss, logits = TrainingStep(network, objective, recipe).loss(x, y)
    with draws.keyed(1, 2, "evaluation"):
        mixed = mix(x, y, draw(recipe.mixup, recipe.cutmix))
    outputs, labels = network(mixed.images), soft(y, mixed)
    main, second = (cross_entropy(out, labels, label_smoothing=0.1) for out in outputs)
    assert loss.item() == pytest.approx((main + 0.4 * second).item(), rel=1e-12)
    assert torch.equal(logits, outputs[0])
