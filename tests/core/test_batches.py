"""Batches that are no images: what is cut from them, placed, detached, and the states that streams carry."""

import torch

from nas_lightning.core.batches import (
    Chunk,
    Continued,
    Graphs,
    Maps,
    Streams,
    all_finite,
    count_of,
    detached,
    first_of,
    nbytes_of,
    placed_inputs,
    rate_of,
)


def continued(value: float = 1.0) -> Continued:
    """Return outputs of 3 tokens, 2 columns, 5 words, 4 hidden units, with a history."""
    weight = torch.full((), value, requires_grad=True)
    return Continued(*(weight * torch.ones(*shape) for shape in ((3, 2, 5), (2, 4), (3, 2, 4), (3, 2, 4))))


def test_streams_carry_the_state_of_text_and_nothing_else():
    streams, chunk, images = Streams(), Chunk(torch.zeros(3, 2, dtype=torch.long)), torch.zeros(2, 1, 4, 4)
    assert streams.before("train", chunk).state is None
    streams.after("train", continued(0.5))
    assert streams.before("arch", chunk).state is None
    state = streams.before("train", chunk).state
    assert torch.equal(state, torch.full((2, 4), 0.5))
    assert not state.requires_grad
    restored = Streams()
    restored.load_state_dict(streams.state_dict())
    assert torch.equal(restored.before("train", chunk).state, state)
    assert restored.before("train", placed_inputs(chunk, "meta")).state.device.type == "meta"
    streams.begin("train")
    assert streams.before("train", chunk).state is None
    streams.after("train", torch.ones(2, 10))
    assert streams.before("train", images) is images
    assert streams.state_dict() == {}


def test_the_first_columns_of_text_keep_their_own_state():
    tokens, state = torch.arange(12).reshape(3, 4), torch.arange(8.0).reshape(4, 2)
    inputs, targets = first_of((Chunk(tokens, state, 0.5), tokens + 1), 3)
    assert torch.equal(inputs.tokens, tokens[:, :3])
    assert torch.equal(inputs.state, state[:3])
    assert inputs.rate == 0.5
    assert torch.equal(targets, tokens[:, :3] + 1)
    images, labels = first_of((torch.zeros(5, 1, 2, 2), torch.arange(5)), 2)
    assert len(images) == 2
    assert labels.tolist() == [0, 1]
    assert len(first_of((torch.zeros(5, 1, 2, 2), torch.arange(5)), None)[0]) == 5


def test_the_first_graphs_keep_their_nodes_edges_and_targets():
    edges = torch.tensor([[0, 1, 4, 6, 5], [1, 2, 3, 5, 6]])
    graphs = Graphs(torch.arange(14.0).reshape(7, 2), edges, torch.tensor([3, 2, 2]))
    inputs, targets = first_of((graphs, torch.arange(7)), 2)
    assert torch.equal(inputs.x, graphs.x[:5])
    assert inputs.edge_index.tolist() == [[0, 1, 4], [1, 2, 3]]
    assert inputs.sizes.tolist() == [3, 2]
    assert targets.tolist() == [0, 1, 2, 3, 4]
    assert count_of(inputs) == 5
    assert nbytes_of(inputs) == 4 * 10 + 8 * (6 + 2)
    assert {part.device.type for part in placed_inputs(inputs, "meta")} == {"meta"}
    assert rate_of(inputs) == 1.0


def test_outputs_lose_their_history_and_tell_whether_they_are_finite():
    for outputs in (
        continued(),
        Maps((torch.ones(2, 1, 2, 2, requires_grad=True),)),
        torch.ones(2, requires_grad=True),
    ):
        free = detached(outputs)
        flat = [free] if isinstance(free, torch.Tensor) else free.scales if isinstance(free, Maps) else free
        assert not any(tensor.requires_grad for tensor in flat)
        assert all_finite(outputs)
    assert not all_finite(continued(float("nan")))
    assert not all_finite(Maps((torch.ones(1), torch.tensor([float("inf")]))))
    assert not all_finite(torch.tensor([float("nan")]))


def test_inputs_know_their_rate_size_and_place():
    chunk = Chunk(torch.zeros(3, 2, dtype=torch.long), torch.zeros(2, 4), 0.25)
    assert (rate_of(chunk), rate_of(torch.zeros(1))) == (0.25, 1.0)
    assert (nbytes_of(chunk), nbytes_of(torch.zeros(3))) == (48, 12)
    moved = placed_inputs(chunk, "meta")
    assert {moved.tokens.device.type, moved.state.device.type, placed_inputs(torch.zeros(1), "meta").device.type} == {
        "meta"
    }
