"""Two processes never run in one folder."""

import subprocess
import sys

import pytest

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
