"""Whole runs of two processes from the command line, however these are started, end alike; so does a resumed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY_SIZES

RUN = str(Path(__file__).parents[2] / "run.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
pytestmark = pytest.mark.slow


def outcome(images, folder, *words, starter=()):
    command = [sys.executable, *starter, RUN, *words]
    if not any(word.startswith("resume=") for word in words):
        sizes = [*TINY_SIZES, "data=arrays", f"data.path={images}", "space=s3", "search.batch_size=8"]
        command += [*sizes, "trainer.accelerator=cpu", "trainer.devices=2", f"hydra.run.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((folder / "summary.json").read_text())
    rows = (folder / "metrics.csv").read_text()
    return summary["genotype"], summary["evaluation"]["test_accuracy"], rows


def test_processes_end_alike_whoever_starts_them(images_file, tmp_path):
    expected = outcome(images_file, tmp_path / "ddp", "trainer=ddp")
    assert outcome(images_file, tmp_path / "spawn", "trainer=ddp_spawn") == expected
    assert outcome(images_file, tmp_path / "torchrun", "trainer=ddp", starter=TORCHRUN) == expected
    summary = tmp_path / "spawn" / "summary.json"
    cut = json.loads(summary.read_text()) | {"search": None, "selection": None, "genotype": None, "evaluation": None}
    summary.write_text(json.dumps(cut))
    (tmp_path / "spawn" / "checkpoints" / "evaluation" / "last.ckpt").unlink()
    assert outcome(images_file, tmp_path / "spawn", f"resume={tmp_path / 'spawn'}") == expected


def test_a_process_that_others_started_needs_a_folder(images_file, tmp_path):
    command = [sys.executable, RUN, "trainer=ddp", "data=arrays", f"data.path={images_file}"]
    environment = {**os.environ, "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment)
    assert ended.returncode == 2
    assert "give hydra.run.dir=" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_sweep_of_runs_of_two_processes(images_file, tmp_path):
    sizes = [*TINY_SIZES, "data=arrays", f"data.path={images_file}", "space=s3", "search.batch_size=8", "seed=0,1"]
    command = [sys.executable, RUN, "-m", *sizes, "trainer=ddp_spawn", "trainer.accelerator=cpu", "trainer.devices=2"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("multirun/sweep/*/genotype.json"))) == 2
