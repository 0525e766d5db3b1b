"""Measured costs read back: each option in its place, and files of other spaces or other kinds refused."""

import json

import pytest

import nas_lightning as nl
from layered_toy import toy
from nas_lightning.core.cost_files import MeasuredOperation, document_of, read_latencies

KEY = "regularizer.expected_cost.table"


def written(space, path, leave_out=None):
    """A file with a latency of its own for each option: row + option / 10."""
    (choice,) = space.choices.values()
    measured = [
        MeasuredOperation("layers", row, name, 1000, 10, row + place / 10)
        for row, names in enumerate(choice.options)
        for place, name in enumerate(names)
        if (row, name) != leave_out
    ]
    path.write_text(json.dumps(document_of(measured, {"macs": 5, "params": 6, "latency": 7.5}, {"space": space.name})))
    return path


def test_each_option_has_its_latency(tmp_path):
    space = toy()
    table = read_latencies(str(written(space, tmp_path / "costs.json")), space, KEY)
    for row, names in enumerate(space.choices["layers"].options):
        expected = [row + place / 10 for place in range(len(names))]
        assert table.options["layers"][row, : len(names)].tolist() == pytest.approx(expected)
    assert (table.fixed, table.name) == (7.5, "latency")
    path = space.path_of(space.genotype_of(space.sample()))
    assert table.of_path(path) == pytest.approx(
        7.5 + sum(float(r + w.argmax() / 10) for r, w in enumerate(path["layers"]))
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"regularizer\.expected_cost\.table=.*: cannot be read \(No such file"),
        ("[]", r"is no table of task=costs; write one with task=costs"),
        ("{", r"is no table of task=costs"),
        ('{"space": "x", "operations": [], "fixed": {}}', r"is no table of task=costs"),
    ],
)
def test_files_of_another_kind_are_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "costs.json").write_text(content)
    with pytest.raises(nl.ConfigError, match=message):
        read_latencies(str(tmp_path / "costs.json"), toy(), KEY)


def test_a_file_without_an_option_of_the_space_is_refused(tmp_path):
    path = written(toy(), tmp_path / "costs.json", leave_out=(2, "e2k5"))
    with pytest.raises(nl.ConfigError, match="measured on space=toy and lacks e2k5 in row 2 of 'layers'"):
        read_latencies(str(path), toy(), KEY)
