"""Operations with weights: counted by hand, the same ones whatever engine computes them."""

import pytest

from cases import TINY, block_space, build_space
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.weighted_operations import Place, weighted_operations

CELLS, EDGES = 4, 14


@pytest.mark.parametrize(("name", "of_edge"), [("darts", 4), ("darts_nonone", 4), ("s2", 1), ("s3", 1), ("s4", 1)])
def test_cells_have_convolutions_on_every_edge(name, of_edge):
    """Skip connections are no parametric operations, not even those at stride 2, which have weights."""
    space = build_space(name)
    found = weighted_operations(space.supernet(**TINY))
    assert len(found) == CELLS * EDGES * of_edge
    for place in found:
        assert "conv" in space.choices[place.choice].options[place.row][place.option]


@pytest.mark.parametrize(
    ("space", "expected"), [(NasBench201Space(), 3 * 6 * 2), (block_space("nasbench1shot1_1"), 3 * 4 * 2)]
)
def test_other_spaces(space, expected):
    assert len(weighted_operations(space.supernet(num_classes=3, init_channels=4, layers=1))) == expected


def test_engines_hold_the_same_operations():
    space = build_space("s1")
    plain, fast = (weighted_operations(space.supernet(**TINY, engine=engine)) for engine in ("reference", "fast"))
    assert list(plain) == list(fast)
    assert next(iter(plain)) == Place("normal", 0, 0, 1)
    shapes = [[[weight.shape for weight in op.parameters()] for op in found.values()] for found in (plain, fast)]
    assert shapes[0] == shapes[1]
