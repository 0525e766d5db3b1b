"""The log of a Python program, and that of a run within it."""

import logging
import subprocess
import sys
import warnings

from nas_lightning.runs.logs import also_logging_to, quietly

OURS = logging.getLogger("nas_lightning.some.module")
PROGRAM = """
import logging, sys
from pathlib import Path
from nas_lightning.runs.logs import also_logging_to
{setting}
log = logging.getLogger("nas_lightning.some.module")
with also_logging_to(Path(sys.argv[1])):
    log.info("an epoch")
    log.warning("a warning")
log.info("after")
"""


def said(folder, setting):
    """In a process of its own: pytest has handlers at the root."""
    code = PROGRAM.format(setting=setting)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    return done.stderr.splitlines(), (folder / "run.log").read_text()


def test_a_program_without_a_log_sees_warnings(tmp_path):
    shown, written = said(tmp_path, "")
    assert shown == ["a warning"]
    assert "an epoch" in written
    assert "a warning" in written
    assert "after" not in written


def test_a_programs_own_log_is_as_it_would_be_without_the_file(tmp_path):
    for level, expected in (("WARNING", ["a warning"]), ("INFO", ["an epoch", "a warning", "after"])):
        shown, written = said(tmp_path, f"logging.basicConfig(level='{level}', format='%(message)s')")
        assert shown == expected
        assert "an epoch" in written


def test_everything_is_put_back(tmp_path):
    package = logging.getLogger("nas_lightning")
    before = package.level, package.propagate, package.handlers[:]
    lightning, shown = logging.getLogger("lightning.pytorch"), warnings.showwarning
    level = lightning.level
    with quietly(), also_logging_to(tmp_path):
        assert lightning.level == logging.WARNING
        assert warnings.showwarning is not shown
    assert (package.level, package.propagate, package.handlers) == before
    assert lightning.level == level
    assert warnings.showwarning is shown


def test_what_libraries_will_change_is_for_the_file_alone(tmp_path, caplog):
    with quietly(), also_logging_to(tmp_path):
        warnings.showwarning("soon", FutureWarning, "file", 1)
        warnings.showwarning("now", UserWarning, "file", 1)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ["now"]
    assert "soon" in (tmp_path / "run.log").read_text()
