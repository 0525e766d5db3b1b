import numpy as np
import pytest

from cases import build_space, random_mixing
from nas_lightning.analyses import skip_gap
from nas_lightning.spaces import Choice, NasBench201Space


def test_one_convolution_an_edge():
    """S2 offers skip_connect and sep_conv_3x3: the published quantity, averaged over both cells."""
    space = build_space("s2")
    assert space.choices["normal"].options[0] == ("skip_connect", "sep_conv_3x3")
    mixing = {name: weights.numpy() for name, weights in random_mixing(space).items()}
    by_hand = np.mean([mixing[cell][:, 0] - mixing[cell][:, 1] for cell in ("normal", "reduce")])
    assert skip_gap({name: weights.tolist() for name, weights in mixing.items()}, space.choices) == pytest.approx(
        by_hand
    )


def test_several_convolutions_and_other_operations():
    """none, two pools, skip, two separable and two dilated convolutions."""
    space = build_space("darts")
    row = [0.05, 0.05, 0.1, 0.3, 0.2, 0.1, 0.15, 0.05]
    mixing = {"normal": [row] * 14, "reduce": [[1 / 8] * 8] * 14}
    assert skip_gap(mixing, space.choices) == pytest.approx((0.3 - 0.5 / 4 + 0.0) / 2)
    cell = [[0.1, 0.5, 0.3, 0.05, 0.05]] * 6  # none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3
    assert skip_gap({"cell": cell}, NasBench201Space().choices) == pytest.approx(0.5 - 0.175)


def test_edges_that_do_not_offer_both_do_not_count():
    """In S1 rows have two options each, a pool and a skip connection among them."""
    space = build_space("s1")
    gaps = {"normal": [], "reduce": []}
    mixing = random_mixing(space, seed=3)
    for cell, found in gaps.items():
        for options, weights in zip(space.choices[cell].options, mixing[cell].tolist(), strict=True):
            named = dict(zip(options, weights, strict=False))
            convolutions = [weight for name, weight in named.items() if "_conv_" in name]
            if "skip_connect" in named and convolutions:
                found.append(named["skip_connect"] - np.mean(convolutions))
    assert 0 < len(gaps["reduce"]) < 14
    expected = (np.mean(gaps["normal"]) + np.mean(gaps["reduce"])) / 2
    assert skip_gap({n: w.tolist() for n, w in mixing.items()}, space.choices) == pytest.approx(expected)


def test_edge_weights_are_no_operations():
    space = build_space("s2").variant(edge_weights=True)
    mixing = {name: weights.tolist() for name, weights in random_mixing(space).items()}
    without = {name: mixing[name] for name in ("normal", "reduce")}
    assert skip_gap(mixing, space.choices) == skip_gap(without, build_space("s2").choices)


def test_nothing_to_compare():
    choice = Choice("cell", "op", (("none", "skip_connect"), ("sep_conv_3x3", "avg_pool_3x3")), (0, 1), (2, 2))
    assert skip_gap({"cell": [[0.5, 0.5], [0.5, 0.5]]}, {"cell": choice}) is None
