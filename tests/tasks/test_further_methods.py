"""Further methods in one command: each as its own command would run it, resumed and reported with the whole."""

import pytest

import nas_lightning as nl
from nas_lightning import reports
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks import phases
from nas_lightning.tasks.members import stopping_in
from nas_lightning.tasks.methods import method_benches
from nas_lightning.tasks.resume import is_finished, resume
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench

RS = "+method@methods.sdarts_rs=sdarts_rs"


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def further(*words):
    """The configuration of the only further method."""
    (config,) = nl.config.schema.validate(as_dict(nl.compose(words))).further_methods().values()
    return config.to_dict()


def test_a_further_method_is_the_command_with_that_method(tiny, tmp_path):
    with_another = run([*tiny, RS], tmp_path / "both")
    alone = run([*tiny, "method=sdarts_rs", "space=s3"], tmp_path / "alone")
    plain = run(tiny, tmp_path / "plain")
    kept = with_another["methods"]["sdarts_rs"]
    for key in ("genotype", "config_hash"):
        assert RunFolder(tmp_path / "both/methods/sdarts_rs").summary()[key] == alone[key]
        assert with_another[key] == plain[key]  # nothing of the run itself changes
    assert kept["genotype"] == alone["genotype"]
    assert kept["evaluation"]["test_accuracy"] == alone["evaluation"]["test_accuracy"]
    assert plain["methods"] is None
    frame = reports.collect(str(tmp_path / "both"))
    assert sorted(frame["method"]) == ["darts", "sdarts_rs"]


def test_a_further_method_that_was_stopped_is_resumed(tiny, tmp_path, monkeypatch):
    words = [*tiny, RS, "+selector@readings.same=magnitude"]

    def stop(member):
        raise Interrupted("stopped")

    monkeypatch.setattr(phases, "_run_method", stop)
    with pytest.raises(Interrupted, match=r"^stopped in method sdarts_rs; continue with resume=run$"):
        run(words, tmp_path / "run")
    monkeypatch.undo()
    before = RunFolder(tmp_path / "run").summary()
    assert before["readings"]["same"]["genotype"] == before["genotype"]
    assert not is_finished(before)
    after = resume(tmp_path / "run")
    assert is_finished(after)
    assert list(after["methods"]) == ["sdarts_rs"]


def test_parts_are_those_of_the_method_and_the_rest_is_that_of_the_run():
    run_of = ["method=drnas_progressive", "space=s2", "seed=7", "+regularizer=cutout"]
    config = further(*run_of, "+method@methods.pc=pc_darts", "+when/method_data@methods.pc=pc_darts_digits")
    own = as_dict(nl.compose(["method=pc_darts"]))  # on the digits, too
    for section in ("relaxation", "hypergradient", "perturbation", "selector", "regularizer", "control"):
        assert config[section] == own[section], section
    assert config["space"] == as_dict(nl.compose(["space=s2"]))["space"]
    assert (config["method"], config["seed"], config["search"]["epochs"]) == ("pc", 7, 10)
    assert config["search"]["arch"]["lr"] == own["search"]["arch"]["lr"] == 3e-3
    assert config["search"]["stages"] is None  # two, of the run
    assert config["methods"] == config["readings"] == {}


def test_candidates_are_those_of_the_method(tmp_path):
    four = further("space=s1", "candidates.epochs=3", "+method@methods.rdarts_l2=rdarts_l2")["candidates"]
    assert (four["key"], four["epochs"]) == ("search.weights.weight_decay", 3)
    one = further("method=rdarts_l2", "space=s1", "+method@methods.darts=darts")["candidates"]
    assert one["key"] is None


def test_the_method_of_the_run_is_not_run_twice(tmp_path):
    words = ["data=digits", "method=sdarts_rs", RS]
    assert method_benches(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path))) == {}
    assert list(method_benches(Workbench(as_dict(nl.compose([*words, "method=darts"])), RunFolder(tmp_path)))) == [
        "sdarts_rs"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+methods.mine.perturbation=3"], r"methods\.mine: is no method; add one by \+method@methods\.mine=METHOD"),
        ([RS, "+methods.sdarts_rs.data=1"], r"methods\.sdarts_rs\.data: is no section of a method"),
        ([RS, "methods.sdarts_rs.perturbation.maximum=x"], r"perturbation\.maximum=x.*\(in methods\.sdarts_rs\)"),
        (["+method@methods.darts=sdarts_rs"], r"methods\.darts: has the name of the method of the run"),
        ([RS, "+selector@readings.sdarts_rs=magnitude"], r"methods\.sdarts_rs: has the name of readings\.sdarts_rs"),
    ],
)
def test_what_is_no_further_method_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        nl.compose(words)


def test_only_a_stop_is_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        pytest.raises(Interrupted, match="stopped in candidate 3; continue with resume="),
        stopping_in("candidate 3", folder),
    ):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), stopping_in("candidate 3", folder):
        raise ZeroDivisionError
