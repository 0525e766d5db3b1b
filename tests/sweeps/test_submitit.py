"""A job of submitit that is preempted: it saves, is queued again and goes on where it was (without a real SLURM)."""

import os
import subprocess
import sys
import time

import pytest

import nas_lightning as nl
from killed import PROGRAM, SMALL, environment
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import continue_task
from nas_lightning.training.workbench import Workbench
from whole_runs import checkpoint_differences

submitit = pytest.importorskip("submitit")


@pytest.mark.slow
def test_a_preempted_job_saves_is_queued_again_and_goes_on(images_file, tmp_path):
    """What submitit's launcher pickles is started as its workers start it, gets SIGUSR2, and is started again."""
    from submitit.core.utils import DelayedSubmission
    from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

    words = [*SMALL, "data=arrays", f"data.path={images_file}", "~callbacks.curvature", "task=search"]
    words += ["search.epochs=4", "search.batch_size=1", "trusted=[lightning_parts]"]
    words += ["+callbacks.third._target_=lightning_parts.TouchAtThirdBatch"]
    third = tmp_path / "third"
    words.append(f"+callbacks.third.path={third}")
    whole = [*words, "hydra.run.dir=whole"]
    subprocess.run([*PROGRAM, *whole], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    third.unlink()

    folder, job = tmp_path / "jobs", "7"
    folder.mkdir()
    job_of = DelayedSubmission(Job([*words, "hydra.run.dir=mine"]))
    job_of.set_timeout(60, 3)
    job_of.dump(folder / f"{job}_submitted.pkl")
    settings = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": job, "SUBMITIT_LOCAL_GLOBALID": "0"}
    command = [sys.executable, "-m", "submitit.core._submit", str(folder)]

    def start():
        return subprocess.Popen(
            command, cwd=tmp_path, env={**environment(), **settings}, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )

    process = start()
    while not third.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(submitit.JobEnvironment._usr_sig())
    _, err = process.communicate(timeout=120)
    assert process.returncode == LOCAL_REQUEUE_RETURN_CODE, err
    assert not (tmp_path / "mine/metrics.csv").exists()  # in the middle of the first epoch
    assert (tmp_path / "mine/checkpoints/last.ckpt").exists()
    process = start()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert (tmp_path / "mine/genotype.json").read_text() == (tmp_path / "whole/genotype.json").read_text()
    assert (tmp_path / "mine/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    assert checkpoint_differences(tmp_path / "mine", tmp_path / "whole", "last.ckpt") == []


class Job:
    """A command line as a job that can be queued again, as Hydra's launcher makes them."""

    def __init__(self, words):
        self.words = words

    def __call__(self):
        from nas_lightning.cli.main import main

        main(self.words)

    def checkpoint(self):
        return submitit.helpers.DelayedSubmission(self)


@pytest.mark.slow
def test_a_member_that_is_queued_again_goes_on_although_finished_ones_are_not_skipped(tiny, tmp_path, monkeypatch):
    """`skip_finished=false` refuses the folders of sweeps of before, not the job's own."""
    config, folder = as_dict(nl.compose([*tiny, "task=search", "skip_finished=false"])), RunFolder(tmp_path / "run")
    summary, before = continue_task(config, folder)
    assert not before
    with pytest.raises(nl.ConfigError, match="skip_finished=false"):
        continue_task(config, folder)
    monkeypatch.setitem(os.environ, "SUBMITIT_EXECUTOR", "local")
    assert continue_task(config, folder) == (summary, True)
    with pytest.raises(nl.ConfigError, match="skip_finished=false"):  # another run's folder
        continue_task({**config, "seed": 7}, folder)


def test_lightning_leaves_the_queue_alone(tiny, tmp_path, monkeypatch):
    """Its own way to queue a SLURM job again would use another signal and another checkpoint."""
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "mine"}.items():
        monkeypatch.setitem(os.environ, name, value)
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setitem(os.environ, name, "0")
    bench = Workbench(as_dict(nl.compose(tiny)), RunFolder(tmp_path / "run"))
    trainer = bench.plain_trainer([], max_epochs=1)
    assert not trainer._accelerator_connector.cluster_environment.auto_requeue
