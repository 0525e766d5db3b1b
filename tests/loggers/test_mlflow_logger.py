"""MLflow: the store in the run folder is read back with MLflow's own client."""

import pytest

import nas_lightning as nl
from lightning_parts import CrashOnce
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_resumed_run_is_one_run_of_mlflow(tiny, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = RunFolder(tmp_path / "run")
    crash = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    crash += ["+callbacks.crash.phase=search", "+callbacks.crash.epoch=1"]
    CrashOnce.armed = True
    with pytest.raises(RuntimeError, match="the machine died"):
        run_task(as_dict(nl.compose([*tiny, *crash, "logger=mlflow", "tags=[mine]"])), folder)
    nl.resume(folder.path)

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.path}/mlflow/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    assert experiment.name == "darts-s3-arrays"
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["search/epochs"] == "2"
    assert (run.data.tags["mine"], run.data.tags["method"], run.data.tags["seed"]) == ("true", "darts", "0")
    table = folder.read_metrics()
    for phase, offset in (("search", 0), ("evaluation", 2)):
        history = sorted(client.get_metric_history(run.info.run_id, f"{phase}/train_loss"), key=lambda one: one.step)
        wanted = [float(row["train_loss"]) for row in table if row["phase"] == phase]
        assert [one.value for one in history] == pytest.approx(wanted, rel=1e-6)
        assert [one.step for one in history] == [offset, offset + 1]
    assert run.data.metrics["evaluation/test_accuracy"] == folder.summary()["evaluation"]["test_accuracy"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"genotype.json", "summary.json", "images"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
