"""The part that makes a supernet's operations narrower."""

import pytest

from cases import TINY, build_space
from nas_lightning.config.parts import check_part
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.regularizers import EdgeNormalisation, PartialChannels

TARGET = "nas_lightning.regularizers.PartialChannels"


def widths(space, init_channels=8):
    supernet = space.supernet(**{**TINY, "init_channels": init_channels})
    return [cell.edges[0].edge.channels for cell in supernet.cells]


@pytest.mark.parametrize(("divisor", "expected"), [(1, [8, 16, 32, 32]), (2, [4, 8, 16, 16]), (8, [1, 2, 4, 4])])
def test_operations_have_a_fraction_of_the_channels(divisor, expected):
    space, part = build_space("darts"), PartialChannels(divisor)
    assert isinstance(part, Regularizer)
    built = part.build(space)
    assert widths(built) == expected
    assert built.choices.keys() == space.choices.keys()
    assert widths(space) == [8, 16, 32, 32]  # the space itself is another object


def test_it_joins_edge_normalisation_in_either_order():
    space = build_space("s2")
    for parts in ((PartialChannels(), EdgeNormalisation()), (EdgeNormalisation(), PartialChannels())):
        built = space
        for part in parts:
            built = part.build(built)
        assert (built.partial_channels, built.edge_weights) == (4, True)
        assert widths(built) == [2, 4, 8, 8]


def test_divisors_that_cannot_be():
    assert PartialChannels().divisor == 4
    for value, text in ((0, "must be at least 1"), (2.5, "must be a whole number")):
        (problem,) = check_part("regularizer.partial_channels", {"_target_": TARGET, "divisor": value})
        assert problem.startswith(f"regularizer.partial_channels.divisor={value}: {text}")
    with pytest.raises(ConfigError, match=r"regularizer\.partial_channels\.divisor=3: must divide"):
        widths(PartialChannels(3).build(build_space("s2")))
