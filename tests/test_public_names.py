"""What `import nas_lightning as nl` offers: the same names to type checkers, to `import *` and at run time."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import nas_lightning as nl

IMPORTED = {
    alias.name: node.module
    for node in ast.walk(ast.parse(Path(nl.__file__).read_text()))
    if isinstance(node, ast.ImportFrom) and node.module.startswith("nas_lightning")
    for alias in node.names
}
"""Names that type checkers see, and the modules that they take them from."""


def test_every_list_has_the_same_names():
    assert set(IMPORTED) == set(nl.__all__) == set(dir(nl))
    listed = [name for names in nl._HOMES.values() for name in names]
    assert sorted([*listed, "curvature", "hypergradients"]) == sorted(nl.__all__)


@pytest.mark.parametrize("name", nl.__all__)
def test_a_name_is_what_type_checkers_take_it_for(name):
    module = importlib.import_module(IMPORTED[name])
    assert getattr(nl, name) is getattr(module, name)


def test_functions_are_not_hidden_by_rooms():
    """A module of the package that is imported becomes an attribute of it: no room may have the name of a function."""
    rooms = {path.stem for path in Path(nl.__file__).parent.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms & set(nl.__all__) == {"curvature", "hypergradients"}


def test_configurations_wait_for_no_torch():
    code = "import sys, nas_lightning as nl; nl.compose, nl.ConfigError; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
