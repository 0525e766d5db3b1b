"""The whole report: what is written, that it needs nothing else, and that no folder can break it."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.reports import heatmaps, write_report
from nas_lightning.tasks.report import _choices_of_run
from reported import drop_of, report_analysis, report_run

pytestmark = pytest.mark.xdist_group("report page")  # in one worker, which makes what they share once
VOID = {"meta", "img", "link", "br", "hr", "input"}
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Refuses tags that do not close, and notes what a browser would fetch or run."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.scripts, self.anchors, self.ids = [], [], 0, [], []
        self.headings, self.text = [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        assert not any(name.startswith("on") for name in values)
        self.fetched += [values[name] for name in ("src", "href", "srcset", "data") if name in values]
        self.scripts += tag == "script"
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        self.text += data if self.open and self.open[-1] not in ("style", "script") else ""


def report(patterns, folder):
    return write_report(str(patterns), folder, lambda words: as_dict(nl.compose(words)), _choices_of_run)


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory, searched):
    """Two methods with four runs each, one of them with the files of a real search."""
    home = tmp_path_factory.mktemp("reported") / "runs"
    for seed, (low, high) in enumerate([(0.1, 0.4), (0.2, 0.5), (0.15, 0.3), (0.25, 0.35)]):
        report_run(
            home / f"a{seed}", 95.0 + seed, eigenvalues=[low, high], events={1: "stopped"}, seed=seed, val=80 + seed
        )
        report_run(
            home / f"b{seed}", 97.0 - seed, method="drnas", eigenvalues=[low], regret=[5.0, 3.0, seed], seed=seed
        )
    for name in ("config.yaml", "genotype.json", "genotypes.jsonl", "metrics.csv"):
        shutil.copy(searched / name, home / "a3" / name)
    return home, report(home, home.parent / "report")[1]


@pytest.fixture
def runs(written, tmp_path):
    """A copy of the runs."""
    return shutil.copytree(written[0], tmp_path / "runs")


FIRST = ["accuracy", "budgets", "tradeoffs", "learning", "runs", "results"]
EVERY = [*FIRST, "curvature", "correlations", "regret", "mixing", "cells", "cost"]


def test_everything_is_written(written):
    home, paths = written
    folder = home.parent / "report"
    assert paths[0] == folder / "report.html"
    assert {str(path.relative_to(folder)) for path in paths} == names(folder)
    stems = ["eigenvalues_1", "correlation_final_eigenvalue", "correlation_mean_eigenvalue", "correlation_one_shot"]
    stems += ["accuracy_1", "accuracy_parameters_1", "accuracy_macs_1", "accuracy_search_cost_1", "learning_search_1"]
    stems += ["budget_1", "regret_1", "trajectory_1", "costs", "mixing_1_1", "mixing_1_2", "cell_1_1", "cell_1_2"]
    expected = {f"figures/{stem}.{ending}" for stem in stems for ending in ("svg", "png")}
    expected |= {f"tables/{n}.{e}" for n in ("runs", "results", "correlations", "costs") for e in ("md", "csv", "tex")}
    expected |= {"tables/budget_1.csv"}
    assert names(folder) == expected | {"report.html", "report.md", "report.csv"}
    assert (folder / "tables" / "results.md").read_text() == (folder / "report.md").read_text()
    page = Page((folder / "report.html").read_text())
    assert page.ids == EVERY  # nothing published, nothing left out
    assert "97.00" in page.text
    assert "s3 · digits · digits · 16/4/14: test accuracy 96.50 ± 1.29 % with darts (n = 4)" in page.text
    with (folder / "tables" / "correlations.csv").open() as file:
        (row, *_) = csv.DictReader(file)
    assert row["n"] == "8"


def test_the_page_needs_nothing_else(written):
    folder = written[0].parent / "report"
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.scripts == 1
    assert "default-src 'none'" in text
    images = [link for link in page.fetched if link.startswith("data:image/svg+xml;base64,")]
    anchors = [link for link in page.fetched if link.startswith("#")]
    assert len(images) + len(anchors) == len(page.fetched)
    assert len(images) == len(list((folder / "figures").glob("*.svg")))
    assert [link[1:] for link in anchors] == page.ids
    assert not re.search(r"@import|url\(", text)


@pytest.mark.slow
def test_the_same_runs_give_the_same_page(written, tmp_path):
    home, paths = written
    report(home, tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_bytes() == paths[0].read_bytes()


@pytest.mark.slow
def test_no_absolute_path_is_on_the_page(runs, tmp_path):
    (runs / "half").mkdir()
    (runs / "half" / "summary.json").write_text('{"method": "dar')
    (runs / "a0" / "curvature.csv").unlink()
    (runs / "a0" / "curvature.csv").mkdir()  # the message of the system names the whole path
    for seed in range(2):  # configurations that differ in a path
        config = {"search": {"teacher": f"/mnt/models/{seed}.pt"}}
        report_run(runs / f"c{seed}", 90.0, method="other", seed=seed, digest=str(seed), config=config)
    patterns = [str(runs), str(tmp_path / "runs" / "a1")]
    write_report(patterns, tmp_path / "r", lambda words: as_dict(nl.compose(words)), _choices_of_run)
    text = (tmp_path / "r" / "report.html").read_text()
    page = Page(text)
    captions = re.findall(r' alt="(.*?)">', text)
    assert len(captions) == len(list((tmp_path / "r" / "figures").glob("*.svg")))
    svgs = [path.read_text() for path in (tmp_path / "r" / "figures").glob("*.svg")]
    for shown in (page.text, *captions, *svgs):
        assert str(tmp_path) not in shown
        assert "/mnt" not in shown
    assert "search.teacher=…/1.pt" in page.text
    named = dict(re.findall(r"<li><code>(.*?)</code>: (.*?)</li>", text[text.index('id="left-out"') :]))
    assert set(named) == {"half", "a0"}
    assert "a0/curvature.csv" in named["a0"]
    with (tmp_path / "r" / "tables" / "runs.csv").open() as file:
        folders = [row["folder"] for row in csv.DictReader(file)]
    assert folders == [f"{name}{seed}" for name, count in (("a", 4), ("b", 4), ("c", 2)) for seed in range(count)]


@pytest.mark.slow
def test_heat_maps_share_one_scale(written, monkeypatch, tmp_path):
    home, _ = written
    drawn = []
    real = heatmaps.draw_mixing_over_time

    def watched(lines, choice, title, scale):
        drawn.append((title, scale))
        weights = np.array([line["mixing"][choice.name] for line in lines])
        assert scale[0] <= weights.min()
        assert weights.max() <= scale[1]
        return real(lines, choice, title, scale)

    monkeypatch.setattr(heatmaps, "draw_mixing_over_time", watched)
    report(home, tmp_path / "again")
    assert len(drawn) == 2
    assert len({scale for _, scale in drawn}) == 1
    assert [title for title, _ in drawn] == [f"darts, s3, digits, seed 3: {cell}" for cell in ("normal", "reduce")]


def test_figures_without_data_are_left_out(tmp_path):
    report_run(tmp_path / "runs" / "a", 97.0)
    report(tmp_path / "runs", tmp_path / "report")
    assert Page((tmp_path / "report" / "report.html").read_text()).ids == ["runs", "results", "cost"]
    assert {path.name for path in (tmp_path / "report" / "figures").iterdir()} == {"costs.svg", "costs.png"}


def test_words_of_run_folders_are_harmless(tmp_path):
    home = tmp_path / "runs"
    for seed in range(3):
        parts = {"space": f"{SCRIPT} & $x_1$", "data": "\x00\n|", "recipe": '"><img src=x onerror=alert(1)>'}
        run = home / f"<b>{seed}"
        report_run(run, 90.0 + seed, method=f"{SCRIPT}$\\x", eigenvalues=[0.1 * seed, 0.2], seed=seed, **parts)
    (home / "<i>").mkdir()
    (home / "<i>" / "summary.json").write_text(f'{{"method": "{SCRIPT}", "search": 3}}')
    report(home, tmp_path / "report")
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert page.scripts == 1
    assert SCRIPT in page.text
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in page.fetched)
    for svg in (tmp_path / "report" / "figures").glob("*.svg"):
        assert "<script" not in svg.read_text()


def test_broken_folders_are_named_and_break_nothing(runs, tmp_path):
    (runs / "half").mkdir()
    (runs / "half" / "summary.json").write_text('{"method": "dar')
    (runs / "killed").mkdir()
    (runs / "killed" / "config.yaml").write_text("seed: 0\n")
    (runs / "killed" / "run.log").touch()
    begun = {"task": "pipeline", "method": "darts", "search": None, "evaluation": None}
    (runs / "begun").mkdir()
    (runs / "begun" / "summary.json").write_text(json.dumps(begun))
    summary = json.loads((runs / "a2" / "summary.json").read_text())
    (runs / "a2" / "summary.json").write_text(json.dumps({**summary, "readings": {}}))  # stopped in the first
    (runs / "a0" / "curvature.csv").write_bytes(b"epoch,attempt,dominant_eigenvalue\n\xff\xfe,0,1\n")
    (runs / "a3" / "genotypes.jsonl").write_text('{"epoch": 0, "mixing": {"normal": [[1]]}}\n')
    (runs / "a3" / "genotype.json").write_text("[]")
    (runs / "b0" / "trajectory.csv").write_text("epoch,attempt,regret\nx,0,1\n")
    (runs / "b0" / "genotypes.jsonl").write_text('{"epoch": 0, "mixing": {}}\n{"epo')
    report(runs, tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert page.ids[-1] == "left-out"
    end = text[text.index('id="left-out"') :]
    named = dict(re.findall(r"<li><code>(.*?)</code>: (.*?)</li>", end))
    assert {Path(name).name for name in named} == {"half", "killed", "begun", "a0", "a2", "a3", "b0"}
    assert "readings not finished" in next(reason for name, reason in named.items() if name.endswith("a2"))
    assert "8 runs of 2 methods" in page.text
    assert "7 folders could not be read, are not finished or count twice: see the end of the page" in page.text


def test_a_folder_that_cannot_be_written_is_one_line(runs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"hydra.run.dir=.*cannot be written.*choose another folder") as error:
        report(runs, tmp_path / "file" / "report")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_analyses_are_drawn_wherever_they_lie(runs, tmp_path):
    """Beside the runs or elsewhere, of runs that the report has or not."""
    report_analysis(
        runs / "x", "spectrum", [{"run": run, "eigenvalue": value} for run in "ab" for value in (-1.0, 2.0)]
    )
    drops = [drop_of(str(number), 10.0 * number, 0.1 * number, method="sgas") for number in range(8)]
    report_analysis(tmp_path / "elsewhere", "discretization", drops)
    report_analysis(tmp_path / "elsewhere" / "other", "strength", [{"run": "a"}])
    patterns = [str(runs), str(tmp_path / "elsewhere")]
    _, paths = write_report(patterns, tmp_path / "r", lambda words: as_dict(nl.compose(words)), _choices_of_run)
    assert {"spectra_1.svg", "correlation_discretization.png", "discretization.tex"} <= {path.name for path in paths}
    page = Page((tmp_path / "r" / "report.html").read_text())
    assert page.ids == [*FIRST, "curvature", "spectra", *EVERY[len(FIRST) + 1 :]]
    assert "Supernets when they are discretised" in page.text
    assert "8 runs of 2 methods" in page.text


def test_analyses_alone_are_no_runs(tmp_path):
    report_analysis(tmp_path / "a", "spectrum", [{"run": "a", "eigenvalue": 1.0}])
    with pytest.raises(
        ConfigError, match=r"finds only analyses, no run; name the analysed runs .*for example"
    ) as error:
        report(tmp_path / "a", tmp_path / "report")
    assert "\n" not in str(error.value)
