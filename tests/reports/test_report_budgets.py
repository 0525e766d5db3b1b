"""What is found at equal cost: real runs of each kind, a table that is enumerated, and folders that lack a count."""

import csv
import hashlib
import json
import logging
import pickle
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torchvision import datasets

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.objective import ACCURACY
from nas_lightning.reports import collect, summarise
from nas_lightning.reports.answers import judged
from nas_lightning.reports.budget_figures import column_of, draw_budgets, shown_names
from nas_lightning.reports.budgets import POOL, RANDOM, RANDOM_NAME, SEARCH, answer, budgets, means, random_at
from nas_lightning.reports.groups import label_runs
from nas_lightning.reports.records import Problems
from nas_lightning.reports.style import Style
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from reported import report_run, write_table

IN_TABLE = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10"]
EVOLVED = ["method=evolution", "candidates.pool=12", "candidates.initial=4", "candidates.batch=4"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


@pytest.fixture(scope="module")
def real(images_file, tmp_path_factory):
    """Two searches over a pool and one search over a supernet, all judged by the table of NAS-Bench-201."""
    folder = tmp_path_factory.mktemp("budgets")
    words = ["data=arrays", f"data.path={images_file}", "trainer=cpu", "~callbacks.curvature", *IN_TABLE]
    for seed in range(2):
        run([*words, *EVOLVED, f"seed={seed}"], folder / f"evolution{seed}")
    sizes = ["search.init_channels=2", "search.layers=1", "search.epochs=2", "search.batch_size=4"]
    run([*words, *sizes, "method=darts"], folder / "darts")
    return folder


def labelled(folder):
    frame = collect(str(folder))
    return label_runs(frame, summarise(frame))


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_costs_of_real_runs(real):
    problems = Problems()
    rows = budgets(labelled(real), ACCURACY, problems)
    assert problems.found == []
    end = rows[rows["run"] == str(real / "darts")].iloc[0]
    # 40 training images, 20 in each half: 2 epochs of 5 steps, each with 4 of the train half and 4 of the arch half.
    assert (end["kind"], end["images"]) == (SEARCH, 2 * 5 * (4 + 4))
    assert end["seconds"] == pytest.approx(summary(real / "darts")["search"]["seconds"], abs=0.1)
    assert end["regret"] == summary(real / "darts")["evaluation"]["regret"]
    for seed in range(2):
        same = rows[rows["run"] == str(real / f"evolution{seed}")]
        assert set(same["kind"]) == {POOL}
        # A candidate costs 12 epochs of the 25,000 images of the train half.
        assert same["images"].tolist() == [4 * 300_000, 8 * 300_000, 12 * 300_000]
        assert same["seconds"].isna().all()
        told = summary(real / f"evolution{seed}")
        assert same["regret"].iloc[-1] == told["evaluation"]["regret"]
        assert same["test"].iloc[-1] == pytest.approx(told["evaluation"]["test_accuracy"])
        assert same["test"].tolist() == pytest.approx((94.3733 - same["regret"]).tolist(), abs=1e-4)
        assert told["search"]["images"] == 12 * 300_000
    drawn = rows[rows["kind"] == RANDOM].set_index("step")
    told = summary(real / "darts")["evaluation"]
    assert drawn.loc[10, "test"] == told["random_search_accuracy"]
    assert drawn.loc[10, "images"] == 10 * 300_000
    assert drawn.loc[1, "test"] == pytest.approx(told["random_accuracy"], abs=1e-3)
    assert (drawn.loc[15_625, "test"], drawn.loc[15_625, "regret"]) == (94.3733, 0.0)


def test_the_report_has_figure_table_and_answer(real, tmp_path):
    run(["task=report", f"runs={real}"], tmp_path / "report")
    words = " ".join(ET.parse(tmp_path / "report/figures/budget_1.svg").getroot().itertext())
    for word in ("Regret against what it cost", "evolution (n = 2)", "darts (n = 1)", RANDOM_NAME, "images read"):
        assert word in words
    with (tmp_path / "report/tables/budget_1.csv").open() as file:
        rows = list(csv.DictReader(file))
    evolved = [row for row in rows if row["name"] == "evolution"]
    assert [(row["runs"], row["images"], row["seconds"]) for row in evolved] == [
        ("2", f"{size * 300_000:.1f}", "") for size in (4, 8, 12)
    ]
    ends = [summary(real / f"evolution{seed}")["evaluation"]["regret"] for seed in range(2)]
    assert float(evolved[-1]["regret"]) == pytest.approx(np.mean(ends))
    assert float(evolved[-1]["regret_std"]) == pytest.approx(np.std(ends, ddof=1))
    with (tmp_path / "report/tables/budgets.csv").open() as file:
        (found,) = [row for row in csv.DictReader(file) if row["method"] == "evolution"]
    curve = {int(row["step"]): float(row["test"]) for row in rows if row["kind"] == RANDOM}
    expected = curve[10] + (curve[13] - curve[10]) * 2 / 3  # what 12 draws are expected to find, between two computed
    assert float(found["random at that cost %"]) == pytest.approx(expected, abs=0.005)
    tests = [summary(real / f"evolution{seed}")["evaluation"]["test_accuracy"] for seed in range(2)]
    assert found["gain"].lstrip("'") == f"{np.mean(tests) - expected:+.2f}"
    assert found["ahead"] == f"{sum(test > expected for test in tests)} of 2"
    assert "At equal cost" in (tmp_path / "report/report.html").read_text()


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch):
    """A folder with 40 and 20 images in the format of CIFAR-10."""
    folder, rng = tmp_path / "data/cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    sizes = {"data_batch_1": 40, "test_batch": 20}
    contents = {
        name: {"data": rng.integers(0, 256, (size, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(size)]}
        for name, size in sizes.items()
    }
    contents["batches.meta"] = {"label_names": [f"thing{i}" for i in range(10)]}
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [("data_batch_1", sums["data_batch_1"])])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [("test_batch", sums["test_batch"])])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder.parent


