"""The supernet of recurrent cells: its size, text in pieces, regularizers inside, and recomputation."""

import pytest
import torch
from torch import nn

from cases import random_mixing
from nas_lightning.core import draws
from nas_lightning.core.batches import Chunk
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.recurrent.supernet import RecurrentSupernet
from nas_lightning.regularizers import DropPath, EdgeNormalisation, Noise, PartialChannels, SkipDropPath
from recurrent_reference import DROPOUTS, OPERATIONS, B, H, T, V, chunk, recurrent_space, tiny_recurrent_supernet

SPACE = recurrent_space()
MIXING = random_mixing(SPACE)


@pytest.mark.parametrize(("words", "hidden", "nodes"), [(10_000, 300, 8), (11, 6, 8), (200, 32, 3)])
def test_the_size_is_that_of_the_formula(words, hidden, nodes):
    with torch.device("meta"):
        supernet = recurrent_space(num_nodes=nodes).supernet(words, hidden)
    assert isinstance(supernet, RecurrentSupernet)
    size = words * hidden + words + 4 * hidden**2 + nodes * 2 * hidden**2
    assert sum(p.numel() for p in supernet.parameters()) == size
    assert [name for name, _ in supernet.named_buffers()] == [
        "cell.norm.running_mean", "cell.norm.running_var", "cell.norm.num_batches_tracked",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["eval", "train without norm"])
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_text_in_pieces_with_the_state_carried_is_the_whole_text(mode, engine):
    supernet = tiny_recurrent_supernet(engine=engine)
    if mode == "eval":
        supernet(chunk(1), MIXING)  # moves the statistics
        supernet.eval()
    else:
        supernet.cell.norm = nn.Identity()
    inputs = chunk(length=12)
    whole = supernet(inputs, MIXING)
    first = supernet(Chunk(inputs.tokens[:5], inputs.state), MIXING)
    second = supernet(Chunk(inputs.tokens[5:], first.state), MIXING)
    assert (whole.state - second.state).abs().max() < 1e-12
    assert (whole.logits - torch.cat([first.logits, second.logits])).abs().max() < 1e-12


class Seen(Regularizer):
    """Notes what its hooks see; changes nothing."""

    def __init__(self):
        self.ops, self.edges = [], []

    def on_op(self, y, op, edge):
        self.ops.append((edge, op, tuple(y.shape)))
        return y

    def on_edge(self, y, x, edge):
        assert y.shape == x.shape == (B, H, 1, 1)
        self.edges.append(edge)
        return y


def test_hooks_see_every_operation_and_edge_of_every_step_as_images_of_one_pixel():
    supernet, seen = tiny_recurrent_supernet(), Seen()
    plain = supernet(chunk(), MIXING)
    supernet.cell.norm.reset_running_stats()
    supernet.attach((seen,))
    assert (supernet(chunk(), MIXING).logits - plain.logits).abs().max() < 1e-12
    places = [(edge.cell, edge.row, edge.source, edge.node, op) for edge, op, _ in seen.ops]
    choice = SPACE.choices["cell"]
    rows = list(zip(range(36), choice.sources, choice.nodes, strict=True))
    assert places == [(step, *row, op) for step in range(T) for row in rows for op in OPERATIONS]
    assert {shape for _, _, shape in seen.ops} == {(B, H, 1, 1)}
    assert {(edge.choice, edge.stride, edge.channels) for edge in seen.edges} == {("cell", 1, H)}
    assert [(edge.cell, edge.row) for edge in seen.edges] == [(step, row) for step in range(T) for row in range(36)]


class Scaled(Regularizer):
    """Doubles relu, and three times the edges that leave node 0."""

    def on_op(self, y, op, edge):
        return 2 * y if op == "relu" else y

    def on_edge(self, y, x, edge):
        return 3 * y if edge.source == 0 else y


