"""Analyses of searches that report an error: in its own sign and unit, and nowhere named an accuracy.

The images are those of `tiny`, whose classes are the numbers 0 to 3; the metric is the mean absolute error.
"""

import csv
import json
import re
import statistics

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import nas_lightning as nl
from analysed import OPTIONS, analysis_config
from conftest import TINY_SIZES
from nas_lightning.analyses import figures, shuffling, strength
from nas_lightning.core.objective import Goal
from nas_lightning.curvature.landscape import directions
from nas_lightning.data import Arrays, search_split
from nas_lightning.spaces import CellSpace
from nas_lightning.tasks.resume import resume

SEARCH = [*TINY_SIZES, "space=s3", "space.num_nodes=2", "trainer=cpu", "objective=regression", "objective.unit=steps"]
LEARNING = ["search.arch.lr=0.3", "search.weights.lr=0.1", "search.epochs=3", "search.batch_size=4"]


@pytest.fixture(scope="module")
def erring(images_file, tmp_path_factory):
    """Run folder of a finished search that minimises an error; `val` is not augmented."""
    folder = tmp_path_factory.mktemp("erring") / "run"
    data = ["data=arrays", f"data.path={images_file}", "data.augment_val=false", "~callbacks.curvature"]
    nl.search(nl.compose([*data, *SEARCH, *LEARNING]), run_dir=folder)
    return folder


def analyse(name, folder, *words):
    return nl.analyse(analysis_config(name, *words), run_dir=folder)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_no_accuracy(folder, out):
    """No column, no key of the summary but the empty ones of a search, no word of figures and terminal."""
    assert "accuracy" not in out
    for path in folder.rglob("*"):
        assert "accuracy" not in path.name
        if path.suffix in (".csv", ".svg", ".json"):
            assert "accuracy" not in path.read_text(), path


class ByHand:
    """The supernet of the run as its last checkpoint has it; float64."""

    def __init__(self, run, images_file):
        saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        self.data = Arrays(str(images_file))
        self.data.prepare()
        supernet = CellSpace("s3", OPTIONS, num_nodes=2).supernet(1, 1, init_channels=2, layers=3, engine="reference")
        supernet.load_state_dict({name.removeprefix("supernet."): value for name, value in saved["state_dict"].items()
                                  if name.startswith("supernet.")})  # fmt: skip
        self.supernet = supernet.double().eval()
        self.arch = {name: a.double() for name, a in saved["search"]["arch"].items()}

    @property
    def mean(self):
        return {name: torch.softmax(a, dim=1) for name, a in self.arch.items()}

    def error(self, mixing, part="val"):
        """Mean distance to the numbers 0 to 3, image by image, of outputs in standard deviations from their mean."""
        train = torch.tensor(self.data.train_labels).double()
        split = part if part == "test" else "train"
        images = self.data.dataset(split, augment=False)
        val = search_split(self.data.train_labels, "stratified").val
        distances = []
        for index in range(len(images)) if part == "test" else val:
            image, label = images[int(index)]
            with torch.no_grad():
                output = float(self.supernet(image[None].double(), mixing))
            distances.append(abs(output * float(train.std(correction=0)) + float(train.mean()) - label))
        return sum(distances) / len(distances)


@pytest.fixture(scope="module")
def by_hand(erring, images_file):
    return ByHand(erring, images_file)


@pytest.mark.slow
def test_the_strongest_option_has_the_smallest_error(erring, by_hand, tmp_path, capsys):
    found = analyse("strength", tmp_path / "a", f"run={erring}", "analysis.epochs=0", "analysis.rows=[2,4]")
    best, edges = {}, {}
    for row in table(tmp_path / "a" / "analysis.csv"):
        mixing = by_hand.mean
        mixing["normal"][int(row["row"])] = torch.eye(3, dtype=torch.float64)[OPTIONS.index(row["option"])]
        error = by_hand.error(mixing)
        assert float(row["metric"]) == pytest.approx(error, abs=1e-5)
        if row["option"] != "none":
            edges.setdefault(row["row"], []).append((error, float(row["weight"]), row["option"]))
    for edge, measured in edges.items():
        best[int(edge)] = min(measured)[2]
    assert {row["row"]: row["by_metric"] for row in found["rows"]} == best
    for row in found["rows"]:  # of two options: 1 if the heavier one has the smaller error
        (first, second) = edges[str(row["row"])]
        assert row["kendall_tau"] == (1 if (first[1] > second[1]) == (first[0] < second[0]) else -1)
        assert row["agrees"] == (row["kendall_tau"] == 1)
    assert sum(found["by_metric"].values()) == 2
    out = capsys.readouterr().out
    assert out.count(" steps after 0 epochs") == 6
    assert "by mean absolute error" in out
    drawn = (tmp_path / "a" / "plots" / "strength.svg").read_text()
    assert "mean absolute error on val (steps),</text>" in drawn
    assert drawn.lower().count("fill: #d55e00") == 2  # a dark bar an edge
    assert resume(tmp_path / "a")["analysis"] == found
    assert_no_accuracy(tmp_path / "a", out)