def test_a_table_sets_the_data_set_and_not_the_images_of_the_search(small_cifar10, tmp_path):
    """One search reads cifar10; pools read none, and stay on the default images: by CIFAR-10's table all compare."""
    words = ["space=nasbench201", "evaluation=tabular", "trainer=cpu", "~callbacks.curvature"]
    sizes = ["search.init_channels=2", "search.layers=1", "search.epochs=1", "search.batch_size=4"]
    read = ["data=cifar10", f"data.root={small_cifar10}"]
    run([*words, *sizes, *read, "method=darts"], tmp_path / "darts")
    for dataset in ("cifar10", "cifar100"):
        run([*words, *EVOLVED, f"evaluation.dataset={dataset}"], tmp_path / dataset)
    told = {name: summary(tmp_path / name) for name in ("darts", "cifar10", "cifar100")}
    assert [told[name]["data"] for name in told] == ["cifar10", "digits", "digits"]
    parts = judged(labelled(tmp_path))
    assert [title for title, _ in parts] == [
        f"nasbench201 · {name} · tabular · 16/5/200" for name in ("cifar10", "cifar100")
    ]
    found = []
    for (title, rows), name, names in zip(
        parts, ("cifar10", "cifar100"), (["cifar10", "darts"], ["cifar100"]), strict=True
    ):
        assert sorted(Path(path).name for path in rows["run"]) == names
        curve = budgets(rows, ACCURACY, Problems())
        found.append((title, rows, ACCURACY, curve))
        drawn = curve[curve["kind"] == RANDOM].set_index("step")
        assert drawn.loc[10, "test"] == told[name]["evaluation"]["random_search_accuracy"]
    ahead = {line[1]: float(line[5]) for line in answer(found).lines}
    assert ahead[found[0][0]] > 90 > 80 > ahead[found[1][0]] > 60  # of CIFAR-10 and of CIFAR-100


def test_settings_that_differ_in_their_table_alone_name_its_file(tmp_path):
    told = {"recipe": "tabular", "dataset": "cifar10", "test_accuracy": 90.0, "regret": 1.0}
    for name in ("a.csv", "b.csv"):
        report_run(tmp_path / name[0], 90.0, evaluation={**told, "table": f"/somewhere/{name}"})
    assert [title for title, _ in judged(labelled(tmp_path))] == [
        f"s3 · cifar10 · tabular · {name}" for name in ("a.csv", "b.csv")
    ]