def test_what_hooks_return_is_what_counts():
    supernet = tiny_recurrent_supernet()
    weights = MIXING["cell"].clone()
    weights[:, OPERATIONS.index("relu")] *= 2
    weights[[source == 0 for source in SPACE.choices["cell"].sources]] *= 3
    expected = supernet(chunk(), {"cell": weights})
    supernet.attach((Scaled(),))
    found = supernet(chunk(), MIXING)
    assert (found.logits - expected.logits).abs().max() < 1e-12
    assert (found.logits - tiny_recurrent_supernet()(chunk(), MIXING).logits).abs().max() > 1e-3


def noise():
    return Noise("all", std=0.3)


def drop_path():
    return DropPath(0.5, epochs=2)


@pytest.mark.parametrize("make", [noise, drop_path])
def test_noise_and_drop_path_act_by_key_and_in_training_mode_only(make):
    supernet, part = tiny_recurrent_supernet(), make()
    part.build(SPACE)
    part.at_epoch(1)
    plain = supernet(chunk(), MIXING)
    supernet.attach((part,))
    with draws.keyed(0, 0, "arch"):
        first, again = supernet(chunk(), MIXING), supernet(chunk(), MIXING)
    with draws.keyed(0, 0, "weights"):
        other = supernet(chunk(), MIXING)
    assert torch.equal(first.logits, again.logits)
    for one, two in ((first, plain), (first, other)):
        assert (one.logits - two.logits).abs().max() > 1e-3
    part.eval()
    assert torch.equal(supernet(chunk(), MIXING).logits, plain.logits)


class Noted(DropPath):
    """Notes which columns are dropped."""

    def on_edge(self, y, x, edge):
        dropped = super().on_edge(y, x, edge)
        self.dropped.setdefault(edge.row, []).append((dropped == 0).flatten(1).all(1).tolist())
        return dropped


def test_a_column_loses_other_edges_at_every_step():
    part = Noted(0.5, epochs=2)
    part.dropped = {}
    part.at_epoch(1)
    supernet = tiny_recurrent_supernet()
    supernet.attach((part,))
    with draws.keyed(0, 0, "arch"):
        supernet(chunk(), MIXING)
    patterns = [tuple(map(tuple, steps)) for steps in part.dropped.values()]
    assert {len(steps) for steps in patterns} == {T}
    assert len(set(patterns)) > 30
    assert all(len(set(steps)) > 1 for steps in patterns)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: Noise("skip_connect"), r"offers skip_connect.*\+regularizer=op_noise"),
        (SkipDropPath, r"offers skip_connect.*\+regularizer=drop_path"),
        (PartialChannels, r"space=recurrent: .* ~regularizer\.partial_channels"),
        (EdgeNormalisation, r"space=recurrent: .* ~regularizer\.edge_normalisation"),
    ],
)
def test_parts_without_a_meaning_here_are_refused_in_one_line(part, message):
    with pytest.raises(ConfigError, match=message) as raised:
        part().build(SPACE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_recomputation_changes_no_number(engine):
    """Steps are computed again in the backward pass; statistics move once."""
    found = {}
    for recomputes in (False, True):
        supernet = tiny_recurrent_supernet(dropout=DROPOUTS, engine=engine)
        supernet.recomputes = recomputes
        weights = MIXING["cell"].clone().requires_grad_()
        with draws.keyed(0, 0, "weights"):
            outputs = supernet(chunk(), {"cell": weights})
            outputs.logits.sin().sum().backward()
        gradients = [weights.grad, *(p.grad for p in supernet.parameters())]
        found[recomputes] = [outputs.logits.detach(), *gradients, *supernet.buffers()]
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one, other)


def test_one_column_cannot_be_normalised_in_training():
    supernet = tiny_recurrent_supernet()
    with pytest.raises(ConfigError, match=r"search\.batch_size=1: .* write search\.batch_size=2"):
        supernet(chunk(columns=1), MIXING)
    assert supernet.eval()(chunk(columns=1), MIXING).logits.shape == (T, 1, V)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="engine=quick: unknown"):
        SPACE.supernet(V, H, engine="quick")
