"""Spaces without weights of edges: what varies, and what is refused."""

import pytest

from cases import block_space
from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.fixed_edges import FixedEdges


@pytest.mark.parametrize("space", [NasBench201Space(), block_space("nasbench1shot1_1")], ids=["201", "1shot1"])
def test_a_variant_has_other_channels_and_never_edge_weights(space):
    assert isinstance(space, FixedEdges)
    other = space.variant(partial_channels=4, edge_weights=False)
    assert (space.partial_channels, other.partial_channels, other.name) == (1, 4, space.name)
    assert other.choices is space.choices
    with pytest.raises(ConfigError, match=r"leave the edge weights out, ~regularizer\.edge_normalisation"):
        space.variant(edge_weights=True)
