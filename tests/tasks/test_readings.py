"""One supernet read by several selectors: each as `task=select` would, evaluated, resumed and reported."""

import json

import pytest

import nas_lightning as nl
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.genotypes import Genotype
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks import phases
from nas_lightning.tasks.resume import is_finished, resume
from nas_lightning.tasks.run import run_task

TWO = [
    "space.num_nodes=2",
    "+selector@readings.same=magnitude",
    "+selector@readings.lost=perturbation",
    "+readings.lost.epochs=0",
]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def found(summary):
    return {name: (part["genotype"], part["evaluation"]["test_accuracy"]) for name, part in summary["readings"].items()}


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
    plain = run([*tiny, "space.num_nodes=2"], tmp_path / "plain")
    assert plain["readings"] is None
    for key in ("genotype", "config_hash"):  # what was read afterwards changes nothing of the run
        assert plain[key] == summary[key]


def test_a_reading_that_was_stopped_is_resumed(tiny, tmp_path, monkeypatch):
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
    after = resume(tmp_path / "run")
    assert is_finished(after)
    assert found(after) == found(whole)


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


def test_the_experiment_draws_what_its_table_says(tiny, tmp_path, capsys):
    """At a size of seconds: the accuracies of the final table are those of the benchmark."""
    sizes = ["search.epochs=2", "search.batch_size=256", "search.init_channels=2", "trainer=cpu"]
    summary = run(["experiment=rethinking", *sizes], tmp_path / "run")
    assert (tmp_path / "run/plots/readings.svg").exists()
    shown = capsys.readouterr().out
    for section in (summary["evaluation"], summary["readings"]["darts_pt"]["evaluation"]):
        assert f"{section['test_accuracy']:.2f} %" in shown
        assert section["dataset"] == "cifar10"
    assert "one cell at random" in shown
    assert "87.06 %" in shown
    kept = json.loads((tmp_path / "run/summary.json").read_text())
    assert kept["readings"]["darts_pt"]["genotype"]["arch_str"].startswith("|")
