"""DARTS-PT's decisions beside its code's: six selections over operations and edges, by accuracy and by loss.

What is measured comes by formula of the mixing weights, the order of the edges from the released runs.
"""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import Perturbation
from released_code import formula_arch, released

RUNS = released("darts_pt")["pt"]
CRITERIA = {"acc": "accuracy", "loss": "loss"}


def accuracy(weights, *_, **__):
    total = 0.0
    for k, name in enumerate(("normal", "reduce")):
        w = weights[name].double()
        j = torch.arange(w.numel(), dtype=torch.float64).view(w.shape)
        wave = torch.sin(3 * (w * torch.cos(j * 1.7 + k)).sum())
        total += float((w * torch.sin(j * (0.9 + 0.4 * k) + 0.3)).sum() + 0.4 * wave)
    return 50 + 5 * total


def loss(weights, *_, **__):
    return -accuracy(weights) / 10


@pytest.mark.parametrize("run", RUNS, ids=[f"{run['crit']} {run['seed']}" for run in RUNS])
def test_every_decision_is_that_of_the_released_code(run, monkeypatch):
    space = nl.build_space(nl.compose(["space=darts_nonone"]))
    relaxation = Softmax()
    relaxation.init(space.choices)
    slopes = {"normal": 0.71, "reduce": 1.13}
    arch = {name: formula_arch(14, 7, slope + run["seed"], 1.0) for name, slope in slopes.items()}
    decisions = Decisions(space.choices)
    one_shot = OneShot(space, relaxation, arch, 0, accuracy, loss, decisions)
    script = iter(run["log"])

    def drawn(high, size=(), generator=None):
        """Place of the released code's edge or node among those that are open."""
        cell, kind, which, _ = next(script)
        operations = any(map(decisions.undecided, decisions.choices))
        assert operations == (kind == "op")
        choice = decisions.choices[cell]
        crowded = [node for node in choice.rows_of_node if len(decisions.present(cell, node)) > choice.keep]
        places = decisions.undecided(cell) if operations else crowded
        assert len(places) == high
        return torch.tensor(places.index(which))

    monkeypatch.setattr(torch, "randint", drawn)
    Perturbation(criterion=CRITERIA[run["crit"]]).select(one_shot)
    assert next(script, None) is None
    for cell, kind, which, wanted in run["log"]:
        if kind == "op":
            (found,) = [
                row["option"]
                for row in decisions.history
                if row["kind"] == "operation" and row["choice"] == cell and row["row"] == which
            ]
            assert space.choices[cell].options[which].index(found) == wanted
        else:
            assert decisions.present(cell, which) == wanted
