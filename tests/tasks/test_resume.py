"""A run that is cut off and resumed ends like one that was not: same bits."""

import json
import re
import shutil

import pytest
import torch
from lightning.pytorch.callbacks import Callback

import nas_lightning as nl
from conftest import TINY_SIZES
from lightning_parts import CrashOnce
from whole_runs import checkpoint_differences, cut_off_and_resumed_equals_whole, outcome, run

pytestmark = pytest.mark.xdist_group("resume")  # in one worker, which makes what they share once
SIZES = ["space=s3", "space.num_nodes=2", "trainer=cpu", "~callbacks.curvature", *TINY_SIZES]
SIZES += ["search.epochs=3", "evaluation.epochs=2"]


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def cut_at(phase, epoch, num_workers):
    """Overrides of a run that is cut off there, if CrashOnce is armed."""
    crash = ["trusted=[lightning_parts]", "+callbacks.crash._target_=lightning_parts.CrashOnce"]
    crash += [f"+callbacks.crash.phase={phase}", f"+callbacks.crash.epoch={epoch}"]
    return [*SIZES, *crash, f"data.num_workers={num_workers}"]


@pytest.fixture(scope="module")
def whole(images_file, tmp_path_factory):
    """A run that nothing cut off, by number of workers."""
    folder = tmp_path_factory.mktemp("whole")
    CrashOnce.armed = False
    for num_workers in (0, 2):
        words = [*cut_at("search", 0, num_workers), "data=arrays", f"data.path={images_file}"]
        run(words, folder / str(num_workers))
    return folder


@pytest.mark.parametrize(
    ("phase", "epoch", "num_workers"),
    [
        ("search", 1, 2),
        ("evaluation", 1, 0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("search", 0, 0), ("search", 1, 0), ("search", 0, 2), ("evaluation", 1, 2))
        ),
    ],
)
def test_resumed_run_equals_uninterrupted_one(images_file, whole, tmp_path, monkeypatch, phase, epoch, num_workers):
    monkeypatch.setattr(CrashOnce, "armed", True)
    with pytest.raises(RuntimeError, match="the machine died"):
        run([*cut_at(phase, epoch, num_workers), "data=arrays", f"data.path={images_file}"], tmp_path / "cut")
    nl.resume(tmp_path / "cut")
    assert not CrashOnce.armed
    found, expected = outcome(tmp_path / "cut"), outcome(whole / str(num_workers))
    for ended in (found, expected):
        ended["summary"].pop("config_hash")  # where to be cut off is part of the configuration
    assert found == expected
    for name in ("last.ckpt", "evaluation/last.ckpt"):
        assert checkpoint_differences(tmp_path / "cut", whole / str(num_workers), name) == []


@pytest.mark.slow
def test_search_cut_off_in_its_second_stage(tiny, tmp_path):
    stages = ["search.epochs=3", "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 2}]", "task=search"]
    # Epoch 1 is one of the second stage: the first has one epoch only.
    cut_off_and_resumed_equals_whole([*tiny, *stages], "search", 1, tmp_path)


def test_resuming_a_finished_run_changes_nothing(whole, tmp_path):
    def content():
        """Of all but the log, which says that it was resumed."""
        files = (path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "run.log")
        return {path: path.read_bytes() for path in files}

    shutil.copytree(whole / "0", tmp_path / "run")
    before = content()
    nl.resume(tmp_path / "run")
    assert before == content()


def test_search_cut_off_after_its_last_epoch_goes_on_to_the_genotype(searched, tmp_path):
    """The last checkpoint may be written and the summary not: no further epoch is trained."""
    shutil.copytree(searched, tmp_path / "run")
    whole = outcome(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    summary.update(search=None, selection=None, genotype=None)
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "run" / "genotype.json").unlink()
    nl.resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == whole


@pytest.mark.parametrize(
    "override", ["search.epochs=9", "evaluation.epochs=9", "seed=3", "space=s2", "data.val_fraction=0.1"]
)
def test_other_overrides_are_refused(searched, override):
    with pytest.raises(nl.ConfigError, match="a resumed run keeps its configuration") as refused:
        nl.resume(searched, [override])
    assert f"start a new run: the command of this one with {override}; " in str(refused.value)


def test_a_group_of_the_trainer_is_refused_with_the_keys_to_write(searched, tmp_path):
    """The run is one of `trainer=cpu`."""
    with pytest.raises(nl.ConfigError, match=r"trainer=gpu: .* write trainer.accelerator=gpu in its place"):
        nl.resume(searched, ["trainer=gpu"])
    with pytest.raises(nl.ConfigError, match="trainer=cpu: this run has these values already; leave it out"):
        nl.resume(searched, ["trainer=cpu"])
    with pytest.raises(nl.ConfigError, match=r"trainer=ddp: .* trainer.strategy=ddp"):
        nl.resume(searched, ["trainer=ddp"])
    with pytest.raises(nl.ConfigError, match=r"write (trainer.accelerator=auto) in its place") as refused:
        nl.resume(searched, ["trainer=default"])
    shutil.copytree(searched, tmp_path / "run")
    word = re.search("write (.*) in its place", str(refused.value)).group(1)
    assert nl.resume(tmp_path / "run", [word])["search"] is not None
    with pytest.raises(nl.ConfigError, match="trainer"):
        nl.resume(searched, ["trainer=nothing"])


class SeenSettings(Callback):
    """Keeps the settings that each fit is given: (trainer.log_every_n_steps, data.num_workers)."""

    seen: list = []  # noqa: RUF012 - shared on purpose

    def on_fit_start(self, trainer, pl_module):
        SeenSettings.seen.append((trainer.log_every_n_steps, trainer.datamodule.num_workers))


def test_allowed_overrides_take_effect(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(SeenSettings, "seen", [])
    monkeypatch.setattr(CrashOnce, "armed", True)
    parts = ["trusted=[lightning_parts,test_resume]", "+callbacks.seen._target_=test_resume.SeenSettings"]
    parts += ["+callbacks.crash._target_=lightning_parts.CrashOnce"]
    parts += ["+callbacks.crash.phase=search", "+callbacks.crash.epoch=1"]
    with pytest.raises(RuntimeError, match="the machine died"):
        run([*tiny, *parts, "task=search"], tmp_path / "run")
    nl.resume(tmp_path / "run", ["trainer.log_every_n_steps=3", "data.num_workers=1"])
    assert SeenSettings.seen == [(50, 0), (3, 1)]


def test_folder_without_a_run(tmp_path):
    with pytest.raises(nl.ConfigError, match="there is no run"):
        nl.resume(tmp_path)


def test_checkpoint_holds_plain_data_only(whole):
    """It loads with torch's safe default: no configuration objects, no pickled parts."""
    paths = list((whole / "0/checkpoints").rglob("*.ckpt"))
    assert len(paths) == 4  # the last and the one before, of the search and of the evaluation
    for path in paths:
        torch.load(path, weights_only=True)
