"""Measured costs read back: each option in its place, and files of other spaces or other kinds refused."""

import json
import logging

import pytest
import torch

import nas_lightning as nl
from layered_toy import toy
from nas_lightning.core.cost_files import MeasuredOperation, document_of, read_latencies
from nas_lightning.core.costs import Costs

KEY = "regularizer.expected_cost.table"
DEVICE = {"device": "Some CPU", "threads": 4}


def costs_of(space, size=8, classes=3, hardware=None):
    network = lambda genotype: space.network(genotype, num_classes=classes)  # noqa: E731
    return Costs(space, network, lambda: torch.zeros(1, 3, size, size), hardware)


def written(space, path, leave_out=None):
    """A file with a latency of its own for each option: row + option / 10."""
    (choice,) = space.choices.values()
    macs, params = (costs_of(space).table(name).options["layers"] for name in ("macs", "params"))
    measured = [
        MeasuredOperation("layers", row, name, int(macs[row, place]), int(params[row, place]), row + place / 10)
        for row, names in enumerate(choice.options)
        for place, name in enumerate(names)
        if (row, name) != leave_out
    ]
    path.write_text(
        json.dumps(document_of(measured, {"macs": 5, "params": 6, "latency": 7.5}, {"space": space.name, **DEVICE}))
    )
    return path


def test_each_option_has_its_latency(tmp_path):
    space = toy()
    table = read_latencies(str(written(space, tmp_path / "costs.json")), costs_of(space), KEY)
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
        read_latencies(str(tmp_path / "costs.json"), costs_of(toy()), KEY)


def test_a_file_without_an_option_of_the_space_is_refused(tmp_path):
    path = written(toy(), tmp_path / "costs.json", leave_out=(2, "e2k5"))
    with pytest.raises(nl.ConfigError, match="measured on space=toy and lacks e2k5 in row 2 of 'layers'"):
        read_latencies(str(path), costs_of(toy()), KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"space": "other"},
            r"costs\.json: was measured on space=other, but this is space=toy; measure anew: .*task=costs",
        ),
        ({"size": 16}, r"other networks: \S+ in row 0 of 'layers' has \d+ multiply-accumulates there, but \d+ here"),
        (
            {"params": 1},
            r"other networks: \S+ in row 0 of 'layers' has \d+ parameters there, but \d+ here; measure anew",
        ),
    ],
    ids=["space", "size", "params"],
)
def test_files_of_other_networks_are_refused(change, message, tmp_path):
    path = written(toy(), tmp_path / "costs.json")
    document = json.loads(path.read_text())
    document["operations"][0]["params"] += change.get("params", 0)
    path.write_text(json.dumps(document | {"space": change.get("space", "toy")}))
    with pytest.raises(nl.ConfigError, match=message):
        read_latencies(str(path), costs_of(toy(), size=change.get("size", 8)), KEY)


@pytest.mark.parametrize(
    ("hardware", "named"), [(("Some CPU", 4), ""), (("Some CPU", 1), "1"), (("A GPU", None), "A GPU")]
)
def test_another_device_is_a_warning(hardware, named, tmp_path, caplog):
    path = written(toy(), tmp_path / "costs.json")
    with caplog.at_level(logging.WARNING):
        read_latencies(str(path), costs_of(toy(), hardware=lambda: hardware), KEY)
    messages = [record.getMessage() for record in caplog.records]
    here = f"Some CPU ({named} threads)" if named == "1" else named
    expected = f"{KEY}={path}: was measured on Some CPU (4 threads), but this run is on {here}"
    assert messages == ([expected] if named else [])
