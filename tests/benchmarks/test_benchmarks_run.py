"""Each benchmark at the smallest sizes: it runs, its sides agree (they check that themselves), its JSON has a shape."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import nas_lightning as nl
from nas_lightning.capture import stand_in

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
    assert row["time_target"] == pytest.approx(0.5)
    ratios = np.divide(row["fast_rounds"], row["reference_rounds"])
    assert row["time_ratio"] == pytest.approx(np.median(ratios))


def test_latencies(run):
    (row,) = run("latencies", "--spaces", "nasbench201", "--networks", "3", "--milliseconds", "1")["rows"]
    assert row["measured"] > 0
    assert row["ratio"] == pytest.approx(row["measured"] / row["predicted"], rel=3)  # of other networks
    assert -1 <= row["rho"] <= 1


@pytest.mark.slow
def test_method_steps(run):
    """A second-order step takes longer than a first-order one, however small the network."""
    sizes = ["--batch", "2", "--channels", "4", "--cells", "3", "--rounds", "1"]
    rows = run("method_steps", "--methods", "darts_2nd", "--space", "s3", *sizes)["rows"]
    first, second = rows
    assert (first["method"], first["ratio"]) == ("darts", 1.0)
    assert (second["method"], second["least"]) == ("darts_2nd", second["ratio"])  # of a single round
    assert second["ratio"] > 1.2


@pytest.mark.slow
def test_every_run_of_the_comparisons_composes(module, tmp_path):
    images = tmp_path / "images.npz"
    for name, arguments in {"nasbench201_methods": (None,), "nasbench201_seeds": (range(1, 2), None)}.items():
        benchmark = module(name)
        given = tuple(list(benchmark.METHODS) if one is None and name.endswith("seeds") else one for one in arguments)
        for folder, words in benchmark.members(images, *given):
            if not folder.endswith("seed1"):
                continue
            assert folder.startswith(nl.compose(words).method)


@pytest.mark.slow
def test_search_step_by_graphs(run):
    """On a CPU through their stand-in."""
    sizes = ["--batch", "2", "--channels", "2", "--cells", "3", "--rounds", "1", "--samples", "1", "--no-memory"]
    with stand_in():
        (row,) = run("search_step", "--rows", "s3", "--graph", *sizes)["rows"]
    assert len(row["graph_rounds"]) == 1
    assert row["graph_ratio"] == pytest.approx(row["graph_seconds"] / row["reference_seconds"])


@pytest.mark.slow
def test_busy(run):
    sizes = ["--batch", "2", "--channels", "2", "--cells", "3", "--rounds", "1"]
    (row,) = run("busy", "--space", "s3", *sizes)["rows"]
    assert row["kernels"] > 1000
    assert row["kernels_estimate"] is None
    assert row["busy"] == pytest.approx(row["busy_seconds"] / row["step_seconds"])


def test_a_session_saves_as_it_goes_and_goes_on(module, tmp_path):
    gpu = module("gpu")
    session = gpu.Session(tmp_path, 60)
    session.command("good", ["-c", "print('done')"])
    session.command("bad", ["-c", "raise SystemExit(3)"])
    assert (tmp_path / "good.log").read_text() == "done\n"
    assert {name: part["exit"] for name, part in session.parts.items()} == {"good": 0, "bad": 3}
    again = gpu.Session(tmp_path, 60)
    again.command("good", ["-c", "print('again')"])
    again.command("bad", ["-c", "print('again')"])
    assert (tmp_path / "good.log").read_text() == "done\n"
    assert (tmp_path / "bad.log").read_text() == "again\n"
    assert json.loads((tmp_path / "parts.json").read_text())["bad"]["exit"] == 0


def test_a_session_ends_in_time(module, tmp_path):
    session = module("gpu").Session(tmp_path, 1)
    session.command("slow", ["-c", "import time; time.sleep(60)"])
    session.command("late", ["-c", "print('late')"])
    assert {name: part["exit"] for name, part in session.parts.items()} == {"slow": "out of time"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parts", "search"], "--images None: no such file; search need it"),
        (["--parts", "stpes"], "invalid choice: 'stpes'"),
        (["--parts", "steps", "--device", "cuda"], "--device cuda: there is no such GPU here"),
    ],
)
def test_a_session_that_cannot_run_says_so_at_once(module, capsys, words, message):
    with pytest.raises(SystemExit):
        module("gpu").main(words)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_session_on_the_cpu(module, images_file, tmp_path):
    """A search through the script, as on a GPU, but of seconds."""
    small = ["search.epochs=1", "search.init_channels=4", "search.layers=3", "search.batch_size=8", "trainer=cpu"]
    small += ["~callbacks.curvature", "space.num_nodes=2"]
    words = ["--images", str(images_file), "--folder", str(tmp_path), "--minutes", "5", "--device", "cpu"]
    assert module("gpu").main([*words, "--graph", "auto", "--parts", "search", "--search", *small]) == 0
    assert json.loads((tmp_path / "parts.json").read_text())["search-darts"]["exit"] == 0
    summary = json.loads((tmp_path / "search-darts" / "summary.json").read_text())
    assert summary["search"]["graph"] == "off: images are on the cpu"


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


def test_photo_loading(run):
    """On tiny photos: each part has loaders and steps, whose shares add up; reading at half the size is no slower."""
    sizes = ["--photos", "8", "--batch", "4", "--width", "64", "--rounds", "1", "--workers", "0", "1"]
    rows = run("photo_loading", *sizes)["rows"]
    assert [row["workers"] for row in rows if "workers" in row] == [0, 1, 0, 1]
    for part in ("train", "test"):
        steps = [row for row in rows if "step" in row and row["part"] == part]
        assert sum(row["share"] for row in steps) == pytest.approx(1)
    assert next(row["ratio"] for row in rows if "way" in row) == 1


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


@pytest.mark.slow
def test_startup(module, tmp_path):
    file = tmp_path / "startup.json"
    module("startup").main(["--rounds", "1", "--command", "seed=a", "--json", str(file)])
    torch, refusal = json.loads(file.read_text())["rows"]
    assert (torch["command"], torch["cpu_ratio"]) == ("import torch", 1)
    assert refusal["cpu_ratio"] == pytest.approx(refusal["cpu_seconds"] / torch["cpu_seconds"])
    # A process that has not loaded torch, whoever started it.
    assert 0 < refusal["memory"] < torch["memory"] / 2
