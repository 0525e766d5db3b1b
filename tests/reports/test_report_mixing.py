"""The heat map of mixing weights shows every weight once, at its edge and operation."""

import pytest
import torch

from cases import build_space
from nas_lightning.core.choices import Choice
from nas_lightning.reports import draw_mixing


def test_shared_operations():
    choice = build_space("s3").choices["normal"]
    weights = torch.softmax(torch.randn(choice.num_rows, choice.num_options), 1)
    axes = draw_mixing(weights, choice).axes[0]
    shown = torch.tensor(axes.images[0].get_array().filled(-1)).float()
    assert torch.equal(shown, weights)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(choice.options[0])
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["0 → 2", "1 → 2", "0 → 3"]


def test_ragged_rows_name_their_operations_and_leave_the_rest_blank():
    choice = Choice("cell", "op", (("a", "b"), ("c",)), sources=(0, 1), nodes=(2, 2))
    axes = draw_mixing(torch.tensor([[0.25, 0.75], [1.0, 0.0]]), choice).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["a\n0.25", "b\n0.75", "c\n1.00"]
    assert axes.images[0].get_array().mask.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize(("space", "count"), [("s3", 14), ("darts", 14)])
def test_places_of_an_operation(space, count):
    choice = build_space(space).choices["normal"]
    places = choice.where("skip_connect")
    assert places.shape == choice.mask.shape
    assert int(places.sum()) == count
    for row, column in places.nonzero().tolist():
        assert choice.options[row][column] == "skip_connect"
