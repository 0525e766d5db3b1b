"""Two processes never run in one folder: the lock, its exceptions and its release."""

import errno
import subprocess
import sys

import pytest

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import lock
from nas_lightning.runs.folder import RunFolder

HOLDING = """
import sys
from nas_lightning.runs.folder import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_is_at_work_is_refused_and_free_after_a_kill(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.claim({"seed": 1})
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0)
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process runs it"), folder.locked():
            pass
        other.kill()
        other.wait()
    with folder.locked(), folder.locked():  # within one process a part of a run may lock again
        assert folder.config() == {"seed": 1}


def test_only_rank_0_locks_a_folder_that_has_a_configuration(tmp_path, monkeypatch):
    with lock.locked(tmp_path / "new", "new"):
        assert not lock._LOCKED
    RunFolder(tmp_path).claim({"seed": 1})
    with lock.locked(tmp_path, "run"):
        assert {str(tmp_path)} == lock._LOCKED
    assert not lock._LOCKED
    monkeypatch.setattr(ranks, "is_first", lambda: False)
    with lock.locked(tmp_path, "run"):
        assert not lock._LOCKED


def test_an_error_releases_the_lock(tmp_path):
    RunFolder(tmp_path).claim({"seed": 1})
    with pytest.raises(ZeroDivisionError), lock.locked(tmp_path, "run"):
        _ = 1 / 0
    assert not lock._LOCKED
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout == b"held\n"


def test_a_file_system_without_locks_runs_unlocked(tmp_path, monkeypatch, caplog):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    RunFolder(tmp_path).claim({"seed": 1})
    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with caplog.at_level("INFO"), lock.locked(tmp_path, "run"):
        assert caplog.messages == ["run cannot be locked: [Errno 37] No locks available"]
