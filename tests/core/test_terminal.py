"""Output that a terminal cannot show or does not take."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY_SIZES
from nas_lightning.core.terminal import Forgiving, forgiving_output, screen

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "run.py")]


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"? 0.5 ?"), ("cp1252", b"? 0.5 \xb7"), ("utf-8", None)])
def test_what_an_encoding_lacks_is_replaced(encoding, shown):
    below = stream(encoding)
    Forgiving(below).write("λ 0.5 ·")
    assert below.buffer.getvalue() == (shown or "λ 0.5 ·".encode())


def test_tables_are_drawn_with_what_there_is(monkeypatch):
    from rich.table import Table

    below = stream("ascii")
    monkeypatch.setattr(sys, "stdout", below)
    table = Table("what")
    table.add_row("λ")
    with forgiving_output():
        screen().print(table)
    shown = below.buffer.getvalue().decode()
    assert shown.count("?") == 1
    assert "+---" in shown


def test_a_stream_that_is_gone_is_told_once(caplog):
    caplog.set_level(logging.INFO)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as pipe:
        gone = Forgiving(pipe)
        for _ in range(3):
            gone.write("a line\n")
        gone.flush()
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["the terminal takes no more output"]
    assert not gone.isatty()


def test_a_slow_reader_is_not_taken_for_a_gone_one():
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "w", buffering=1) as pipe, os.fdopen(read) as reader:
        slow = Forgiving(pipe)
        for _ in range(200):
            slow.write(999 * "x" + "\n")  # more than a pipe holds
        os.set_blocking(read, False)
        assert len(os.read(read, 2**20)) >= 2**12
        slow.flush()
        slow.write("the end\n")
        slow.flush()
        assert reader.read().endswith("the end\n")


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with forgiving_output(), forgiving_output():
        assert isinstance(sys.stdout, Forgiving)
    assert (sys.stdout, sys.stderr) == before


SHELLS = {
    "ascii": ("{run}", {"PYTHONIOENCODING": "ascii"}),
    "C locale": ("{run}", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "closed pipe": ("set -o pipefail; {run} | true", {}),
    "closed": ("{run} >&-", {}),
    "full disk": ("{run} > /dev/full", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_run_ends_well_whatever_becomes_of_its_output(shell, images_file, tmp_path):
    command, changed = SHELLS[shell]
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    words = [*RUN, "data=arrays", f"data.path={images_file}", "space=s3", "trainer=cpu", *TINY_SIZES]
    words += [f"hydra.run.dir={tmp_path / 'run'}"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"}
    done = subprocess.run(
        ["bash", "-c", command.format(run=" ".join(words))],
        env={**environment, **changed},
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"Error" not in done.stderr
    assert json.loads((tmp_path / "run/summary.json").read_text())["evaluation"]
    log = (tmp_path / "run/run.log").read_text(encoding="utf-8")
    assert "search: epoch 1 (2/2)" in log
    assert "λ" in log
    assert "left" in log
    assert "test accuracy" in log
    assert "task pipeline · method darts · space s3" in log
    assert "GPU available" not in log
    assert "Tip" not in log


IN_PYTHON = """
import sys, warnings
import nas_lightning as nl
nl.search(nl.compose(sys.argv[2:]), run_dir=sys.argv[1])
"""


@pytest.mark.slow
def test_python_says_what_the_command_line_says(images_file, tmp_path):
    """In a process of its own: pytest has handlers of its own."""
    words = ["data=arrays", f"data.path={images_file}", "space=s3", "trainer=cpu", "~callbacks.curvature", *TINY_SIZES]
    done = subprocess.run(
        [sys.executable, "-c", IN_PYTHON, tmp_path / "run", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "4 classes" in lines[0]
    assert lines[1].startswith("search: epoch 0 (1/2), train loss")
    assert lines[2].endswith("0:00:00 left")
    assert len(lines) == 3
    log = (tmp_path / "run/run.log").read_text(encoding="utf-8")
    assert all(line in log for line in lines[1:])
    assert "search: accuracy on val" in log