def test_the_end_of_a_run_is_its_last_row_as_it_stands():
    """A pool whose images are not known from a generation on: no value of the end beside images of before."""
    rows = pd.DataFrame([*table_rows([[9.0, 5.0, 1.0]]), *table_rows([[5.0, 3.0, 2.0]], RANDOM, RANDOM_NAME)])
    runs = pd.DataFrame({"run": ["a0"], "name": ["a"], "test_accuracy": [89.0]})
    assert answer([("s3", runs, ACCURACY, rows)]).lines[0][:4] == ["a", "s3", "1", "0.000"]
    rows.loc[2, "images"] = float("nan")
    assert answer([("s3", runs, ACCURACY, rows)]) is None
    rows.loc[2, "regret"] = float("nan")
    assert column_of(rows) == "test"
    rows = pd.concat([rows, pd.DataFrame(table_rows([[4.0]], SEARCH, "b"))], ignore_index=True)
    assert shown_names(rows, ACCURACY) == ["a", "b", RANDOM_NAME]
    rows.loc[2, "test"] = float("nan")
    assert shown_names(rows, ACCURACY) == ["b", "a", RANDOM_NAME]


def test_candidates_that_are_trained_cost_what_they_read(tiny, tmp_path):
    small = ["candidates.pool=3", "candidates.initial=2", "candidates.batch=1", "candidates.levels=[1,2]"]
    run([*tiny, "space.num_nodes=2", "method=evolution", *small], tmp_path / "run")
    found = summary(tmp_path / "run")
    inside = [summary(path)["evaluation"] for path in (tmp_path / "run/candidates").iterdir()]
    assert found["search"]["images"] == sum(one["images"] for one in inside) > 0
    assert len({one["images"] / one["epochs"] for one in inside}) == 1  # in each epoch all images of the train half
    (row,) = budgets(labelled(tmp_path / "run"), ACCURACY, Problems()).to_dict("records")
    assert row["images"] == found["search"]["images"]  # without a table one row, that of the end
    assert row["seconds"] == pytest.approx(found["search"]["seconds"], abs=0.01)
    assert row["test"] == found["evaluation"]["test_accuracy"]


def test_runs_without_a_count_are_left_out_with_a_line(tmp_path, caplog):
    """Folders of before: no images in the summary, no images in the generations."""
    for seed in range(2):
        report_run(tmp_path / f"search{seed}", 90.0 + seed, seed=seed)
    old = report_run(tmp_path / "pool", 92.0, method="evolution")
    write_table(old / "generations.csv", [{"generation": 0, "size": 4, "epochs_spent": 48, "seconds": 0.1}])
    problems = Problems()
    with caplog.at_level(logging.INFO):
        rows = budgets(labelled(tmp_path), ACCURACY, problems)
    assert problems.found == []
    assert sum("left out where cost is in images" in line for line in caplog.messages) == 3
    assert rows["images"].isna().all()
    assert draw_budgets(rows, ACCURACY, Style(rows["name"]), "s3") is None  # one method has seconds
    assert answer([("s3", labelled(tmp_path), ACCURACY, rows)]) is None
    report_run(tmp_path / "other", 91.0, method="drnas")
    frame = labelled(tmp_path)
    figure = draw_budgets(budgets(frame, ACCURACY, problems), ACCURACY, Style(frame["name"]), "s3")
    (axes,) = figure.axes  # seconds alone
    assert axes.get_xlabel() == "search, selection, candidates (seconds)"
    assert axes.get_ylabel() == "test accuracy (%)"


def test_a_damaged_table_stops_nothing(tmp_path):
    damaged = report_run(tmp_path / "pool", 92.0, method="evolution")
    (damaged / "generations.csv").write_text("generation,seconds\n0,never\n")
    problems = Problems()
    assert budgets(labelled(tmp_path), ACCURACY, problems).empty
    assert [folder for folder, _ in problems.found] == [str(damaged)]


