"""Runs to a table and back: the means by hand, what is left out, what is refused."""

import csv
import json
import shutil

import pandas as pd
import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.convert import Runs
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation.table import load
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.enumeration import architecture
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench
from pool_parts import Drawn


@pytest.fixture(scope="module")
def trained(images_file, tmp_path_factory):
    """One real run of an architecture of S5 on tiny images."""
    from conftest import TINY_SIZES

    folder = tmp_path_factory.mktemp("runs") / "original"
    words = ["task=evaluate", "space=s5", "genotype=80", "data=arrays", f"data.path={images_file}", "trainer=cpu"]
    nl.evaluate(nl.compose([*words, *TINY_SIZES, "evaluation.epochs=1"]), run_dir=folder)
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """Makes run folders of other architectures, seeds and accuracies, as the real one has them."""
    space = nl.build_space(nl.compose(["space=s5"]))

    def make(number, seed, accuracy):
        folder = tmp_path / "runs" / f"{number}-{seed}"
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "plots"))
        summary = json.loads((folder / "summary.json").read_text())
        summary["seed"] = seed
        summary["evaluation"]["test_accuracy"] = accuracy
        (folder / "summary.json").write_text(json.dumps(summary))
        network = json.loads((folder / "network.json").read_text())
        network["genotype"] = architecture(space, number).to_dict()
        (folder / "network.json").write_text(json.dumps(network))
        return folder

    return make


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_there_and_back(runs, tmp_path, caplog, ending):
    given = {0: [90.0, 92.0], 7: [80.0, 81.0], 80: [50.25, 52.0]}
    for number, accuracies in given.items():
        for seed, accuracy in enumerate(accuracies):
            runs(number, seed, accuracy)
    runs(5, 1, 77.0)  # of seed 0 there is none
    runs(6, 0, None)  # not finished
    path = str(tmp_path / f"table.{ending}")
    caplog.set_level("INFO")
    Runs(str(tmp_path / "runs"), path)()
    table = load(path)
    name = "arrays_test_1"
    space = nl.build_space(nl.compose(["space=s5"]))
    found = {number: table.value(architecture(space, number).architecture, name) for number in (0, 5, 7, 80)}
    assert found == {0: 91.0, 5: 77.0, 7: 80.5, 80: 51.125}
    assert len(table.rows) == 4
    assert table.regret(architecture(space, 80).architecture, name) == 39.875
    assert table.contents.space == "s5"
    assert not table.contents.complete  # 4 of 81
    trained = table.contents.datasets["arrays"]
    assert (trained.epochs, trained.init_channels, trained.layers, trained.image_size) == ((1,), 4, 3, 8)
    told = table.contents.about["arrays"]
    assert (told["architectures"], told["seeds"]) == ("3 of 81", [0, 1])
    assert told["spread"]["within"] == pytest.approx(((2 + 0.5 + 1.75**2 / 2) / 3) ** 0.5, abs=1e-4)
    assert told["training"]["evaluation.batch_size"] == "16"
    assert "78 of 81 architectures of arrays lack trainings" in caplog.text
    frame = pd.read_csv(path, comment="#")
    assert list(frame) == ["number", "architecture", name, f"{name}_seed0", f"{name}_seed1"]
    assert list(frame["number"]) == [0, 5, 7, 80]
    assert frame[f"{name}_seed0"].isna().tolist() == [False, True, False, False]


def test_what_is_refused(runs, tmp_path):
    target = str(tmp_path / "table.csv")
    with pytest.raises(ConfigError, match=r"convert\.source=null"):
        Runs(None, target)()
    with pytest.raises(ConfigError, match=r"convert\.source=.*has no finished run .*experiment=s5_ground_truth"):
        Runs(str(tmp_path), target)()
    runs(3, 0, 50.0)
    other = runs(4, 0, 60.0)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("lr: 0.025\n  lr_min: 0.0\n", "lr: 0.05\n  lr_min: 0.0\n"))
    assert (other / "config.yaml").read_text() != config
    with pytest.raises(ConfigError, match=r"evaluation\.lr is 0\.025 in .*3-0 and 0\.05 in .*4-0"):
        Runs(str(tmp_path / "runs"), target)()
    shutil.rmtree(other)
    shutil.copytree(runs(3, 1, 50.0), tmp_path / "runs" / "again")
    summary = tmp_path / "runs" / "again" / "summary.json"
    summary.write_text(summary.read_text().replace("50.0", "51.0"))
    with pytest.raises(
        ConfigError, match=r"architecture 3 was trained twice with seed 1, to 50 and 51 %|to 51 and 50 %"
    ):
        Runs(str(tmp_path / "runs"), target)()


POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
POOL += ["+candidates.proposer._target_=pool_parts.Drawn", "candidates.pool=3", "candidates.initial=2"]
POOL += ["candidates.batch=1", "candidates.levels=[1,2,3]"]


