"""Tasks that read the run of a search on text: they work, or say in one line why they cannot."""

import csv
import json
import math

import numpy as np
import pytest

import nas_lightning as nl
from whole_runs import run

pytestmark = pytest.mark.slow
TEXT = (
    *("space=recurrent", "data=grammar", "data.train_tokens=600", "data.valid_tokens=400", "data.test_tokens=100"),
    *("data.val_columns=5", "data.test_columns=2", "trainer=cpu", "search.epochs=1", "search.batch_size=16"),
    *("search.hidden=5", "evaluation.epochs=1", "evaluation.batch_size=16", "evaluation.hidden=5"),
)


@pytest.fixture(scope="module")
def searched_text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "run"
    run([*TEXT, "~callbacks.curvature"], folder)
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_analyses_of_a_search_on_text(searched_text, tmp_path):
    words = ["task=analyse", f"run='{searched_text}'", "trainer=cpu"]
    run([*words, "analysis=spectrum"], tmp_path / "spectrum")
    values = [float(row["eigenvalue"]) for row in table(tmp_path / "spectrum" / "analysis.csv")]
    assert len(values) == 180
    assert np.isfinite(values).all()
    # The 36 directions that add a number to all options of an edge change no mixing weight: the weight decay is left.
    assert sum(math.isclose(value, 1e-3, rel_tol=1e-3) for value in values) >= 36
    run([*words, "analysis=discretization"], tmp_path / "discretization")
    (summary,) = json.loads((tmp_path / "discretization/summary.json").read_text())["analysis"]["runs"]
    assert summary


def test_the_landscape_of_a_search_on_text(searched_text, tmp_path):
    words = ["landscape.steps=3", "landscape.images=null", f"run='{searched_text}'", "trainer=cpu"]
    run(["task=landscape", *words], tmp_path / "landscape")
    rows = table(tmp_path / "landscape" / "landscape.csv")
    assert len(rows) == 9
    for row in rows:  # both are of all tokens of the validation text
        assert float(row["metric"]) == pytest.approx(math.exp(float(row["loss"])), rel=1e-5)
        assert 1 < float(row["metric"]) < 400


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["task=export"], "wrote no network.json, which only trainings on images do"),
        (["task=analyse", "analysis=shuffling"], "no cell of its supernet has two edges that can be swapped"),
        (["task=select", "selector=threshold"], "each of its rows takes an option"),
    ],
)
def test_what_text_has_not_is_refused_in_one_line(searched_text, tmp_path, words, problem):
    with pytest.raises(nl.ConfigError, match=problem) as caught:
        run([*words, f"run='{searched_text}'", "trainer=cpu"], tmp_path / "refused")
    assert "\n" not in str(caught.value)
