"""The figure of a search over a pool."""

import xml.etree.ElementTree as ET

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.pool import best_so_far, save_pool, sizes_of_levels

EVENTS = [
    {"index": 0, "level": 0, "value": 50.0, "epochs_spent": 1},
    {"index": 1, "level": 0, "value": 60.0, "epochs_spent": 2},
    {"index": 1, "level": 1, "value": 80.0, "epochs_spent": 5},
]


def words(path):
    return " ".join(ET.parse(path).getroot().itertext())


def test_the_figure_names_levels_and_cost(tmp_path):
    path = save_pool(EVENTS, (1, 4), ACCURACY, "evolution, s3", tmp_path / "plots")
    assert path.name == "pool.svg"
    told = words(path)
    for word in ("best after 1 epochs", "best after 4 epochs", "standing after 4 epochs", "epochs spent", "on val"):
        assert word in told


def test_without_training_the_cost_is_the_number_of_judgements(tmp_path):
    events = [{**event, "level": 0, "epochs_spent": 0} for event in EVENTS]
    told = words(save_pool(events, (0,), ACCURACY, "random", tmp_path, on_test=True))
    assert "candidates judged" in told
    assert "on val or test" in told
    assert save_pool([], (0,), ACCURACY, "random", tmp_path) is None


def test_what_is_drawn():
    assert sizes_of_levels(EVENTS, 2) == [[1, 0], [2, 0], [1, 1]]
    assert best_so_far([3.0, 5.0, 4.0], ACCURACY) == [3, 5, 5]
    assert best_so_far([3.0, 2.0, 4.0], Goal("error", "", "min")) == [3, 2, 2]
