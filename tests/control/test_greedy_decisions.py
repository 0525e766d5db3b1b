"""Greedy decisions in real searches, recomputed from the states that they left."""

import copy
import itertools
import json
import logging

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.data.module import SearchData
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.searches.check import check_search
from nas_lightning.selectors.certainty import edge_scores, operations_of
from nas_lightning.training.workbench import Workbench
from staged_parts import (
    Look,
    checkpoint,
    cut,
    decided_edges,
    edges_of,
    forget,
    overrides_of,
    run,
    run_config,
    same,
    same_outcome,
    table,
)

pytestmark = pytest.mark.xdist_group("greedy")  # in one worker, which makes what they share once
KEY = "control.greedy_decisions"
GREEDY = [
    "method=darts",
    "+control=greedy_decisions",
    f"{KEY}.first_epoch=1",
    f"{KEY}.interval=1",
    f"{KEY}.batch_growth=3",
    f"{KEY}.history=2",
    f"{KEY}.criterion=importance_certainty_stability",
    "search.epochs=7",
    "search.snapshots=1",
]
QUOTA = {2: 2, 3: 2}


@pytest.fixture(scope="module")
def overrides(images_file):
    return [*overrides_of(images_file), *GREEDY]


@pytest.fixture(scope="module")
def whole(overrides, tmp_path_factory):
    """A finished run, and the sizes of the batches that it saw."""
    forget()
    folder = tmp_path_factory.mktemp("greedy") / "whole"
    run(overrides, folder)
    return folder, list(Look.sizes)


def space_of(overrides):
    return nl.build_space(nl.compose(overrides))


def test_one_edge_of_each_cell_type_at_a_time(whole):
    """Four decisions fill both nodes; what a node does not keep is pruned and never chosen."""
    rows = table(whole[0])
    for name in ("normal", "reduce"):
        mine = [row for row in rows if row["choice"] == name]
        operations = [row for row in mine if row["kind"] == "operation"]
        assert [int(row["epoch"]) for row in operations] == [1, 2, 3, 4]
        by_node = {node: [row for row in operations if int(row["node"]) == node] for node in QUOTA}
        assert {node: len(found) for node, found in by_node.items()} == QUOTA
        (pruned,) = [row for row in mine if row["kind"] == "pruned"]
        assert pruned["node"] == "3"
        assert pruned["row"] not in {row["row"] for row in operations}
        assert pruned["epoch"] == by_node[3][-1]["epoch"]  # with the node's second edge
        assert {row["option"] for row in operations} <= {"skip_connect", "sep_conv_3x3"}


def test_which_edge_and_which_operation(whole, overrides):
    """From the architecture parameters of each epoch's end: scores over all rows, memory of two epochs."""
    space = space_of(overrides)
    rows = table(whole[0])
    for name, choice in space.choices.items():
        history, undecided = [], set(range(5))
        for epoch in range(5):
            weights = torch.softmax(checkpoint(whole[0], f"epoch={epoch + 1}")["search"]["arch"][name], dim=-1)
            scores, q = edge_scores(weights, choice, history, "importance_certainty_stability", range(5))
            history = [*history, operations_of(weights, choice)[1]][-2:]
            found = [row for row in rows if row["choice"] == name and int(row["epoch"]) == epoch]
            if epoch == 0:
                assert not found
                continue
            best = max(sorted(undecided), key=lambda row: float(scores[row]))
            assert int(found[0]["row"]) == best
            assert found[0]["option"] == choice.options[best][int(q[best].argmax())]
            undecided -= {int(row["row"]) for row in found}


def test_decided_rows_stay_to_the_bit_and_the_others_learn_on(whole):
    states = [checkpoint(whole[0], f"epoch={epoch}") for epoch in range(1, 8)]
    for before, after in itertools.pairwise(states):
        for index, name in enumerate(("normal", "reduce")):
            decided = before["search"]["decisions"]["decided"][name]
            arch = [state["search"]["arch"][name] for state in (before, after)]
            adam = [state["optimizer_states"][1]["state"][index] for state in (before, after)]
            tensors = [arch, *([moments[key] for moments in adam] for key in ("exp_avg", "exp_avg_sq"))]
            for first, second in tensors:
                assert torch.equal(first[decided], second[decided])
                assert (first[~decided] != second[~decided]).all()
            kept = [state["search"]["decisions"]["kept"][name] for state in (before, after)]
            assert torch.equal(kept[0][decided], kept[1][decided])
    assert all(rows.all() for rows in states[-1]["search"]["decisions"]["decided"].values())
    moments = [state["optimizer_states"][1]["state"][0]["exp_avg"] for state in (states[1], states[2])]
    assert not torch.equal(*moments)


