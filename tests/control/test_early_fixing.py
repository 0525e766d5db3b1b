"""Early fixing: leading rows first, edges of a node, rows that never change again."""

import csv

import pytest
import torch

import nas_lightning as nl
from cases import build_space
from nas_lightning.control import EarlyFixing
from nas_lightning.core.decisions import Decisions


class Module:
    """What the control reads of a search."""

    learns_arch, search_epoch = True, 4

    def __init__(self, space, tables):
        self.decisions, self.tables, self.settled = Decisions(space.choices), tables, 0

    def mean(self):
        return self.tables

    def settle(self):
        self.settled += 1


def uniform(space):
    return {name: choice.uniform() for name, choice in space.choices.items()}


def test_rows_that_lead_by_the_margin_take_their_operation():
    space = build_space("s3")  # three options: none, skip_connect, sep_conv_3x3
    tables = uniform(space)
    assert space.choices["normal"].options[0] == ("none", "skip_connect", "sep_conv_3x3")
    tables["normal"][0] = torch.tensor([0.1, 0.6, 0.3])  # 0.3: fixed
    tables["normal"][1] = torch.tensor([0.1, 0.59, 0.31])
    tables["reduce"][0] = torch.tensor([0.8, 0.1, 0.1])  # none, which no genotype holds
    module = Module(space, tables)
    EarlyFixing(margin=0.299999).on_train_epoch_end(None, module)
    assert [(row["choice"], row["row"], row["option"]) for row in module.decisions.history] == [
        ("normal", 0, "skip_connect")
    ]
    assert module.settled == 1
    EarlyFixing(margin=0.299999).on_train_epoch_end(None, module)
    assert len(module.decisions.history) == 1


def test_a_node_keeps_the_edges_that_lead_the_most():
    space = build_space("s3")
    tables, rows = uniform(space), space.choices["normal"].rows_of_node[4]
    for row, lead in zip(rows, (0.5, 0.9, 0.7, 0.6), strict=True):
        tables["normal"][row] = torch.tensor([0.0, (1 - lead) / 2, (1 + lead) / 2])
    module = Module(space, tables)
    EarlyFixing().on_train_epoch_end(None, module)
    assert module.decisions.present("normal", 4) == [rows[1], rows[2]]
    assert [row["kind"] for row in module.decisions.history] == ["operation", "operation", "pruned", "pruned"]


@pytest.mark.parametrize("space", ["nasbench201", pytest.param("s3", marks=pytest.mark.slow)])
def test_fixed_rows_never_change(space, tiny, tmp_path):
    words = [*tiny, "method=dsnas", f"space={space}", "search.layers=3", "search.epochs=6", "search.snapshots=1"]
    nl.search(nl.compose([*words, "search.arch.lr=0.3"]), run_dir=tmp_path / "run")
    found = list(csv.DictReader((tmp_path / "run/decisions.csv").read_text().splitlines()))
    states = [
        torch.load(tmp_path / f"run/checkpoints/epoch={e}.ckpt", weights_only=True)["search"] for e in range(1, 6)
    ]
    states.append(torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["search"])
    assert found
    for row in found:
        after = [state["arch"][row["choice"]][int(row["row"])] for state in states[int(row["epoch"]) :]]
        assert all(torch.equal(after[0], value) for value in after)
