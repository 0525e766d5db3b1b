"""What a finished run prints: of an accuracy from a table also its rank, its regret and random search."""

import logging

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


def printed(caplog, **evaluation):
    caplog.clear()
    with caplog.at_level(logging.INFO, "nas_lightning"):
        show_outcome(summary(**evaluation), "outputs/x", show=False)
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


def test_an_accuracy_after_training(caplog):
    """And a summary of an earlier version, which has a regret alone."""
    trained = printed(caplog)
    assert not any(word in " ".join(trained) for word in ("rank", "regret", "random"))
    assert trained["recipe tabular"] == "16 channels, 5 cells, 200 epochs"
    assert "regret" in printed(caplog, regret=1.5)
