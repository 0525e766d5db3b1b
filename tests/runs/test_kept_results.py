"""Results kept for later runs: found by what decides them, whole or not at all, whatever else writes at that time."""

import json
import os
import signal
import subprocess
import sys
import time

from killed import environment
from nas_lightning.runs.kept_results import KeptResults

DECIDED = {"seed": 1, "evaluation": {"epochs": 2, "betas": (0.5, 0.9)}}
WRITER = """
import sys
from nas_lightning.runs.kept_results import KeptResults
kept = KeptResults(sys.argv[1])
while True:
    kept.keep({"seed": 1}, {"accuracy": 90.0, "by": sys.argv[2] * 200_000})
"""


def test_what_is_kept_is_found(tmp_path):
    kept = KeptResults(tmp_path / "deep" / "kept")
    assert kept.find(DECIDED) is None
    kept.keep(DECIDED, {"accuracy": 90.5})
    assert kept.find(DECIDED) == {"accuracy": 90.5}
    assert KeptResults(str(tmp_path / "deep" / "kept")).find(dict(reversed(DECIDED.items()))) == {"accuracy": 90.5}
    for other in ({**DECIDED, "seed": 2}, {**DECIDED, "evaluation": {}}, {"seed": 1}):
        assert kept.find(other) is None
    assert len(list((tmp_path / "deep" / "kept").iterdir())) == 1


def test_no_folder_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    KeptResults(None).keep(DECIDED, {"accuracy": 90.5})
    assert KeptResults(None).find(DECIDED) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_no_result_and_is_replaced(tmp_path, caplog):
    kept = KeptResults(tmp_path)
    for text in ("", "{", "[]", json.dumps({"decided_by": DECIDED}), json.dumps({"decided_by": {}, "result": {}})):
        kept.path(DECIDED).write_text(text)
        caplog.clear()
        assert kept.find(DECIDED) is None
        assert "is not used" in caplog.text
    kept.keep(DECIDED, {"accuracy": 90.5})
    assert kept.find(DECIDED) == {"accuracy": 90.5}


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    KeptResults(tmp_path / "file").keep(DECIDED, {"accuracy": 90.5})
    assert "cannot be written" in caplog.text


def test_two_writers_and_kills_leave_a_whole_result(tmp_path):
    """Pairs of processes write one result over and over until they are killed; a reader always finds a whole one."""
    kept = KeptResults(tmp_path)
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        writers = [subprocess.Popen([*command, name], env=environment()) for name in "ab"]
        try:
            while not kept.path({"seed": 1}).exists():
                assert [writer.poll() for writer in writers] == [None, None]
                time.sleep(0.01)
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                assert set(kept.find({"seed": 1})["by"]) in ({"a"}, {"b"})
        finally:
            for writer in writers:
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
        found = kept.find({"seed": 1})
        assert (found["accuracy"], len(found["by"])) == (90.0, 200_000)
