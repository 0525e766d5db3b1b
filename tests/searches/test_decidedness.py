"""Margin and entropy of the mixing weights against values computed by hand and a plain loop over rows."""

import math

import pytest
import torch

import nas_lightning as nl
from cases import SPACES, build_space, random_mixing, seeded
from every_method import QUICK
from nas_lightning.core.decisions import Decisions
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.tables import read
from nas_lightning.searches.decidedness import decidedness, entropies, margins

WEIGHTS = torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.06, 0.04], [0.2, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
ALLOWED = torch.tensor(
    [[True, True, True], [False, True, True], [True, True, False], [False, True, False], [False, False, False]]
)
"""A full row; a strong option that is not allowed; a short row; a decided row; a pruned row."""


def test_by_hand():
    assert margins(WEIGHTS, ALLOWED).tolist() == pytest.approx([0.25, 0.02, 0.6])
    full = (0.5 * math.log(2) + 0.5 * math.log(4)) / math.log(3)
    masked = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) / math.log(2)
    short = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
    assert entropies(WEIGHTS, ALLOWED).tolist() == pytest.approx([full, masked, short])
    found = decidedness({"a": WEIGHTS, "unnamed": WEIGHTS}, {"a": ALLOWED})
    assert found["open_edges"] == 3
    assert found["margin"] == pytest.approx((0.25 + 0.02 + 0.6) / 3)
    assert found["entropy_percent"] == pytest.approx(100 * (full + masked + short) / 3)


def test_the_ends_of_the_scale():
    every = torch.ones(2, 4, dtype=torch.bool)
    assert decidedness({"a": torch.full((2, 4), 0.25)}, {"a": every}) == {
        "open_edges": 2,
        "margin": 0.0,
        "entropy_percent": pytest.approx(100),
    }
    certain = torch.eye(4)[:2]
    assert decidedness({"a": certain}, {"a": every}) == {"open_edges": 2, "margin": 1.0, "entropy_percent": 0.0}


def test_rows_that_are_no_distributions_have_a_margin_alone():
    weights = torch.tensor([[0.9, 0.7], [0.3, 0.4]])
    found = decidedness({"a": weights}, {"a": torch.ones(2, 2, dtype=torch.bool)}, simplex=False)
    assert found == {"open_edges": 2, "margin": pytest.approx(0.15)}


def test_nothing_is_left_to_choose():
    assert decidedness({"a": WEIGHTS[3:]}, {"a": ALLOWED[3:]}) == {"open_edges": 0}


def test_no_weight_on_what_is_allowed_prefers_nothing():
    """Where `none` has taken everything, up to underflow."""
    assert entropies(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[False, True, True]])).tolist() == [1.0]


@pytest.mark.parametrize("name", SPACES)
def test_against_a_loop_in_every_space(name):
    """With decisions taken at random; the mean is over edges, not over choices, which may differ in size."""
    space = build_space(name)
    mixing, decisions, rng = random_mixing(space, seed=3), Decisions(space.choices), seeded(1)
    for choice in decisions.choices.values():
        if choice.num_rows > 2:  # S5 has two edges only
            decisions.decide(choice.name, 0, 1)
            decisions.prune(choice.name, 1)
        keep = torch.rand(choice.num_rows, choice.num_options, generator=rng) > 0.2
        keep[:, -1] = keep[:, 1] = True
        decisions.shrink(choice.name, keep & choice.mask | ~(keep & choice.mask).any(dim=1, keepdim=True))
    gaps, shares = [], []
    for choice in decisions.choices.values():
        for row, options in enumerate(choice.options):
            column = [
                float(mixing[choice.name][row, o])
                for o, option in enumerate(options)
                if decisions.kept[choice.name][row, o] and (option != "none" or choice.none_selectable)
            ]
            if len(column) < 2:
                continue
            *_, second, first = sorted(column)
            gaps.append(first - second)
            q = [weight / math.fsum(column) for weight in column]
            shares.append(-math.fsum(p * math.log(p) for p in q if p) / math.log(len(q)))
    found = decidedness(mixing, {name: decisions.selectable(name) for name in decisions.choices})
    assert 0 < found["open_edges"] == len(gaps)
    assert found["margin"] == pytest.approx(math.fsum(gaps) / len(gaps))
    assert found["entropy_percent"] == pytest.approx(100 * math.fsum(shares) / len(shares))


def test_of_a_search(searched):
    """The summary holds the values of its last epoch, which its mixing weights in genotypes.jsonl confirm."""
    folder = RunFolder(searched)
    found, last, choices = folder.summary()["search"], folder.read_genotypes()[-1], build_space("s3").choices
    gaps, shares = [], []
    for name, rows in last["mixing"].items():
        for row, options in zip(rows, choices[name].options, strict=False):  # this run's cells have fewer nodes
            real = [weight for weight, option in zip(row, options, strict=True) if option != "none"]
            *_, second, first = sorted(real)
            gaps.append(first - second)
            q = [weight / sum(real) for weight in real]
            shares.append(-sum(p * math.log(p) for p in q) / math.log(len(q)))
    assert found["open_edges"] == len(gaps) == 10  # two cells with two nodes: 2 + 3 edges each
    assert found["margin"] == pytest.approx(sum(gaps) / 10, abs=1e-6)
    assert found["margin"] > 1e-3
    assert found["entropy_percent"] == pytest.approx(100 * sum(shares) / 10, abs=1e-3)
    assert found["entropy_percent"] < 100


def test_a_search_that_learns_no_weights_says_nothing(tiny, tmp_path):
    found = nl.search(nl.compose([*tiny, "method=rs_ws", *QUICK["rs_ws"]]), run_dir=tmp_path / "rs_ws").summary[
        "search"
    ]
    assert (found["margin"], found["entropy_percent"], found["open_edges"]) == (None, None, None)


def test_what_a_search_has_decided_counts_no_more(tiny, tmp_path):
    """SGAS settles an edge of each of two cells after every epoch; the third edge into a node is pruned with it."""
    words = ["method=sgas", "space.num_nodes=2", "control.greedy_decisions.first_epoch=0", "search.epochs=4"]
    run = tmp_path / "sgas"
    found = nl.search(nl.compose([*tiny, *words, "control.greedy_decisions.interval=1"]), run_dir=run)
    rows = RunFolder(run).read_metrics()
    decided = [int(row["epoch"]) for row in read(run / layout.DECISIONS)]
    assert [int(row["open_edges"]) for row in rows] == [10 - sum(e <= epoch for e in decided) for epoch in range(4)]
    assert [row["margin"] == "" for row in rows] == [False, False, False, True]
    search = found.summary["search"]
    assert (search["open_edges"], search["margin"], search["entropy_percent"]) == (0, None, None)


def test_rows_off_the_simplex_have_no_entropy_in_the_summary(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(nl.relaxations.Softmax, "simplex", False)
    found = nl.search(nl.compose([*tiny, "space.num_nodes=2"]), run_dir=tmp_path / "run").summary["search"]
    assert (found["open_edges"], found["entropy_percent"]) == (10, None)
    assert 0 < found["margin"] < 1
