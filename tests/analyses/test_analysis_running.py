"""task=analyse as a user meets it."""

import pytest

import nas_lightning as nl
from analysed import analysis_config
from nas_lightning.analyses.run import analysis_bench
from nas_lightning.config.compose import as_dict, check_overrides_of_another_run
from nas_lightning.config.schema import validate
from nas_lightning.reports import collect
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"analysis=null: .* choose analysis=discretization or analysis=proxies or .* or analysis=strength"),
        (["strength"], r"run=null: this analysis needs the supernet of a search; give run=outputs"),
        (["strength", "run=nowhere"], r"run=nowhere: there is no run"),
    ],
)
def test_mistakes(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nl.ConfigError, match=told) as caught:
        run_task(analysis_config(*words) if words else as_dict(nl.compose(["task=analyse"])), RunFolder("here"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_supernet_is_looked_at_under_its_own_configuration(searched, tmp_path):
    """Data, space and seed are those of the run, the trainer and the analysis those of the command."""
    words = ["task=analyse", "analysis=strength", "analysis.lr=0.1", f"run={searched}", "epoch=1", "trainer=gpu"]
    bench = analysis_bench(validate(as_dict(nl.compose(words))), RunFolder(tmp_path / "a"))
    source = RunFolder(searched).config()
    for key in ("space", "data", "search", "seed", "method", "relaxation", "threads"):
        assert bench.config.to_dict()[key] == source[key], key
    assert bench.config.analysis["lr"] == 0.1
    assert bench.config.trainer["accelerator"] == "gpu"
    assert (bench.config.task, bench.config.epoch, bench.config.run) == ("analyse", 1, str(searched))


def test_a_folder_that_holds_a_run_is_not_overwritten(searched, tmp_path):
    cfg = analysis_config("skip_gap", f"run={searched}")
    nl.analyse(cfg, run_dir=tmp_path / "a")
    with pytest.raises(nl.ConfigError, match="already holds a run"):
        nl.analyse(cfg, run_dir=tmp_path / "a")


def test_a_report_passes_over_analyses(searched, tmp_path):
    nl.analyse(analysis_config("skip_gap", f"run={searched}"), run_dir=tmp_path / "a")
    with pytest.raises(nl.ConfigError, match="finds only analyses, no run"):
        collect(str(tmp_path / "a"))


def test_overrides_that_it_would_not_listen_to():
    check_overrides_of_another_run(["task=analyse", "analysis=strength", "analysis.lr=1", "run=a", "epoch=3", "runs=b"])
    check_overrides_of_another_run(["task=search", "space=s2"])
    for word in ("space=s2", "seed=3", "logger=x", "+regularizer=cutout", "search.epochs=3", "threads=2"):
        with pytest.raises(nl.ConfigError, match=r"task=analyse uses the configuration of its run; .*analysis"):
            check_overrides_of_another_run(["task=analyse", "run=a", word])
    with pytest.raises(nl.ConfigError, match=r"analysis=strength: task=select uses"):
        check_overrides_of_another_run(["task=select", "run=a", "analysis=strength"])