@pytest.mark.slow
def test_training_keeps_the_smallest_error(erring, tmp_path, monkeypatch):
    monkeypatch.setattr(strength, "save_strength", lambda *_: None)
    words = [f"run={erring}", "analysis.rows=[4]", "analysis.lr=0.05"]
    errors = []
    for epochs in (0, 1):
        analyse("strength", tmp_path / str(epochs), *words, f"analysis.epochs={epochs}")
        errors.append([float(row["metric"]) for row in table(tmp_path / str(epochs) / "analysis.csv")])
    before, after = errors
    assert all(a <= b for a, b in zip(after, before, strict=True))
    assert min(after) > 0
    assert after != before


def test_the_bars_of_the_largest_weight_and_of_the_smallest_error_are_dark(monkeypatch):
    monkeypatch.setattr(figures, "_save", lambda figure, *_: figure)
    edge = {"choice": "normal", "row": 0, "source": 0, "node": 2}
    values = zip("abcd", (0.2, 0.3, 0.1, 0.4), (0.0005, 0.0002, 0.0007, 0.0001), (True, True, True, False), strict=True)
    rows = [edge | {"option": o, "weight": w, "metric": e, "selectable": counts} for o, w, e, counts in values]
    weights, errors = figures.save_strength(rows, None, Goal("mean_absolute_error", "", "min")).axes
    dark = [[to_hex(bar.get_facecolor()) for bar in axes.patches].index(colour)
            for axes, colour in ((weights, "#0072b2"), (errors, "#d55e00"))]  # fmt: skip
    assert dark == [1, 1]
    assert errors.get_xlim() == pytest.approx((0.0001 - 0.3 * 0.0006, 0.0007 + 0.3 * 0.0006))
    assert errors.get_xlabel() == "mean absolute error on val, axis not from 0"


@pytest.mark.slow
def test_shuffling_measures_the_error_on_the_test_images(erring, images_file, by_hand, tmp_path, monkeypatch, capsys):
    small = ["analysis.epochs=1", "analysis.batch_size=16", "analysis.repetitions=2", "~analysis.networks.vgg"]
    small += ["analysis.networks.resnet.channels=4", "analysis.networks.resnet.depth=3"]
    trained, fit = [], shuffling.fit
    monkeypatch.setattr(shuffling, "draw_pair", lambda pairs, generator: (0, 1) if (0, 1) in pairs else None)
    monkeypatch.setattr(shuffling, "fit", lambda *args: trained.append(args[2].network) or fit(*args))
    found = analyse("shuffling", tmp_path / "a", f"run={erring}", *small)
    values = {}
    for row in table(tmp_path / "a" / "analysis.csv"):
        values.setdefault((row["network"], row["swapped"]), []).append(float(row["test_metric"]))

    assert values["supernet", "nothing"] == pytest.approx([by_hand.error(by_hand.mean, "test")], abs=1e-5)
    swapped = ByHand(erring, images_file)
    state = swapped.supernet.state_dict()
    new_name = {".edges.0.": ".edges.1.", ".edges.1.": ".edges.0."}
    renamed = {re.sub(r"\.edges\.[01]\.", lambda found: new_name[found[0]], name): value.clone()
               for name, value in state.items()}  # fmt: skip
    swapped.supernet.load_state_dict(renamed)
    assert values["supernet", "edges alone"] == pytest.approx([swapped.error(swapped.mean, "test")] * 2, abs=1e-5)
    (network,) = trained  # its blocks have returned to their places
    by_hand_of = ByHand(erring, images_file)
    by_hand_of.supernet = network.double().eval()
    by_hand_of.supernet.forward = lambda images, mixing, forward=network.forward: forward(images)
    assert values["resnet", "nothing"] == pytest.approx([by_hand_of.error(None, "test")], abs=1e-5)

    for row in found["networks"]:
        measured = values[row["network"], row["swapped"]]
        assert row["test_metric_mean"] == pytest.approx(statistics.mean(measured), abs=2e-6)
        if len(measured) > 1:
            assert row["test_metric_std"] == pytest.approx(statistics.stdev(measured), abs=2e-6)
    drawn = (tmp_path / "a" / "plots" / "shuffling.svg").read_text()
    assert "test mean absolute error (steps)" in drawn
    assert not re.search(r">(100|80|60|20)</text>", drawn), "an axis of percent"
    out = capsys.readouterr().out
    assert "test mean absolute error, steps" in out
    assert resume(tmp_path / "a")["analysis"]["networks"] == found["networks"]
    assert_no_accuracy(tmp_path / "a", out)


