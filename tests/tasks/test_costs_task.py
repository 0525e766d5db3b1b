"""`task=costs`: the file agrees with the counts, and a search takes its latencies."""

import json

import pytest

import nas_lightning as nl
from commands import run as command
from layered_toy import SMALLEST
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.runs.folder import RunFolder

SPACE = ["space=mobilenet_small", *SMALLEST]


@pytest.fixture
def measured(tiny, tmp_path, capsys):
    words = [*tiny, *SPACE, "task=costs", "costs.seconds=0.001", f"hydra.run.dir={tmp_path / 'costs'}"]
    code, out, err = command(words, capsys)
    assert (code, err) == (0, "")
    assert "e3k3" in out
    return tmp_path / "costs" / "costs.json"


def test_the_file_adds_up_to_the_counts_of_a_network(measured, tiny):
    document = json.loads(measured.read_text())
    space = nl.build_space(nl.compose([*tiny, *SPACE]))
    genotype = space.genotype_of(space.sample())
    network = space.network(genotype, num_classes=4, in_channels=1)
    found = {(one["row"], one["option"]): one for one in document["operations"]}
    taken = [found[row, name] for row, name in enumerate(genotype.choices["layers"])]
    assert document["fixed"]["macs"] + sum(one["macs"] for one in taken) == count_macs(network, 1, 8)
    assert document["fixed"]["params"] + sum(one["params"] for one in taken) == count_parameters(network)
    assert len(found) == sum(map(len, space.choices["layers"].options))
    assert all(one["latency"] > 0 for one in found.values())
    assert document["space"] == "mobilenet_small"
    assert document["inputs"] == [1, 1, 8, 8]
    assert document["torch"].startswith("2.")
    assert document["device"]


def test_a_search_takes_its_latencies(measured, tiny, tmp_path):
    words = ["task=search", "search.epochs=2", "search.arch.lr=0.1", "+regularizer=expected_cost"]
    part = "regularizer.expected_cost"
    words += [f"{part}.cost=latency", f"{part}.table={measured}", f"{part}.weight=100"]
    nl.search(nl.compose([*tiny, *SPACE, *words]), run_dir=tmp_path / "run")
    first, second = [float(row["expected_latency"]) for row in RunFolder(tmp_path / "run").read_metrics()]
    assert first > second > 0
    elsewhere = nl.compose([*tiny, "space=s3", *words])
    with pytest.raises(nl.ConfigError, match=r"expected_cost\.table=.*was measured on space=mobilenet_small, but"):
        nl.search(elsewhere, run_dir=tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=nasbench1shot1_1"], "space=nasbench1shot1_1: cannot tell what each operation costs"),
        ([*SPACE, "costs.seconds=0"], "costs.seconds=0"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, message, tiny, tmp_path, capsys):
    code, _, err = command([*tiny, *words, "task=costs", f"hydra.run.dir={tmp_path / 'costs'}"], capsys)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "costs" / "costs.json").exists()
