"""Too little memory for a library or an array is one line with the remedy, on the command line and in Python."""

import subprocess
import sys

import pytest

from killed import PROGRAM, environment
from nas_lightning.core.errors import exit_code, lack_of_memory

LIBRARY = "libtorch_cpu.so: failed to map segment from shared object"
OF_NUMPY = f"IMPORTANT: PLEASE READ THIS\n\nImporting the numpy C-extensions failed. Original error was: {LIBRARY}\n"
KIB = 400_000  # address space, in which numpy can be loaded and torch cannot
PYTHON = [sys.executable, "-c", "import nas_lightning as nl; nl.search"]


@pytest.mark.parametrize("text", [LIBRARY, OF_NUMPY])
def test_a_library_that_does_not_fit_names_the_limit(text):
    code, line = exit_code(ImportError(text))
    assert code == 1
    assert line.startswith(f"too little memory ({LIBRARY}): free some, or allow more, ulimit -v unlimited")


def test_an_array_that_does_not_fit():
    assert "(Unable to allocate 3 GiB): free some" in exit_code(MemoryError("Unable to allocate 3 GiB"))[1]
    assert "(MemoryError)" in exit_code(MemoryError())[1]


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), ValueError(LIBRARY), OSError("full")])
def test_other_errors_keep_their_lines(error):
    assert lack_of_memory(error) is None


@pytest.mark.slow
@pytest.mark.parametrize("words", [[*PROGRAM, "task=report", "runs=x"], PYTHON], ids=["command line", "Python"])
def test_the_limit_of_a_shell(words, tmp_path):
    limited = ["bash", "-c", f'ulimit -v {KIB}; exec "$@"', "bash", *words]
    found = subprocess.run(limited, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    *before, last = found.stderr.strip().splitlines()
    assert "failed to map segment" in last, found.stderr
    assert "ulimit -v unlimited" in last
    assert found.returncode == 1
    if words is not PYTHON:
        assert before == []
