"""Choices: the seven spaces as data, ragged rows, helper tables."""

import pickle
from dataclasses import replace

import pytest
import torch

from cases import SPACES, build_space
from nas_lightning.core.choices import edge_key, offset_key, operation_key
from nas_lightning.spaces import Choice

DIMENSIONS = {"darts": 224, "darts_nonone": 196, "s1": 56, "s2": 56, "s3": 84, "s4": 56, "s5": 12}
RAGGED = Choice("cell", "op", (("a", "b", "c"), ("a",), ("a", "b")), (0, 1, 0), (2, 2, 3), keep=1)


@pytest.mark.parametrize("name", SPACES)
def test_number_of_architecture_parameters(name):
    choices = build_space(name).choices
    assert sum(choice.num_rows * choice.num_options for choice in choices.values()) == DIMENSIONS[name]
    assert list(choices) == ["normal", "reduce"]
    for key, choice in choices.items():
        assert (choice.name, choice.kind, choice.keep) == (key, "op", 2)
        assert choice.mask.all()
        assert choice.mask.shape == (choice.num_rows, choice.num_options)


@pytest.mark.parametrize("name", SPACES)
def test_edges_stand_node_by_node_and_source_by_source(name):
    for choice in build_space(name).choices.values():
        if name == "s5":
            assert (choice.sources, choice.nodes) == ((0, 1), (2, 2))
            continue
        assert choice.nodes == (2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5)
        assert choice.sources == (0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4)
        offsets = {2: 0, 3: 2, 4: 5, 5: 9}
        for node, rows in choice.rows_of_node.items():
            assert rows == [offsets[node] + source for source in range(node)]


def test_ragged_rows():
    assert (RAGGED.num_rows, RAGGED.num_options) == (3, 3)
    assert RAGGED.mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert RAGGED.rows_of_node == {2: [0, 1], 3: [2]}
    torch.testing.assert_close(RAGGED.uniform(), torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [1 / 2, 1 / 2, 0]]))


def test_one_hot():
    assert RAGGED.one_hot([2, 0, 1]).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert RAGGED.one_hot([2, 0, 1]).dtype == torch.float32


def test_restricted():
    kept = torch.tensor([[False, True, True], [True, True, True], [True, False, True]])
    mask = [[False, True, True], [True, False, False], [True, False, False]]
    assert RAGGED.mask.sum() == 6  # cached before
    narrow = RAGGED.restricted(kept)
    assert narrow.mask.tolist() == mask
    assert RAGGED.mask.sum() == 6
    assert narrow.uniform().tolist() == [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert torch.equal(narrow.selectable, RAGGED.selectable)
    assert narrow.restricted(torch.tensor([[True, True, False]] * 3)).mask[0].tolist() == [False, True, False]


def test_restricted_choices_are_values():
    kept = torch.tensor([[False, True, True]] * 3)
    narrow, again = RAGGED.restricted(kept), RAGGED.restricted(kept)
    assert narrow == again
    assert hash(narrow) == hash(again)
    assert narrow != RAGGED
    assert RAGGED.restricted(torch.ones(3, 3, dtype=torch.bool)) == RAGGED
    assert replace(narrow).mask.tolist() == narrow.mask.tolist()  # a copy keeps the restriction
    assert pickle.loads(pickle.dumps(narrow)) == narrow


def test_keys_of_what_belongs_to_a_choice():
    assert (edge_key("normal"), offset_key("normal")) == ("normal_edge", "normal.offset")
    assert operation_key(edge_key("normal")) == operation_key("normal") == "normal"