@pytest.mark.slow
def test_the_drop_is_the_error_gained_by_discretisation(erring, by_hand, tmp_path, capsys):
    found = analyse("discretization", tmp_path / "a", f"run={erring}")
    (row,) = table(tmp_path / "a" / "analysis.csv")
    kept = {cell: [[source, op, node] for node, op, source in edges]
            for cell, edges in json.loads((erring / "genotype.json").read_text())["cells"].items()}  # fmt: skip
    edges = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    discrete = {cell: torch.zeros(5, 3, dtype=torch.float64) for cell in kept}
    for cell, chosen in kept.items():
        for source, op, node in chosen:
            discrete[cell][edges.index((source, node)), OPTIONS.index(op)] = 1
    before, after = by_hand.error(by_hand.mean), by_hand.error(discrete)
    assert abs(after - before) > 1e-3
    assert float(row["val_metric"]) == pytest.approx(before, abs=1e-5)
    assert float(row["discrete_metric"]) == pytest.approx(after, abs=1e-5)
    assert float(row["drop"]) == pytest.approx(after - before, abs=1e-5)
    assert found["runs"][0]["drop"] == float(row["drop"])
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["objective"] == {"metric": "mean_absolute_error", "unit": "steps", "direction": "min"}
    assert "mean absolute error on val (steps)" in (tmp_path / "a" / "plots" / "discretization.svg").read_text()
    out = capsys.readouterr().out
    assert f"{before:#.4g} steps → {after:#.4g} steps" in out
    assert "mean absolute error on val, steps" in out
    assert_no_accuracy(tmp_path / "a", out)
    assert resume(tmp_path / "a")["analysis"] == found  # all of it read from the table


def test_the_skip_gap_stands_against_the_error(erring, tmp_path, capsys):
    found = analyse("skip_gap", tmp_path / "a", f"run={erring}")
    errors = [float(row["val_metric"]) for row in table(erring / "metrics.csv")]
    gaps = []
    for line in (erring / "genotypes.jsonl").read_text().splitlines()[1:]:  # the first is before training
        cells = [np.array(json.loads(line)["mixing"][cell]) for cell in ("normal", "reduce")]
        gaps.append(np.mean([cell[:, 1].mean() - cell[:, 2].mean() for cell in cells]))
    rows = table(tmp_path / "a" / "analysis.csv")
    assert [float(row["val_metric"]) for row in rows] == errors
    assert [float(row["skip_gap"]) for row in rows] == pytest.approx(gaps, abs=1e-6)
    assert found["pearson"] == pytest.approx(np.corrcoef(gaps, errors)[0, 1], abs=1e-3)
    drawn = (tmp_path / "a" / "plots" / "skip_gap.svg").read_text()
    assert "mean absolute error of the supernet on val (steps)" in drawn
    out = capsys.readouterr().out
    assert "skip gap against mean absolute error on val" in out
    assert_no_accuracy(tmp_path / "a", out)


@pytest.mark.slow
def test_a_landscape_of_the_error(erring, searched, by_hand, tmp_path, capsys, caplog):
    words = ["task=landscape", "landscape.steps=3", "landscape.radius=2.0", "trainer=cpu"]
    found = nl.landscape(nl.compose([*words, f"runs=[{erring},{searched}]"]), run_dir=tmp_path / "a")
    first, second = directions({name: a.shape for name, a in by_hand.arch.items()}, 0)
    rows = table(tmp_path / "a" / "landscape.csv")
    assert {row["run"] for row in rows} == {str(erring)}
    assert f"it reports accuracy (%), and {erring} reports mean absolute error (steps)" in caplog.text
    for row in rows:
        x, y = float(row["x"]), float(row["y"])
        moved = {name: a + x * first[name] + y * second[name] for name, a in by_hand.arch.items()}
        error = by_hand.error({name: torch.softmax(a, dim=1) for name, a in moved.items()})
        assert float(row["metric"]) == pytest.approx(error, abs=1e-5)
    values = [float(row["metric"]) for row in rows]
    assert found["limits"]["metric"] == [min(values), max(values)]
    (run,) = found["runs"]
    assert run["centre"]["metric"] == values[4] > 0
    assert run["metric"]["mean_at_radius"]["1"] == pytest.approx((sum(values) - values[4]) / 8)
    assert "mean absolute error on val (steps)" in (tmp_path / "a" / "plots" / "landscape_metric.svg").read_text()
    out = capsys.readouterr().out
    assert f"{values[4]:#.4g} steps" in out
    assert resume(tmp_path / "a")["objective"]["metric"] == "mean_absolute_error"
    assert table(tmp_path / "a" / "landscape.csv") == rows
    assert_no_accuracy(tmp_path / "a", out)


@pytest.mark.parametrize("name", ["discretization", "skip_gap"])
def test_runs_of_another_metric_are_left_out(name, erring, searched, tmp_path, caplog):
    found = analyse(name, tmp_path / "a", f"runs=[{searched},{erring}]")
    assert [row["run"] for row in found["runs"]] == [str(searched)]
    assert f"run={erring}: it reports mean absolute error (steps), and {searched} reports accuracy (%)" in caplog.text
    assert "metric" not in (tmp_path / "a" / "analysis.csv").read_text()
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["objective"] is None
