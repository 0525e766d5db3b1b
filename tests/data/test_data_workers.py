"""Processes that load images and die: one line with the remedy, the state saved, and the remedy works."""

import contextlib
import json
import resource
import shutil

import pytest

import commands
from commands import _logging_as_found  # noqa: F401 - a fixture
from conftest import write_images
from followed import advised, command
from whole_runs import checkpoint_differences, outcome, run

WORDS = [
    *("data._target_=deadly_data.DeadlyArrays", "trusted=[deadly_data]"),
    *("data=arrays", "data.num_workers=1", "data.prefetch_factor=1", "task=search", "space=s3", "space.num_nodes=2"),
    *("trainer=cpu", "~callbacks.curvature", "search.epochs=2", "search.batch_size=2", "search.init_channels=2"),
    "search.layers=3",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run whose workers live."""
    folder = tmp_path_factory.mktemp("whole")
    write_images(folder / "images.npz")
    with contextlib.chdir(folder):
        run([*WORDS, "data.path=images.npz"], folder / "run")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGBUS"])
def test_a_worker_that_dies_ends_the_run_in_one_line_and_the_advice_works(whole, tmp_path, number):
    shutil.copy(whole / "images.npz", tmp_path / "images.npz")
    (tmp_path / "images.npz.deadly").write_text(number)
    ended = command([*WORDS, "data.path=images.npz", "hydra.run.dir=my run"], tmp_path)
    assert ended.code == 1
    assert number in ended.line
    assert "Traceback" not in ended.err
    words = advised(ended.line)
    assert words == ["resume=my run", "data.num_workers=0"]
    # The state is that after the last batch of the first epoch, before which the process died.
    assert (tmp_path / "my run/checkpoints/last.ckpt").exists()
    assert not (tmp_path / "my run/checkpoints/previous.ckpt").exists()
    with contextlib.chdir(tmp_path):
        assert commands.run(words) == 0
    assert outcome(tmp_path / "my run") == outcome(whole / "run")
    assert checkpoint_differences(tmp_path / "my run", whole / "run", "last.ckpt") == []


@pytest.mark.slow
def test_too_many_open_files(whole, tmp_path):
    shutil.copy(whole / "images.npz", tmp_path / "images.npz")
    many = ["data.num_workers=8", "data.prefetch_factor=8", "search.batch_size=1"]

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    ended = command([*WORDS, *many, "data.path=images.npz", "hydra.run.dir=run"], tmp_path, preexec_fn=few_files)
    assert ended.code == 1
    assert "too many open files (ulimit -n is 64)" in ended.line
    ended = command(advised(ended.line), tmp_path, preexec_fn=few_files)
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run/summary.json").read_text())["search"] is not None
