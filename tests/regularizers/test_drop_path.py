"""Drop-path on whole edges, and several parts in one supernet."""

import math

import pytest
import torch

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import Cutout, DropPath, Noise, SkipDropPath

EDGE = EdgeInfo("normal", cell=0, row=1, source=1, node=2, stride=1, channels=4)


def at(probability):
    """A part in its last epoch."""
    part = DropPath(probability, epochs=2)
    part.at_epoch(1)
    return part


def attached(space, *parts):
    supernet = tiny_supernet(space)
    for part in parts:
        part.build(space)
    supernet.attach(parts)
    return supernet.double()


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0), (1, 0.0040816), (25, 0.102041), (49, 0.2)])
def test_golden_values_of_the_schedule(epoch, expected):
    part = DropPath(0.2, epochs=50)
    part.at_epoch(epoch)
    assert part.metrics() == {"drop_path": pytest.approx(expected, abs=5e-7)}


def test_the_maximum_can_be_raised_between_epochs():
    part = DropPath(0.2, epochs=50)
    part.at_epoch(49)
    part.maximum = 0.6
    part.at_epoch(25)  # rolled back
    assert part.probability == pytest.approx(0.6 * 25 / 49)
    part.maximum = 1.0
    with pytest.raises(ConfigError, match=r"regularizer\.drop_path\.maximum=1\.0"):
        part.at_epoch(26)


def test_the_schedule_needs_the_epochs():
    with pytest.raises(ConfigError, match=r"regularizer\.drop_path\.epochs=null: .*write regularizer\.drop_path"):
        DropPath(0.2).at_epoch(0)


def test_an_edge_is_dropped_image_by_image_with_the_identity():
    """Hooked behind a mixed operation of the supernet: each image is either zero or the whole sum over keep."""
    space, part = build_space("s2"), at(0.4)
    supernet, mixing, flags = attached(space, part), random_mixing(space)["normal"], [True, True]
    edge = supernet.cells[0].edges[1]
    x = images(64, channels=4)
    whole = edge(x, mixing[1], flags, ())
    with draws.keyed(0, 0, "weights"):
        dropped = edge(x, mixing[1], flags, (part,))
    zero = dropped.flatten(1).eq(0).all(dim=1)
    assert 10 < int(zero.sum()) < 45
    torch.testing.assert_close(dropped[~zero], whole[~zero] / 0.6)


def test_the_expectation_is_kept():
    part, y = at(0.3), images(2000, 1, 1)
    with draws.keyed(0, 0, "weights"):
        scale = part.on_edge(y, y, EDGE) / y
    assert set(scale.flatten().round(decimals=9).tolist()) == {0.0, round(1 / 0.7, 9)}
    error = math.sqrt(0.3 / 0.7 / y.numel())
    assert abs(float(scale.mean()) - 1) < 4 * error


def test_every_edge_and_every_pass_has_its_own_mask():
    part, y = at(0.5), torch.ones(256, 1, 1, 1, dtype=torch.float64)

    def mask(cell=0, row=0, pass_name="weights", rank=0):
        with draws.keyed(0, 0, pass_name, rank):
            return part.on_edge(y, y, EdgeInfo("normal", cell, row, 0, 2, 1, 1)).flatten()

    masks = [mask(), mask(cell=1), mask(row=1), mask(pass_name="outer"), mask(rank=1)]
    assert torch.equal(mask(), masks[0])
    correlations = torch.corrcoef(torch.stack(masks)) - torch.eye(len(masks))
    assert correlations.abs().max() < 4 / math.sqrt(len(y))


def test_evaluation_mode_is_bit_identical_and_training_is_not():
    space = build_space("s1")
    mixing, x = random_mixing(space), images()
    plain, dropping = tiny_supernet(space), attached(space, at(0.5))
    with frozen_batch_stats(plain), frozen_batch_stats(dropping), draws.keyed(0, 0, "weights"):
        assert not torch.equal(dropping(x, mixing), plain(x, mixing))
    assert torch.equal(dropping.eval()(x, mixing), plain.eval()(x, mixing))


def test_nothing_is_dropped_in_the_first_epoch():
    part, y = DropPath(0.9, epochs=50), images()
    part.at_epoch(0)
    assert part.on_edge(y, y, EDGE) is y


PARTS = {
    "drop path": lambda: [at(0.3)],
    "noise": lambda: [Noise()],
    "noise everywhere": lambda: [Noise("all", distribution="uniform")],
    "skip drop path": lambda: [SkipDropPath(in_validation=True)],
    "all": lambda: [at(0.3), Cutout(4), Noise("all", learnable=True), SkipDropPath()],
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_no_part_changes_a_state_in_place(name, training):
    """What goes into each edge is a node's state; at stride 1 the skip connection hands out that very tensor."""
    space = build_space("s3")
    supernet = attached(space, *PARTS[name]()).train(training)
    seen = []
    for cell in supernet.cells:
        for edge in cell.edges:
            edge.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[0].clone())))
    with torch.no_grad(), draws.keyed(0, 0, "weights"):
        supernet(images(), random_mixing(space))
    assert len(seen) == 4 * 14
    assert all(torch.equal(state, before) for state, before in seen)


@pytest.mark.parametrize("name", ["s1", pytest.param("darts_nonone", marks=pytest.mark.slow)])
def test_parts_together_run_forward_and_backward_twice(name):
    space, parts = build_space(name), PARTS["all"]()
    assert all(isinstance(part, Regularizer) for part in parts)
    supernet = attached(space, *parts)
    weights = dict(supernet.named_parameters())
    logits = {key: torch.zeros_like(value).requires_grad_() for key, value in random_mixing(space).items()}
    x = images()
    with draws.keyed(0, 0, "images train"):
        for part in parts:
            x = part.on_images(x)
    losses = []
    for pass_name in ("outer", "weights"):
        mixing = {}
        for key, choice in space.choices.items():
            mixing[key] = logits[key].masked_fill(~choice.mask, -torch.inf).softmax(dim=1)
        with frozen_batch_stats(supernet), draws.keyed(0, 0, pass_name):
            loss = supernet(x, mixing).square().mean()
        losses.append(loss.item())
        first = torch.autograd.grad(loss, list(logits.values()), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), list(weights.values()), allow_unused=True)
        found = {key: g for key, g in zip(weights, second, strict=True) if g is not None}
        assert all(torch.isfinite(g).all() for g in (*first, *found.values()))
        assert all(float(found[key].abs().sum()) > 0 for key in weights if "rho" in key)
    assert losses[0] != losses[1]
