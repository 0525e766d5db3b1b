"""Each benchmark at the smallest sizes: it runs, its sides agree (they check that themselves), its JSON has a shape."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--device", "cpu", "--threads", "1", "--image", "8"]


@pytest.fixture
def module(monkeypatch):
    """Imports a benchmark, whatever folder the tests run in."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def run(module, tmp_path):
    """Runs a benchmark and reads what it wrote."""

    def measured(name, *words):
        file = tmp_path / "numbers" / f"{name}.json"
        module(name).main([*TINY, "--json", str(file), *words])
        return json.loads(file.read_text())

    return measured


def test_search_step(run):
    sizes = ["--batch", "2", "--channels", "2", "--cells", "3", "--rounds", "2", "--samples", "2", "--no-memory"]
    found = run("search_step", "--rows", "s3", *sizes)
    assert found["benchmark"] == "search_step"
    assert set(found) == {"benchmark", "date", "machine", "settings", "rows"}
    assert {"cpu", "cores", "threads", "device", "torch"} <= set(found["machine"])
    assert found["settings"]["batch"] == 2
    (row,) = found["rows"]
    assert row["row"] == "s3, first order"
    assert row["time_target"] == pytest.approx(0.4)
    ratios = np.divide(row["fast_rounds"], row["reference_rounds"])
    assert row["time_ratio"] == pytest.approx(np.median(ratios))


def test_ablation(run):
    sizes = ["--batch", "2", "--channels", "2", "--cells", "3", "--rounds", "1"]
    rows = run("ablation", "--spaces", "s3", *sizes)["rows"]
    assert [row["step"] for row in rows] == ["classical", "lean", "layout", "fast"]
    assert rows[0]["ratio"] == 1.0


def test_every_row_is_compared(module):
    step = module("search_step")
    assert step.arguments([]).rows == ["darts", "s3", "nasbench201", "unrolled", "sampled"]
    assert {row.name: row.steps for row in step.ROWS}["darts, second order"] == 2.5  # two passes each


def test_methods_take_steps(module):
    step = module("search_step")
    options = step.arguments([*TINY, "--batch", "2", "--channels", "2", "--cells", "3"])
    bench = step.Bench("s3", options)
    for method in step.METHODS:
        searching = bench.searching(bench.net("fast"), method)
        before = [p.clone() for p in searching.net.parameters()]
        arch = {name: a.detach().clone() for name, a in searching.arch.items()}
        searching.step()
        assert any((p != b).any() for p, b in zip(searching.net.parameters(), before, strict=True))
        moved = any((searching.arch[name] != a).any() for name, a in arch.items())
        assert moved == searching.hypergradient.learns


def test_selection(run):
    found = run(
        "selection", "--batches", "1", "--batch", "10", "--channels", "2", "--stage-cells", "1", "--rounds", "1"
    )
    (row,) = found["rows"]
    assert len(row["accuracies"]["naive"]) == len(row["accuracies"]["product"]) == 30
    assert row["time_target"] == pytest.approx(0.4)


def test_curvature_tables_have_sizes_of_their_own(module):
    arguments = module("curvature").arguments
    sizes = {table: vars(arguments([f"--{table}"])) for table in ("dominant", "full")}
    assert (sizes["dominant"]["channels"], sizes["dominant"]["batch"], sizes["dominant"]["layers"]) == (4, 8, 3)
    assert (sizes["full"]["channels"], sizes["full"]["batch"], sizes["full"]["layers"]) == (16, 64, 8)
    assert arguments(["--dominant", "--channels", "2"]).channels == 2
    assert (arguments([]).channels, arguments(["--repeats", "5"]).rounds) == (2, 5)


def test_data_pipeline(run):
    sizes = ["--images", "200", "--loads", "3", "--steps", "1", "--batch", "4", "--channels", "2", "--stage-cells", "1"]
    (row,) = run("data_pipeline", "--workers", "0", *sizes)["rows"]
    assert 0 <= row["share_waiting"] <= 1
    assert row["ratio"] == pytest.approx(row["loaded_images_a_second"] / row["used_images_a_second"])


def test_data_pipeline_refuses_fewer_images_than_a_pass_needs(module, capsys):
    with pytest.raises(SystemExit):
        module("data_pipeline").arguments(["--images", "100"])
    assert "use at least --images" in capsys.readouterr().err


def test_evaluation_step(run):
    sizes = ["--batch", "4", "--channels", "2", "--layers", "3", "--rounds", "2", "--warm", "1"]
    (row,) = run("evaluation_step", *sizes, "evaluation.auxiliary=0.0")["rows"]
    assert len(row["plain_rounds"]) == len(row["product_rounds"]) == 2


def test_options_are_whole_numbers_from_one(module, capsys):
    with pytest.raises(SystemExit):
        module("search_step").arguments(["--batch", "0"])
    assert "0: a whole number from 1" in capsys.readouterr().err


@pytest.mark.slow
def test_load(module, tmp_path):
    file = tmp_path / "load.json"
    module("load").main(["--runs", "6", "--folders", "3", "--json", str(file)])
    report, alone, shared = json.loads(file.read_text())["rows"]
    assert (report["part"], report["folders"]) == ("report", 3)
    assert (alone["part"], alone["highest"]["processes"]) == ("one_process", 1)
    assert shared["part"] == "two_workers"
    assert alone["late"]["runs"] > alone["early"]["runs"]
    assert shared["highest"]["processes"] >= 3


@pytest.mark.slow
def test_ranks(module, tmp_path):
    file = tmp_path / "ranks.json"
    sizes = ["--batch", "8", "--image", "8", "--channels", "2", "--cells", "3", "--steps", "2", "--rounds", "1"]
    module("ranks").main(["--device", "cpu", *sizes, "--json", str(file)])
    rows = json.loads(file.read_text())["rows"]
    assert [(row["side"], row["processes"], row["batch"]) for row in rows] == [
        ("one", 1, 8),
        ("halves", 2, 4),
        ("wholes", 2, 8),
    ]
    assert rows[0]["ratio"] == 1.0