def table_rows(values, kind=POOL, name="a"):
    """Rows of runs, each a list of regrets, a generation each; 10 images a generation."""
    return [
        {"kind": kind, "name": name, "run": f"{name}{run}", "step": step, "images": 10.0 * (step + 1),
         "seconds": float("nan"), "test": 90 - regret, "regret": regret}
        for run, regrets in enumerate(values)
        for step, regret in enumerate(regrets)
    ]  # fmt: skip


def test_means_end_with_the_first_run_that_ends():
    found = means(pd.DataFrame(table_rows([[4.0, 2.0, 1.0], [8.0, 4.0]])))
    assert found["regret"].tolist() == [6.0, 3.0]
    assert found["regret_std"].tolist() == pytest.approx([8**0.5, 2**0.5])
    assert found["images"].tolist() == [10.0, 20.0]
    assert found["seconds"].isna().all()
    assert means(pd.DataFrame(table_rows([]), columns=["kind", "name", "run", "step"])).empty


def test_steps_marks_and_the_line():
    rows = pd.DataFrame(
        [
            *table_rows([[4.0, 2.0], [6.0, 2.0]]),
            *table_rows([[3.0], [5.0]], SEARCH, "b"),
            *table_rows([[5.0, 3.0, 2.0]], RANDOM, RANDOM_NAME),
        ]
    )
    assert column_of(rows) == "regret"
    figure = draw_budgets(rows, ACCURACY, Style(["a", "b"]), "s3")
    (axes,) = figure.axes
    lines = [(line.get_drawstyle(), line.get_linestyle(), line.get_xydata().tolist()) for line in axes.lines]
    assert ("steps-post", "-", [[10.0, 5.0], [20.0, 2.0]]) in lines
    assert ("default", "None", [[10.0, 3.0], [10.0, 5.0]]) in lines  # each run of b
    assert ("default", "None", [[10.0, 4.0]]) in lines  # their mean
    assert ("default", "--", [[10.0, 5.0], [20.0, 3.0], [30.0, 2.0]]) in lines
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(5 + 2**0.5)
    without = rows.assign(regret=rows["regret"].where(rows["name"] != "b"))
    assert column_of(without) == "test"
    assert draw_budgets(rows[rows["name"] == "a"], ACCURACY, Style("a"), "s3") is None


def test_random_search_at_a_cost():
    rows = pd.DataFrame(table_rows([[5.0, 3.0, 2.0]], RANDOM, RANDOM_NAME))
    assert [random_at(rows, images, "regret") for images in (10, 15, 30, 99)] == [5.0, 4.0, 2.0, 2.0]
    assert np.isnan(random_at(rows, 9, "regret"))
    assert np.isnan(random_at(rows[rows["kind"] == POOL], 10, "regret"))


def test_the_expectation_of_a_tiny_table_is_that_of_all_subsets(tmp_path):
    """Eight cells of NAS-Bench-201, written as a table that says it is complete; every subset once."""
    from nas_lightning.evaluation.table import load
    from nas_lightning.spaces.nasbench201 import arch_strings

    rng = np.random.default_rng(3)
    valid, test = rng.permutation(8) + 80.0, rng.normal(90, 3, 8).round(4)
    names = arch_strings()[:8]
    cells = zip(names, valid, test, strict=True)
    lines = ["arch_str,cifar10_valid_12,cifar10_test_200", *(f"{name},{low},{high}" for name, low, high in cells)]
    (tmp_path / "tiny.csv").write_text("\n".join(lines) + "\n")
    table = load(str(tmp_path / "tiny.csv"))
    curve = table.random_curve("cifar10_test_200", table.contents.datasets["cifar10"])
    assert [row["draws"] for row in curve] == list(range(1, 9))
    for row in curve:
        kept = [test[max(subset, key=lambda cell: valid[cell])] for subset in combinations(range(8), row["draws"])]
        assert row["test_accuracy"] == pytest.approx(np.mean(kept), abs=1e-4)
        assert row["regret"] == pytest.approx(test.max() - np.mean(kept), abs=2e-4)
        assert row["images_spent"] == row["draws"] * 12 * 25_000
