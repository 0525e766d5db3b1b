"""What a finished run prints: of an accuracy from a table also its rank, its regret and random search."""

import logging

import pytest

from nas_lightning.reports.outcome import show_outcome


def summary(**evaluation):
    sizes = {"init_channels": 16, "layers": 5, "epochs": 200, "params": 1_288_506, "macs": 185_000_000, "seconds": 0.4}
    return {
        "task": "pipeline",
        "method": "drnas",
        "space": "nasbench201",
        "data": "cifar10",
        "seed": 1,
        "search": None,
        "selection": None,
        "candidates": None,
        "genotype": None,
        "evaluation": {"test_accuracy": 94.3633, "recipe": "tabular", **sizes, **evaluation},
    }


def rows(text):
    """Second cells of the printed table by the first ones."""
    cells = [[cell.strip() for cell in line.strip("│┃ ").split("│")] for line in text.splitlines() if "│" in line]
    return dict(cells)


def printed(caplog, search=None, **evaluation):
    caplog.clear()
    with caplog.at_level(logging.INFO, "nas_lightning"):
        show_outcome(summary(**evaluation) | {"search": search}, "outputs/x", show=False)
    return rows(caplog.text)


def test_an_accuracy_from_a_table(caplog):
    found = printed(
        caplog,
        table="nasbench201",
        rank=1234,
        rank_of=15_625,
        regret=0.01,
        random_search_accuracy=92.5762,
        random_search_draws=10,
        random_search_chosen_by="cifar10_valid_12",
    )
    assert found["test accuracy"] == "94.36 %"
    assert found["rank in the table nasbench201"] == "1,234 of 15,625"
    assert found["regret"] == "0.01 points below the best"
    assert found["random search, best of 10"] == "92.58 % expected, by cifar10_valid_12"


def test_an_architecture_that_a_partial_table_lacks(caplog):
    found = printed(caplog, table="x.csv", in_table=False, test_accuracy=None, rank=None, rank_of=9, regret=None)
    assert found["test accuracy"] == "not in the table x.csv"
    assert not any(word in " ".join(found) for word in ("rank", "regret"))
    found = printed(caplog, in_table=True, regret=0.01, regret_published=0.348)
    assert found["regret, as published"] == "0.35 points"


def test_an_accuracy_after_training(caplog):
    """And a summary of an earlier version, which has a regret alone."""
    trained = printed(caplog)
    assert not any(word in " ".join(trained) for word in ("rank", "regret", "random"))
    assert trained["recipe tabular"] == "16 channels, 5 layers, 200 epochs"
    assert "regret" in printed(caplog, regret=1.5)


def test_random_genotypes_trained_for_comparison(caplog):
    told = {"number": 3, "mean": 91.257, "std": 0.504, "members": [{}, {}, {}]}
    assert printed(caplog, random_baseline=told)["random genotypes, mean of 3"] == "91.26 ± 0.50 %"
    told = {"number": 1, "mean": 91.257, "std": None, "members": [{}]}
    assert printed(caplog, random_baseline=told)["random genotypes, mean of 1"] == "91.26 %"
    unmeasured = {"number": 1, "mean": None, "std": None, "members": [{}]}
    assert "random" not in " ".join(printed(caplog, random_baseline=unmeasured))


def searched(**section):
    names = ("val_accuracy", "curvature_seconds", "stopped_at", "rolled_back_to")
    return {"epochs": 50, "seconds": 60.0, **dict.fromkeys(names), **section}


@pytest.mark.parametrize(
    ("section", "margin", "entropy"),
    [
        ({"open_edges": 28, "margin": 0.01234, "entropy_percent": 99.01}, "0.0123, mean of 28 edges", "hardly decided"),
        ({"open_edges": 1, "margin": 0.5, "entropy_percent": 99.0}, "0.5000, mean of 1 edge", "99.00 % of its maximum"),
        ({"open_edges": 28, "margin": 0.25, "entropy_percent": None}, "0.2500, mean of 28 edges", "not a distribution"),
        ({"open_edges": 0, "margin": None, "entropy_percent": None}, "all operations are decided", None),
        ({"open_edges": None, "margin": None, "entropy_percent": None}, None, None),
        ({}, None, None),  # of an earlier version
    ],
)
def test_how_decided_the_choices_are(caplog, section, margin, entropy):
    found = printed(caplog, searched(**section))
    assert found.get("margin of the choices") == margin
    if entropy == "hardly decided":
        entropy = "99.01 % of its maximum: hardly decided"
    assert found.get("entropy of the choices") == entropy
