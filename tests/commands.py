"""The command line in this process."""

import logging
import os
import sys
import warnings

import pytest
from hydra.core.global_hydra import GlobalHydra

from nas_lightning.cli.main import main


def run(words, capsys=None):
    """main(words) in this process; returns exit code and what was printed."""
    GlobalHydra.instance().clear()
    argv = sys.argv
    try:
        main(words)
        code = 0
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR", None)
    return (code, *capsys.readouterr()) if capsys else code


@pytest.fixture(autouse=True)
def _logging_as_found(monkeypatch):
    """Hydra configures the root logger, the program how warnings are shown; other tests must not see it."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
