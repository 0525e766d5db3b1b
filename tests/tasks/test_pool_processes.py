"""A pool of two real processes: it suggests and keeps what one does, and is resumed to the bit after a kill."""

import json
import os
import signal
import subprocess
import time

import pytest

from conftest import TINY_SIZES
from killed import PROGRAM, environment
from nas_lightning.config.compose import checked
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task
from pool_parts import pool_of
from whole_runs import checkpoint_differences

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]
POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
DRAWN = [*POOL, "+candidates.proposer._target_=pool_parts.Drawn", "proxy@candidates.screen=snip"]
SIZES = ["candidates.pool=3", "candidates.initial=2", "candidates.batch=1", "candidates.levels=[1,2]"]
TWO = ["trainer.devices=2", "trainer.strategy=ddp_spawn", "evaluation.batch_size=8"]


def events_of(folder):
    file = folder / "pool.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_two_processes_fill_a_pool_and_are_resumed(images_file, tmp_path):
    words = ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2", "trainer=cpu"]
    words += ["~callbacks.curvature", *TINY_SIZES, *DRAWN, *SIZES]
    run_task(checked(words), RunFolder(tmp_path / "one"))
    run_task(checked([*words, *TWO]), RunFolder(tmp_path / "two"))
    one, two = events_of(tmp_path / "one"), events_of(tmp_path / "two")
    # Candidates are drawn and screened alike. What a training gives differs: normalisation sees half of each batch.
    proposed = [[{**e, "took": 0} for e in events if e["event"] == "proposed"] for events in (one, two)]
    assert proposed[0] == proposed[1]
    assert len(proposed[0]) == 2
    for events in (one, two):
        joined = [(e["index"], e["epochs"]) for e in events if e["event"] == "judged" and e["level"] == 0]
        assert joined == [(0, 1), (1, 1), (2, 1)]
        assert all(e["value"] is not None for e in events if e["event"] == "judged")

    command = [*PROGRAM, *words, *TWO, f"hydra.run.dir={tmp_path / 'cut'}"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and len(events_of(tmp_path / "cut")) < 3:  # two of the first generation are judged
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    begun = events_of(tmp_path / "cut")
    assert 3 <= len(begun) < len(two)
    resume(tmp_path / "cut")
    assert pool_of(tmp_path / "cut") == pool_of(tmp_path / "two")
    assert events_of(tmp_path / "cut")[: len(begun)] == begun
    for index in range(3):
        members = [tmp_path / name / "candidates" / str(index) for name in ("cut", "two")]
        assert checkpoint_differences(*members, "evaluation/last.ckpt") == []
