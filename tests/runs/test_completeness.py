"""Which part of its task a run has not finished, by hand for each state of a summary."""

import pytest

from nas_lightning.runs.completeness import missing

DONE = {"search": {}, "evaluation": {"test_accuracy": 90.0}}


@pytest.mark.parametrize(
    ("summary", "part"),
    [
        ({}, "everything"),
        ({"task": None, **DONE}, "everything"),
        ({"task": "pipeline", "search": {}, "evaluation": None}, "evaluation"),
        ({"task": "search", "search": None}, "search"),
        ({"task": "search", "search": {}}, None),
        ({"task": "pipeline", **DONE}, None),
        ({"task": "pipeline", **DONE, "readings": None, "methods": None}, None),
        ({"task": "pipeline", **DONE, "readings": {}, "methods": {}}, "readings"),
        ({"task": "pipeline", **DONE, "readings": {"a": {}}, "methods": {}}, "further methods"),
        ({"task": "pipeline", **DONE, "readings": {"a": {}}, "methods": {"b": {}}}, None),
        ({"task": "evaluate", "evaluation": {"random_baseline": {"number": 2, "members": [1]}}}, "random genotypes"),
        ({"task": "evaluate", "evaluation": {"random_baseline": {"number": 2, "members": [1, 2]}}}, None),
        ({"task": "select", "search": {}, "evaluation": {}}, "evaluation"),
        ({"task": "select", "search": {}, "evaluation": None}, None),
        ({"task": "select", "search": None, "evaluation": {}}, "search"),
        ({"task": "landscape"}, "landscape"),
        ({"task": "report"}, None),
    ],
)
def test_what_is_missing(summary, part):
    assert missing(summary) == part
