"""One supernet read by several selectors: each as `task=select` would, evaluated, resumed and reported."""

import errno
import json

import pytest

import nas_lightning as nl
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.config.schema import validate
from nas_lightning.core.errors import ConfigError, Interrupted, MachineError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.evaluation import Tabular
from nas_lightning.reports import tables
from nas_lightning.runs.faults import reporting_failures
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks import phases
from nas_lightning.tasks.genotype import evaluation_config
from nas_lightning.tasks.pipeline import config_of_run
from nas_lightning.tasks.resume import is_finished, resume
from nas_lightning.tasks.run import run_task

TWO = [
    "+selector@readings.same=magnitude",
    "+selector@readings.lost=perturbation",
    "+readings.lost.epochs=0",
]


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def found(summary):
    return {name: (part["genotype"], part["evaluation"]["test_accuracy"]) for name, part in summary["readings"].items()}


@pytest.mark.slow
def test_readings_are_those_of_a_selection_by_hand(tiny, tmp_path):
    summary = run([*tiny, *TWO], tmp_path / "run")
    assert summary["readings"]["same"]["genotype"] == summary["genotype"]
    assert summary["readings"]["same"]["evaluation"]["test_accuracy"] == summary["evaluation"]["test_accuracy"]
    words = ["task=select", f"run={tmp_path / 'run'}", "selector=perturbation", "selector.epochs=0"]
    by_hand = run(words, tmp_path / "hand")
    assert summary["readings"]["lost"]["genotype"] == by_hand["genotype"]
    assert RunFolder(tmp_path / "run/readings/lost").summary()["method"] == "lost"
    frame = reports.collect(str(tmp_path / "run")).set_index("method")["test_accuracy"]
    assert dict(frame) == {"darts": summary["evaluation"]["test_accuracy"]} | {
        name: part["evaluation"]["test_accuracy"] for name, part in summary["readings"].items()
    }
    plain = run(tiny, tmp_path / "plain")
    assert plain["readings"] is None
    for key in ("genotype", "config_hash"):  # what was read afterwards changes nothing of the run
        assert plain[key] == summary[key]


@pytest.mark.slow
def test_a_reading_that_was_stopped_is_resumed(tiny, tmp_path, monkeypatch, caplog):
    whole = run([*tiny, *TWO], tmp_path / "whole")
    evaluate = phases._evaluate_reading

    def stop(member, genotype):
        if member.folder.path.name == "lost":
            raise Interrupted(f"stopped; continue with {member.folder.command()}")
        return evaluate(member, genotype)

    monkeypatch.setattr(phases, "_evaluate_reading", stop)
    with pytest.raises(Interrupted, match=r"stopped in reading lost; continue with resume=run$"):
        run([*tiny, *TWO], tmp_path / "run")
    monkeypatch.undo()
    before = RunFolder(tmp_path / "run").summary()
    assert before["evaluation"] is not None
    assert not is_finished(before)
    where = str(tmp_path / "run")
    frame = reports.collect(where)
    assert frame.attrs["unfinished"] == [(where, "readings not finished; its other results are counted")]
    assert f"if it has stopped, continue with resume={where}\n" in caplog.text
    after = resume(tmp_path / "run")
    assert reports.collect(where).attrs["unfinished"] == []
    assert is_finished(after)
    assert found(after) == found(whole)


@pytest.mark.slow
def test_an_evaluation_by_hand_is_grouped_with_the_search_that_found_its_genotype(tiny, tmp_path):
    """Before, it had the parts of its own command: one group with every other selection of the method."""
    home, one = tmp_path / "runs", [*tiny, "seed=3", "search.arch.lr=0.3"]
    whole = run(one, home / "whole")
    run([*one, "task=search"], home / "search")
    run(["task=select", f"run={home / 'search'}", "selector=perturbation", "selector.epochs=0"], home / "selected")
    evaluate = [*tiny, "task=evaluate", "seed=3"]
    again = run([*evaluate, f"genotype={home / 'search'}"], home / "first")
    run([*evaluate, f"genotype={home / 'selected'}"], home / "second")
    hashes = {path.name: RunFolder(path).summary()["config_hash"] for path in home.iterdir()}
    assert hashes["whole"] == hashes["search"] == hashes["first"]
    assert hashes["selected"] == hashes["second"] != hashes["whole"]
    assert again["evaluation"]["test_accuracy"] == whole["evaluation"]["test_accuracy"]  # the same seed
    table = tables.summarise(reports.collect(str(home)))
    judged = table[table["n"] > 0]  # searches and selections alone have no accuracy
    assert dict(zip(judged["variant"].str.contains("Perturbation"), judged["n"], strict=True)) == {False: 2, True: 1}
    assert all(judged["variant"])
    assert set(table["method"]) == {"darts"}


