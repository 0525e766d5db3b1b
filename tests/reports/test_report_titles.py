"""Figures of one run name it: method, space, data, seed."""

import re

import pytest

from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports import save_curvature, save_curves, save_genotype
from nas_lightning.reports.titles import run_title
from nas_lightning.runs import documents

RUN = {"method": "darts", "space": "s3", "data": "digits", "seed": 2}


def texts(path):
    return re.findall(r">([^<>]+)</text>", path.read_text())


@pytest.mark.parametrize(
    ("labels", "more", "title"),
    [
        (RUN, (), "darts, s3, digits, seed 2"),
        (RUN | {"seed": 2.0}, ("x",), "darts, s3, digits, seed 2, x"),
        (RUN | {"space": None, "seed": float("nan")}, (), "darts, digits"),
        ({}, ("x",), "x"),
        ({}, (), ""),
    ],
)
def test_titles(labels, more, title):
    assert run_title(labels, *more) == title


def test_figures_have_the_title_that_they_are_given(tmp_path):
    (tmp_path / "metrics.csv").write_text("phase,epoch,train_loss\nsearch,0,2.0\n")
    (tmp_path / "curvature.csv").write_text("epoch,dominant_eigenvalue\n0,0.1\n1,0.2\n")
    for title, expected in (("a $x$ b", "a $x$ b: "), ("", "")):
        (curves,) = save_curves(tmp_path / "metrics.csv", tmp_path, title)
        (curvature,) = save_curvature(tmp_path / "curvature.csv", tmp_path, title)
        assert f"{expected}search" in texts(curves)
        assert f"{expected}curvature" in texts(curvature)


def test_a_run_writes_its_title(searched, tmp_path):
    title = run_title(documents.read_json(searched / "summary.json"))
    assert re.fullmatch(r"darts, s3, \w+, seed \d+", title)
    for name in ("search", "cell_normal"):
        assert any(text.startswith(f"{title}: ") for text in texts(searched / "plots" / f"{name}.svg"))
    paths = save_genotype(Genotype.load(searched), tmp_path)
    assert [text for text in texts(paths[0]) if text.startswith("s3: ")] == ["s3: normal"]  # without a title the space