def test_what_is_pruned_or_beaten_is_not_trained(whole):
    """Once the edge is pruned its weights see neither gradients nor, having none, weight decay."""
    early, late = (checkpoint(whole[0], f"epoch={epoch}") for epoch in (6, 7))
    for name, pruned in ((row["choice"], row["row"]) for row in table(whole[0]) if row["kind"] == "pruned"):
        cell = {"normal": 0, "reduce": 1}[name]
        of_edge = f"supernet.cells.{cell}.edges.{pruned}."
        keys = [key for key in early["state_dict"] if key.startswith(of_edge)]
        assert keys
        assert all(torch.equal(early["state_dict"][key], late["state_dict"][key]) for key in keys)
    differing = [key for key, value in early["state_dict"].items() if not torch.equal(value, late["state_dict"][key])]
    assert any(".edges." in key for key in differing)


def test_batches_grow_with_the_decisions(whole):
    """Eight images, three more after each decision; 20 images are all there are."""
    largest = {}
    for epoch, train, arch in whole[1]:
        largest.setdefault(epoch, (train, arch))
    assert largest == {0: (8, 8), 1: (8, 8), 2: (11, 11), 3: (14, 14), 4: (17, 17), 5: (20, 20), 6: (20, 20)}
    images = {epoch: sum(train for e, train, _ in whole[1] if e == epoch) for epoch in range(7)}
    assert set(images.values()) == {20}


def test_the_genotype_is_what_was_decided(whole):
    folder = whole[0]
    assert edges_of(RunFolder(folder).genotype()) == decided_edges(table(folder))
    lines = [json.loads(line) for line in (folder / "genotypes.jsonl").read_text().splitlines()]
    assert edges_of(lines[-1]["genotype"]) == decided_edges(table(folder))
    last = {name: torch.tensor(rows) for name, rows in lines[-1]["mixing"].items()}
    for name, weights in last.items():
        kept = checkpoint(folder)["search"]["decisions"]["kept"][name]
        assert torch.equal(weights, kept.float())  # exactly one, and exactly zero


@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing(whole, overrides, tmp_path):
    forget()
    cut(overrides, tmp_path / "cut", ("search", 3, 1))
    same_outcome(whole[0], tmp_path / "cut")
    a, b = (checkpoint(folder)["callbacks"]["GreedyDecisions"] for folder in (whole[0], tmp_path / "cut"))
    assert same(a, b)
    assert a["num_decided"] == 4
    assert {key: len(seen) for key, seen in a["seen"].items()} == {"normal": 2, "reduce": 2}


# Operations by perturbation ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def perturbed(images_file, tmp_path_factory):
    """One edge after another, the operation by what the supernet loses without it."""
    forget()
    folder = tmp_path_factory.mktemp("greedy") / "perturbed"
    overrides = [*overrides_of(images_file), *GREEDY, f"{KEY}.operation=perturbation", f"{KEY}.batch_growth=0",
                 "search.epochs=4", "search.weights.lr=0.1"]  # fmt: skip
    run(overrides, folder)
    return folder, overrides


def test_the_operation_is_what_is_missed_most(perturbed):
    """The masked accuracies from the weights of each epoch's end, with a loop over the images."""
    folder, overrides = perturbed
    bench = Workbench(as_dict(nl.compose(overrides)), RunFolder(folder))
    module = build_module(bench, stages_of(bench)[0])
    data = SearchData(bench.data, 8, 0, **bench.loaders.model_dump())
    data.setup("fit")
    rows = table(folder)
    seen = set()
    for epoch in (1, 3):
        saved = checkpoint(folder, f"epoch={epoch + 1}")
        module.load_state_dict(saved["state_dict"])
        data.first_pass = epoch  # by which its images are augmented
        kept = {
            name: rows.clone()
            for name, rows in checkpoint(folder, f"epoch={epoch}")["search"]["decisions"]["kept"].items()
        }
        for name, choice in module.space.choices.items():
            mine = [row for row in rows if row["choice"] == name and int(row["epoch"]) == epoch]
            row = int(mine[0]["row"])
            accuracies = {}
            for option in (1, 2):  # skip_connect and sep_conv_3x3; never none
                net = copy.deepcopy(module.supernet).train()
                mixing = {}
                for key, arch in saved["search"]["arch"].items():
                    weights = torch.softmax(arch, dim=-1)
                    settled = kept[key].sum(dim=1) < 2
                    mixing[key] = torch.where(settled[:, None], kept[key].float(), weights)
                mixing[name][row, option] = 0
                right = total = 0
                with torch.no_grad():
                    for images, labels in data.selection_dataloader():
                        right += int((net(images, mixing).argmax(1) == labels).sum())
                        total += len(labels)
                accuracies[choice.options[row][option]] = 100 * right / total
            assert total == 20
            told = dict(part.rsplit(" ", 1) for part in mine[0]["measured"].split(", "))
            assert {op: float(value) for op, value in told.items()} == pytest.approx(accuracies, rel=1e-4)
            seen |= set(accuracies.values())
            assert mine[0]["option"] == min(accuracies, key=accuracies.__getitem__)  # min keeps the first of equals
            # `reduce` is measured with what was just decided of `normal`.
            kept[name] = checkpoint(folder, f"epoch={epoch + 1}")["search"]["decisions"]["kept"][name]
    assert len(seen) > 2


