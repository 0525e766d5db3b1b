"""Swapping against a network whose weights were exchanged by their names."""

import pytest
import torch
from torch import nn

from cases import build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.analyses import edges_swapped, equal_pairs, search_cells, swapped
from nas_lightning.analyses.swaps import draw_pair, edge_pairs
from nas_lightning.spaces import NasBench201Space

PAIR = (4, 8)  # both of stride 1, in the normal cell and in the reduction cell


def test_pairs_of_equal_kind():
    kinds = ["a", "b", "a", "c", "b", "a"]
    by_hand = {(0, 2), (0, 5), (2, 5), (1, 4)}
    assert set(equal_pairs(kinds)) == by_hand
    drawn = [draw_pair(equal_pairs(kinds), seeded(seed)) for seed in range(60)]
    assert set(drawn) == by_hand
    assert draw_pair([], seeded(0)) is None


def test_swapped_changes_the_order_and_changes_it_back():
    parts = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    first, middle, last = parts
    x = torch.randn(5, 2, generator=seeded(0))
    before = parts(x)
    with swapped(parts, 0, 2):
        assert list(parts) == [last, middle, first]
        assert torch.equal(parts(x), first(middle(last(x))))
        with swapped(parts, 0, 2):  # twice is as before
            assert torch.equal(parts(x), before)
    assert list(parts) == [first, middle, last]
    with pytest.raises(ZeroDivisionError), swapped(parts, 0, 2):
        raise ZeroDivisionError
    assert list(parts) == [first, middle, last]


def test_cells_and_their_pairs():
    space = build_space("s2")
    cells = search_cells(tiny_supernet(space))
    assert [cell.choice.name for cell in cells] == ["normal", "reduce", "reduce", "normal"]
    everything = space.choices["normal"].mask
    assert len(edge_pairs(cells[0], everything)) == 14 * 13 // 2
    # Nodes 0 and 1 are the inputs of the reduction cell: edges from them have stride 2, eight of fourteen.
    assert len(edge_pairs(cells[1], everything)) == 8 * 7 // 2 + 6 * 5 // 2
    sources = space.choices["reduce"].sources
    for first, second in edge_pairs(cells[1], everything):
        assert (sources[first] < 2) == (sources[second] < 2)
    pruned = everything.clone()
    pruned[5] = False
    assert all(5 not in pair for pair in edge_pairs(cells[0], pruned))
    benchmark = NasBench201Space().supernet(num_classes=3, init_channels=4, layers=1)
    assert [len(edge_pairs(cell, torch.ones(6, 5))) for cell in search_cells(benchmark)] == [15] * 3


def exchanged(supernet, pair):
    """A supernet in which the weights and buffers of two edges were exchanged by name, in every cell."""
    other = tiny_supernet(build_space("s2"), seed=1)
    names = {f".edges.{a}.": f".edges.{b}." for a, b in (pair, pair[::-1])}

    def renamed(key):
        return next((key.replace(old, new) for old, new in names.items() if old in key), key)

    state = {renamed(key): value for key, value in supernet.state_dict().items() if key}
    # Strided skip connections have weights, plain ones have none: of equal stride they fit.
    other.load_state_dict(state)
    return other.eval()


@pytest.fixture
def supernet():
    supernet = tiny_supernet(build_space("s2"))
    for _ in range(3):  # running statistics that differ from edge to edge
        supernet(images(8), random_mixing(build_space("s2")))
    return supernet.eval()


def test_weights_that_move_and_weights_that_stay(supernet):
    mixing, x = random_mixing(build_space("s2")), images(seed=1)
    cells = search_cells(supernet)
    before = supernet(x, mixing)
    state = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    order = list(range(14))
    order[PAIR[0]], order[PAIR[1]] = PAIR[1], PAIR[0]
    moved = {name: weights[order] for name, weights in mixing.items()}
    reference = exchanged(supernet, PAIR)
    with edges_swapped(cells, [PAIR] * len(cells), mixing):
        along = supernet(x, mixing)
    with edges_swapped(cells, [PAIR] * len(cells)):
        alone = supernet(x, mixing)
    torch.testing.assert_close(along, reference(x, moved), rtol=0, atol=1e-12)
    torch.testing.assert_close(alone, reference(x, mixing), rtol=0, atol=1e-12)
    assert not torch.allclose(along, before)
    assert not torch.allclose(along, alone)
    assert torch.equal(supernet(x, mixing), before)
    after = supernet.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_equal_edges_can_be_swapped_without_a_trace(supernet):
    """Two edges with the same operations: nothing happens where their weights are equal or stay."""
    mixing, x = random_mixing(build_space("s2")), images(seed=2)
    cells = search_cells(supernet)
    for cell in cells:
        cell.edges[PAIR[1]].load_state_dict(cell.edges[PAIR[0]].state_dict())
    equal = {name: weights.clone() for name, weights in mixing.items()}
    for weights in equal.values():
        weights[PAIR[1]] = weights[PAIR[0]]
    for given, inside in ((equal, equal), (equal, None), (mixing, None)):
        before = supernet(x, given)
        with edges_swapped(cells, [PAIR] * len(cells), inside):
            torch.testing.assert_close(supernet(x, given), before, rtol=0, atol=1e-12)
    with edges_swapped(cells, [PAIR] * len(cells), mixing):  # weights that differ leave a trace when they move
        assert not torch.allclose(supernet(x, mixing), before)


def test_cells_have_pairs_of_their_own(supernet):
    mixing, x = random_mixing(build_space("s2")), images(seed=1)
    cells = search_cells(supernet)
    before = supernet(x, mixing)
    with edges_swapped(cells, [None] * len(cells), mixing):
        assert torch.equal(supernet(x, mixing), before)
    with edges_swapped(cells, [None, None, None, PAIR], mixing):
        last = supernet(x, mixing)
    with edges_swapped(cells, [None, PAIR, None, PAIR], mixing):
        two = supernet(x, mixing)
    assert not torch.allclose(last, before)
    assert not torch.allclose(two, last)


def test_pruned_options_move_with_their_edge(supernet):
    """What is not computed on an edge is not computed on it elsewhere."""
    mixing, x = random_mixing(build_space("s2")), images(seed=1)
    active = {name: choice.mask.clone() for name, choice in supernet.choices.items()}
    for flags in active.values():
        flags[PAIR[0], 1] = False
    zero = {name: weights * active[name] for name, weights in mixing.items()}
    cells = search_cells(supernet)
    seen = []
    edge = cells[0].edges[PAIR[0]]
    handle = edge.operations[1].register_forward_hook(lambda *_: seen.append(1))
    with edges_swapped(cells, [PAIR] * len(cells), zero, active):
        flagged = supernet(x, zero, active)
        assert not seen
    with edges_swapped(cells, [PAIR] * len(cells), zero):
        torch.testing.assert_close(flagged, supernet(x, zero))
        assert seen
    handle.remove()


@pytest.mark.parametrize("name", ["s1", "s4"])
def test_edges_with_other_operations(name):
    """In S1 every edge has its own options, in S4 one draws noise: whatever moves, it computes."""
    space = build_space(name)
    supernet, mixing = tiny_supernet(space).eval(), random_mixing(space)
    cells = search_cells(supernet)
    for inside in (mixing, None):
        with edges_swapped(cells, [PAIR] * len(cells), inside):
            assert supernet(images(), mixing).isfinite().all()