def test_parts_that_the_command_does_not_trust_are_not_taken(tiny, tmp_path):
    run([*tiny, "task=search"], tmp_path / "search")
    text = (tmp_path / "search/config.yaml").read_text()
    (tmp_path / "search/config.yaml").write_text(text.replace("nas_lightning.selectors.Magnitude", "foreign.Mine"))
    config = validate(as_dict(nl.compose([*tiny, "task=evaluate", f"genotype={tmp_path / 'search'}"])))
    assert evaluation_config(config) is config
    assert config_of_run(config) is config


@pytest.mark.parametrize("part", ["readings/lost", "candidates/0", "random_baseline/3"])
def test_a_part_of_a_run_is_resumed_by_the_whole(tmp_path, monkeypatch, part):
    monkeypatch.chdir(tmp_path)
    RunFolder("run").claim({"seed": 1})
    inner = RunFolder(f"run/{part}")
    with pytest.raises(MachineError, match=r"continue with resume=run$"), reporting_failures(inner):
        raise OSError(errno.ENOSPC, "full")
    (tmp_path / "run/config.yaml").unlink()  # a folder of that name which belongs to no run
    assert inner.command("data.num_workers=0") == f"resume=run/{part} data.num_workers=0"


@pytest.mark.slow
def test_a_failure_of_the_machine_in_a_reading_names_the_run(tiny, tmp_path, monkeypatch):
    def fail(member, genotype):
        with phases.guarded(member.folder):
            raise OSError(errno.ENOSPC, "full", str(member.folder.path / "weights"))

    monkeypatch.setattr(phases, "_evaluate_reading", fail)
    with pytest.raises(MachineError, match=r"^run/readings/same cannot be written.*, then continue with resume=run$"):
        run([*tiny, *TWO], tmp_path / "run")
    monkeypatch.undo()
    assert is_finished(resume(tmp_path / "run"))


@pytest.mark.slow
def test_a_search_alone_is_read_without_an_evaluation(tiny, tmp_path, capsys):
    summary = run([*tiny, *TWO, "task=search"], tmp_path / "run")
    assert set(summary["readings"]) == {"same", "lost"}
    assert str(Genotype.from_dict(summary["genotype"])).splitlines()[0] in capsys.readouterr().out
    assert {part["evaluation"] for part in summary["readings"].values()} == {None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["candidates.key=seed", "candidates.values=2", "candidates.epochs=1"], r"candidates\.key=seed trains several"),
        (["+selector@readings.darts=magnitude"], r"readings\.darts: is the method of the search"),
        (["method=random_search"], r"readings\.\w+: (no supernet is trained|reads one supernet)"),
    ],
)
def test_a_search_that_has_no_single_supernet_is_refused(tiny, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        run([*tiny, *TWO, *words], tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def gone(self, bench):
    raise ConfigError("gone")


@pytest.mark.slow
def test_the_experiment_draws_what_its_table_says(tiny, tmp_path, capsys, monkeypatch, caplog):
    """At a size of seconds: the accuracies of the final table are those of the benchmark."""
    sizes = ["search.epochs=2", "search.batch_size=64", "search.init_channels=2", "trainer=cpu"]
    sizes += ["data.test_fraction=0.85", "~callbacks.curvature", "+readings.darts_pt.epochs=0"]
    summary = run(["experiment=rethinking", *sizes], tmp_path / "run")
    assert (tmp_path / "run/plots/readings.svg").exists()
    shown = capsys.readouterr().out
    for section in (summary["evaluation"], summary["readings"]["darts_pt"]["evaluation"]):
        assert f"{section['test_accuracy']:.2f} %" in shown
        assert section["dataset"] == "cifar10"
    assert "one cell at random" in shown
    assert "87.06 %" in shown
    assert set(summary["methods"]) == {"sdarts_rs"}
    assert f"{summary['methods']['sdarts_rs']['evaluation']['test_accuracy']:.2f} %" in shown
    kept = json.loads((tmp_path / "run/summary.json").read_text())
    assert kept["readings"]["darts_pt"]["genotype"]["arch_str"].startswith("|")
    words = ["task=select", f"run={tmp_path / 'run'}", "selector.epochs=0", "selector=perturbation"]
    by_hand = run(words, tmp_path / "hand")  # looked up at once, since that costs nothing
    assert by_hand["evaluation"]["test_accuracy"] == kept["readings"]["darts_pt"]["evaluation"]["test_accuracy"]
    monkeypatch.setattr(Tabular, "check", gone)
    words[-2:] = ["selector=magnitude"]
    assert run(words, tmp_path / "without")["evaluation"] is None
    assert "the genotype is not looked up: gone" in caplog.text
    assert "train its genotype: the command of the search with task=evaluate" in capsys.readouterr().out