def test_the_edge_is_still_the_certain_one(perturbed, images_file):
    folder, overrides = perturbed
    space = space_of(overrides)
    first = next(row for row in table(folder) if row["choice"] == "normal")
    arch = [checkpoint(folder, f"epoch={epoch}")["search"]["arch"]["normal"] for epoch in (1, 2)]
    q = [operations_of(torch.softmax(a, dim=-1), space.choices["normal"])[1] for a in arch]
    scores, _ = edge_scores(
        torch.softmax(arch[1], dim=-1), space.choices["normal"], q[:1], "importance_certainty_stability", range(5)
    )
    assert int(first["row"]) == int(scores.argmax())


# Other spaces and mistakes ----------------------------------------------------------------------------------------


def test_an_edge_that_offers_nothing_is_never_decided(images_file, tmp_path):
    """Neither first of equals nor most certain: an edge with nothing but `none` has no operation to be decided on."""
    forget()
    lists = [["none"], ["skip_connect", "none"], ["none"], ["skip_connect", "sep_conv_3x3"], ["sep_conv_3x3", "none"]]
    config = as_dict(
        nl.compose([*overrides_of(images_file), "method=darts", "+control=greedy_decisions", f"{KEY}.first_epoch=0",
                    f"{KEY}.interval=1", f"{KEY}.batch_growth=0", "search.epochs=4"])
    )  # fmt: skip
    config["space"]["operations"] = {"normal": lists, "reduce": lists}
    run_config(config, tmp_path / "run")
    rows = [row for row in table(tmp_path / "run") if row["choice"] == "normal"]
    decided = {int(row["row"]): row["option"] for row in rows if row["kind"] == "operation"}
    assert decided.keys() == {1, 3, 4}
    assert [row["row"] for row in rows if row["kind"] == "pruned"] == ["2"]
    assert edges_of(RunFolder(tmp_path / "run").genotype())["normal"] == {
        (1, 2): "skip_connect", (1, 3): decided[3], (2, 3): "sep_conv_3x3",
    }  # fmt: skip


def checked(overrides, tmp_path):
    check_search(Workbench(as_dict(nl.compose(overrides)), RunFolder(tmp_path / "run")))


def test_it_cannot_go_back_behind_decisions(overrides, tmp_path):
    for control in ("adaptive_rollback", "curvature_stopping"):
        with pytest.raises(nl.ConfigError, match=f"final decisions.*~control.{control}"):
            checked([*overrides, f"+control={control}"], tmp_path)


def test_nothing_to_decide(overrides, tmp_path):
    with pytest.raises(nl.ConfigError, match=rf"{KEY}.first_epoch=7: the search has epochs 0 to 6"):
        checked([*overrides, f"{KEY}.first_epoch=7"], tmp_path)
    with pytest.raises(nl.ConfigError, match="no architecture is learned"):
        checked([*overrides, "method=rs_ws", f"{KEY}.first_epoch=1"], tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([], None),
        (["search.epochs=4"], "3 of 4 decisions fit into 4 search epochs"),
        ([f"{KEY}.interval=3"], "2 of 4 decisions fit into 7 search epochs"),
        (["space.num_nodes=4"], "6 of 8 decisions fit"),
        (["space.num_nodes=4", "search.epochs=9"], None),
    ],
)
def test_decisions_that_do_not_fit(overrides, tmp_path, caplog, change, told):
    with caplog.at_level(logging.WARNING, logger="nas_lightning"):
        checked([*overrides, *change], tmp_path)
    assert (told is None) == (not caplog.records)
    assert told is None or told in caplog.messages[0]
