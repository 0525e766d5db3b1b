"""Two columns: nothing that is copied is ever broken, and no description is lost."""

import pytest

from nas_lightning.core.columns import NARROW, columns, wrapped

ROWS = [
    ("a", "short"),
    ("search.weights.weight_decay=0.0003", "the L2 coefficient of the weights, decoupled from nothing"),
    ("x" * 60, "of a term that is longer than any column"),
    ("silent", ""),
]


@pytest.mark.parametrize("width", [20, 40, NARROW - 1, NARROW, 80, 200, None])
def test_terms_and_words_are_whole_and_in_order(width):
    lines = columns(ROWS, width)
    words = " ".join(lines).split()
    assert words == [word for term, text in ROWS for word in [term, *text.split()]]
    if width is not None:  # only what cannot be broken is longer
        assert all(len(line) <= width or len(line.split()) == 1 for line in lines)


def test_wide_terminals_get_one_column_for_all_descriptions():
    lines = columns([("a", "first"), ("seed=0", "second")], 80)
    assert lines == ["  a       first", "  seed=0  second"]


def test_narrow_terminals_get_descriptions_below():
    assert columns([("seed=0", "of all random draws")], 20) == ["  seed=0", "      of all random", "      draws"]


def test_a_pipe_gets_a_line_for_each_row():
    assert [len(columns([row], None)) for row in ROWS] == [1, 1, 1, 1]
    assert wrapped("word " * 200, None) == ["  " + "word " * 200]