@pytest.fixture(scope="module")
def curves(images_file, tmp_path_factory):
    """The candidates of the pool below, trained for 3 epochs on the train half and on all images, and their words."""
    from conftest import TINY_SIZES

    folder = tmp_path_factory.mktemp("curves")
    words = ["space=s5", "data=arrays", f"data.path={images_file}", "trainer=cpu", "~callbacks.curvature", *TINY_SIZES]
    words += ["evaluation.epochs=3"]
    for index, one in enumerate(Drawn().ask(nl.build_space(nl.compose(["space=s5"])), [], 3, 0)):
        for images in ("search_halves", "full"):
            trained = [*words, "task=evaluate", f"evaluation.images={images}"]
            nl.evaluate(nl.compose(trained), one, run_dir=folder / "runs" / f"{images}{index}")
    return words, folder


def learning_of(folder, column):
    with (folder / "metrics.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file) if row["phase"] == "evaluation"]


@pytest.mark.slow
def test_learning_curves_of_real_runs(curves, tmp_path):
    _, folder = curves
    path = str(tmp_path / "table.csv")
    Runs(str(folder / "runs"), path, epochs=[2, 1])()
    table = load(path)
    trained = table.contents.datasets["arrays"]
    assert trained.epochs == (3, 1, 2)
    space = nl.build_space(nl.compose(["space=s5"]))
    for index, one in enumerate(Drawn().ask(space, [], 3, 0)):
        for part, images, column in (("test", "full", "test_accuracy"), ("valid", "search_halves", "val_accuracy")):
            run = folder / "runs" / f"{images}{index}"
            found = [table.value(one.architecture, f"arrays_{part}_{epochs}") for epochs in (1, 2, 3)]
            assert found == pytest.approx(learning_of(run, column), abs=6e-5)
            evaluation = json.loads((run / "summary.json").read_text())["evaluation"]
            assert found[-1] == evaluation[column]
            assert trained.images[part] == evaluation["images"] / 3
            assert table.seeds[f"arrays_{part}_2"].shape == (3, 1)
    Runs(str(folder / "runs"), str(tmp_path / "last.csv"))()
    assert load(str(tmp_path / "last.csv")).contents.datasets["arrays"].epochs == (3,)


@pytest.mark.slow
def test_a_pool_judged_by_the_table_is_that_judged_by_training(curves, tmp_path):
    """Levels are beginnings of one training: the same candidates, values, promotions and cost, nothing trained."""
    words, folder = curves
    path = tmp_path / "table.csv"
    Runs(str(folder / "runs"), str(path), epochs=[1, 2])()
    looked_up = [word for word in words if not word.startswith("evaluation.")]
    looked_up += ["evaluation=tabular", f"evaluation.path={path}", "evaluation.draws=1"]
    found = {}
    for name, own in (("trained", words), ("looked_up", looked_up)):
        run_task(as_dict(nl.compose([*own, *POOL])), RunFolder(tmp_path / name))
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        keys = ("index", "generation", "level", "epochs", "value", "val_accuracy", "genotype", "chosen")
        with (tmp_path / name / "generations.csv").open() as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row.pop("seconds")
            row.pop("regret", None)
        candidates = [{key: one[key] for key in keys} for one in summary["candidates"]]
        found[name] = candidates, rows, summary["genotype"], summary["evaluation"]["test_accuracy"]
        assert "oracle" not in summary["search"]
    assert found["trained"] == found["looked_up"]
    assert len({one["level"] for one in found["trained"][0]}) > 1
    assert int(found["trained"][1][-1]["images_spent"]) > 0
    bench = Workbench(as_dict(nl.compose([*looked_up, *POOL])), RunFolder(tmp_path / "bench"))
    assert bench.evaluator.length(bench, None) == (1, False)
    assert bench.evaluator.images_listed(bench, 2) * 7 == int(found["looked_up"][1][-1]["images_spent"])


def test_curves_that_are_refused(curves, tmp_path):
    _, folder = curves
    target = str(tmp_path / "table.csv")
    with pytest.raises(
        ConfigError, match=r"convert\.epochs=\[5\]: .* was trained for 3 epochs, not for 5; use values up"
    ):
        Runs(str(folder / "runs"), target, epochs=[5])()
    with pytest.raises(ConfigError, match=r"all runs on data=arrays were measured on val|no finished run that trained"):
        Runs(str(folder / "runs" / "search_halves0"), target)()
    shutil.copytree(folder / "runs" / "full0", tmp_path / "cut", ignore=shutil.ignore_patterns("checkpoints"))
    lines = (tmp_path / "cut/metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut/metrics.csv").write_text(lines[0] + lines[2] + lines[3])
    with pytest.raises(
        ConfigError, match=r"convert\.epochs=\[1\]: .* after 1 epochs in metrics\.csv, only after 2,3; ch"
    ):
        Runs(str(tmp_path / "cut"), target, epochs=[1])()
