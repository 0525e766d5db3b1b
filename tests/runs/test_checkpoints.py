"""Checkpoint files: what is refused on reading, the rotation, and the choice of the one to resume from."""

import pytest
import torch

from nas_lightning.core.errors import ConfigError, DamagedCheckpointError
from nas_lightning.runs import checkpoints
from nas_lightning.runs.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim({"seed": 1})
    return folder


def checkpoint(folder, number=0, **changes):
    """A checkpoint of the folder's run that `number` distinguishes from others."""
    stamp = {"format": checkpoints.FORMAT, "run": folder.fingerprint()}
    return {"state_dict": {"weight": torch.full((2,), float(number))}, "nas_lightning": stamp, **changes}


def number(saved):
    return int(saved["state_dict"]["weight"][0])


def save(folder, name, value):
    checkpoints.write(folder.checkpoints / name, checkpoint(folder, value))


def test_a_checkpoint_is_read_as_it_was_written(folder):
    assert checkpoints.read(folder, "last.ckpt") is None
    save(folder, "evaluation/last.ckpt", 3)
    assert number(checkpoints.read(folder, "evaluation/last.ckpt")) == 3
    assert [file.name for file in (folder.checkpoints / "evaluation").iterdir()] == ["last.ckpt"]


def test_a_full_disk_keeps_the_old_checkpoint(folder, monkeypatch):
    save(folder, "last.ckpt", 1)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, "last.ckpt", 2)
    assert number(checkpoints.read(folder, "last.ckpt")) == 1
    assert [file.name for file in folder.checkpoints.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda whole: whole[: len(whole) // 2], r"is damaged \(.*zip"),
        (lambda whole: whole.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x00\x40", 1), "wrong checksum"),
        (lambda whole: b"hello", r"is damaged \(.*zip"),
    ],
    ids=["cut", "changed", "text"],
)
def test_a_damaged_file_is_refused(folder, content, reason):
    save(folder, "last.ckpt", 1)
    path = folder.checkpoints / "last.ckpt"
    whole = path.read_bytes()
    path.write_bytes(content(whole))
    assert path.read_bytes() != whole
    with pytest.raises(DamagedCheckpointError, match=reason) as raised:
        checkpoints.read(folder, "last.ckpt")
    assert "\n" not in str(raised.value)


def test_a_file_of_torch_that_is_no_checkpoint_is_refused(folder):
    checkpoints.write(folder.checkpoints / "last.ckpt", {"weights": torch.zeros(1)})
    with pytest.raises(DamagedCheckpointError, match="no state_dict in it"):
        checkpoints.read(folder, "last.ckpt")


def test_other_formats_and_other_runs_are_refused(folder, tmp_path):
    path = folder.checkpoints / "last.ckpt"
    newer = {"format": checkpoints.FORMAT + 1, "run": folder.fingerprint()}
    checkpoints.write(path, checkpoint(folder, nas_lightning=newer))
    with pytest.raises(ConfigError, match=rf"format {checkpoints.FORMAT + 1}, this version reads") as raised:
        checkpoints.read(folder, "last.ckpt")
    assert not isinstance(raised.value, DamagedCheckpointError)  # a resume must not skip it silently
    other = RunFolder(tmp_path / "other")
    other.claim({"seed": 2})
    checkpoints.write(path, checkpoint(other))
    with pytest.raises(DamagedCheckpointError, match="belong to different runs"):
        checkpoints.read(folder, "last.ckpt")


def test_promote_keeps_two_checkpoints_and_the_copy_that_is_asked_for(folder):
    for value in range(3):
        save(folder, "next.ckpt", value)
        checkpoints.promote(folder.checkpoints, "epoch=1.ckpt" if value == 1 else None)
    kept = {file.name: number(torch.load(file)) for file in folder.checkpoints.iterdir()}
    assert kept == {"last.ckpt": 2, "previous.ckpt": 1, "epoch=1.ckpt": 1}


def test_the_newest_sound_checkpoint_is_resumed_from(folder, caplog):
    assert checkpoints.resumable(folder) is None
    save(folder, "previous.ckpt", 1)  # alone after a kill between the two renames of `promote`
    path, saved = checkpoints.resumable(folder)
    assert (path, number(saved)) == (folder.checkpoints / "previous.ckpt", 1)
    save(folder, "last.ckpt", 2)
    path, saved = checkpoints.resumable(folder)
    assert (path, number(saved)) == (folder.checkpoints / "last.ckpt", 2)
    assert not caplog.records
    path.write_text("hello")
    path, saved = checkpoints.resumable(folder)
    assert (path, number(saved)) == (folder.checkpoints / "previous.ckpt", 1)
    assert len(caplog.messages) == 1
    assert "last.ckpt is damaged" in caplog.messages[0]
    assert sorted(file.name for file in folder.checkpoints.iterdir()) == ["damaged.ckpt", "previous.ckpt"]


def test_without_a_sound_checkpoint_the_resume_is_refused(folder):
    save(folder, "evaluation/last.ckpt", 1)
    (folder.checkpoints / "evaluation/last.ckpt").write_text("hello")
    with pytest.raises(DamagedCheckpointError, match=r"evaluation/last\.ckpt is damaged.*delete it, and resume="):
        checkpoints.resumable(folder, "evaluation")
    (folder.checkpoints / "evaluation/previous.ckpt").write_text("hello")
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt is damaged.*so is previous\.ckpt"):
        checkpoints.resumable(folder, "evaluation")
    assert checkpoints.resumable(folder) is None  # the search has checkpoints of its own
