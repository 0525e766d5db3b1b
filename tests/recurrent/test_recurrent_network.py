"""Language models of a genotype: their sizes, and text in pieces."""

import pytest
import torch

from nas_lightning.core.batches import Chunk, Continued
from nas_lightning.recurrent.network import RecurrentNetwork
from nas_lightning.spaces import PUBLISHED
from recurrent_reference import B, H, V, chunk, grown, recurrent_space

SIZES = {
    (10_000, 300): 4_810_000,
    (10_000, 850): 22_960_000,
    (33_278, 700): 33_127_878,
    (200, 32): 27_080,
    (200, 64): 94_920,
    (11, 6): 797,
}
"""Weights by words and units, as counted with the released code."""


@pytest.mark.parametrize(("words", "hidden"), SIZES)
def test_networks_have_the_weights_of_the_released_code(words, hidden):
    with torch.device("meta"):
        network = recurrent_space().network(PUBLISHED["darts_v2_rnn"], words, hidden)
    assert isinstance(network, RecurrentNetwork)
    assert sum(p.numel() for p in network.parameters()) == SIZES[words, hidden]
    assert not list(network.buffers())


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith("_rnn")])
def test_a_text_in_pieces_with_the_state_carried_is_the_whole_text(name):
    network = grown(recurrent_space().network(PUBLISHED[name], V, H)).eval()
    inputs = chunk(length=12)
    whole = network(inputs)
    first = network(Chunk(inputs.tokens[:5], inputs.state))
    second = network(Chunk(inputs.tokens[5:], first.state))
    assert isinstance(whole, Continued)
    assert (whole.state - second.state).abs().max() < 1e-12
    for field in ("logits", "hidden", "dropped"):
        joined = torch.cat([getattr(first, field), getattr(second, field)])
        assert (getattr(whole, field) - joined).abs().max() < 1e-12
    assert torch.equal(whole.state, whole.hidden[-1])
    assert (whole.logits.shape, whole.hidden.shape) == ((12, B, V), (12, B, H))
