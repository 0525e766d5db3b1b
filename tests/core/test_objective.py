"""What is reported: keys, better and worse, numbers for people."""

import math
from itertools import pairwise

import pytest

from nas_lightning.core.objective import ACCURACY, Goal

ERROR = Goal("mean_absolute_error", "px", "min")


def test_an_accuracy_has_keys_of_its_own_and_no_other_metric_takes_them():
    assert ACCURACY.entries("val", 93.5) == {"val_accuracy": 93.5}
    assert ERROR.entries("val", 0.5) == {"val_accuracy": None, "val_metric": 0.5}
    # A share of wrong pixels is in % as well, and smaller is better.
    assert Goal("bad_3", "%", "min").key("test") == "test_metric"
    assert Goal("balanced_accuracy", "%", "max").key("test") == "test_accuracy"


@pytest.mark.parametrize(("goal", "order"), [(ACCURACY, [1.0, 2.0, 3.0]), (ERROR, [3.0, 2.0, 1.0])])
def test_better_and_worse(goal, order):
    assert sorted(order, key=lambda value: goal.sign * value) == order
    for worse, better in pairwise(order):
        assert goal.better(worse, better) == goal.better(better, worse) == better
    assert all(goal.better(goal.worst, value) == value for value in order)


def test_a_fraction_is_reported_in_percent_and_nothing_else_is():
    assert ACCURACY.in_unit(0.25) == 25
    assert ERROR.in_unit(0.25) == 0.25


@pytest.mark.parametrize(
    ("goal", "value", "text"),
    [
        (ACCURACY, 93.215, "93.22 %"),
        (ERROR, 12.3456, "12.35 px"),
        (ERROR, 0.001, "0.001000 px"),
        (Goal("perplexity", "", "min"), 120.0, "120.0"),
        (Goal("perplexity", "", "min"), 1234.5, "1234"),
    ],
)
def test_values_for_people(goal, value, text):
    assert goal.shown(value) == text


def test_labels_name_the_unit_where_there_is_one():
    bare = Goal("perplexity", "", "min")
    assert [goal.axis("on val") for goal in (ACCURACY, ERROR, bare)] == ["on val (%)", "on val (px)", "on val"]
    assert [goal.heading("on val") for goal in (ACCURACY, ERROR, bare)] == ["on val, %", "on val, px", "on val"]
    assert (ACCURACY.name, ERROR.name) == ("accuracy", "mean absolute error")
    assert (ACCURACY.decline, ERROR.decline) == ("drop", "rise")


def test_tables_keep_small_errors():
    assert (ACCURACY.rounded(93.123456), ACCURACY.rounded(0.00123456)) == (93.1235, 0.0012)
    assert (ERROR.rounded(0.0001234567), ERROR.rounded(-0.0001234567)) == (0.000123457, -0.000123457)
    assert (ERROR.rounded(12345.6789012), ERROR.rounded(0.123456789), ERROR.rounded(0.0)) == (12345.678901, 0.123457, 0)
    assert math.isnan(ERROR.rounded(math.nan))
    assert ERROR.rounded(math.inf) == math.inf


def test_the_goal_of_a_run_is_that_of_its_summary():
    assert Goal.of({"objective": ERROR.to_dict()}) == ERROR
    assert Goal.of({"objective": None}) == Goal.of({}) == ACCURACY
    assert ERROR.value(ERROR.entries("test", 2), "test") == 2.0
    assert ERROR.value({"test_accuracy": 2.0}, "test") is None
