"""The rooms of the package: what each may import, no circles, no room and no file too large.

Imports count wherever they stand: at the top, within functions, under TYPE_CHECKING.
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nas_lightning

SOURCES = Path(nas_lightning.__file__).parent
FLOORS = (
    ("cli", "__init__"),
    ("api",),
    ("planning",),
    ("tasks",),
    ("analyses", "control", "convert"),
    ("evaluation", "searches"),
    ("training",),
    ("callbacks",),
    (
        "deployment",
        "loggers",
        "perturbations",
        "proposers",
        "proxies",
        "regularizers",
        "relaxations",
        "reports",
        "selectors",
        "sweeps",
    ),
    ("disparity", "layered", "points", "recurrent"),
    ("config", "curvature", "data", "hypergradients", "runs", "spaces"),
    ("capture", "objectives"),
    ("core",),
)
"""Rooms from the top floor down: a room imports rooms of lower floors only. docs/architecture.md draws it."""
LIGHTNING = {"analyses", "callbacks", "control", "data", "evaluation", "loggers", "planning", "searches", "training"}
"""Rooms that may import Lightning: the others are torch, or less."""
HYDRA = {"api", "cli", "config", "loggers", "sweeps", "training"}
"""Rooms that may import Hydra or OmegaConf."""
SHARE, LINES, FUNCTION = 0.15, 400, 60
"""The largest room, as a share of all lines; the largest file; the longest function without a comment that says why."""


@cache
def modules():
    """Files by their dotted names."""
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        parts = ["nas_lightning", *path.relative_to(SOURCES).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module):
    return (*module.split("."), "__init__")[1]


@cache
def trees():
    return {module: ast.parse(path.read_text()) for module, path in modules().items()}


def named(tree):
    """Dotted names that a file imports: `from a import b` names a.b, which may be a module or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports():
    """Modules of ours that each module imports."""
    graph = {}
    for module, tree in trees().items():
        graph[module] = set()
        for name in named(tree):
            while name and name not in modules():
                name = name.rpartition(".")[0]
            graph[module] |= {name} - {"", module}
    return graph


def test_the_graph_is_seen():
    """Among others an import within a function and one under TYPE_CHECKING."""
    assert "nas_lightning.planning" in imports()["nas_lightning.cli.main"]
    assert "nas_lightning.runs.folder" in imports()["nas_lightning.cli.main"]
    assert "nas_lightning.core.choices" in imports()["nas_lightning.core.decisions"]
    assert sum(map(len, imports().values())) > 500


def test_no_circle_between_files():
    list(TopologicalSorter(imports()).static_order())  # raises CycleError, which names one


def test_every_room_has_a_floor():
    floors = [name for floor in FLOORS for name in floor]
    assert len(floors) == len(set(floors))
    assert set(floors) == {room(module) for module in modules()}


def test_rooms_import_lower_floors_only():
    height = {name: -number for number, floor in enumerate(FLOORS) for name in floor}
    upwards = [
        (one, other)
        for one, others in imports().items()
        for other in others
        if room(one) != room(other) and height[room(other)] >= height[room(one)]
    ]
    assert upwards == []


@pytest.mark.parametrize(
    ("packages", "allowed"), [({"lightning"}, LIGHTNING), ({"hydra", "omegaconf"}, HYDRA)], ids=["lightning", "hydra"]
)
def test_who_may_import_what(packages, allowed):
    users = {room(m) for m, tree in trees().items() if packages & {name.split(".")[0] for name in named(tree)}}
    assert users == allowed


def test_no_room_is_too_large():
    lines = {}
    for module, path in modules().items():
        lines[room(module)] = lines.get(room(module), 0) + len(path.read_text().splitlines())
    assert max(lines.values()) <= SHARE * sum(lines.values()), lines


def test_no_file_is_too_long():
    long = {module: n for module, path in modules().items() if (n := len(path.read_text().splitlines())) > LINES}
    assert long == {}


def test_long_functions_say_why():
    silent = []
    for module, path in modules().items():
        lines = path.read_text().splitlines()
        for node in ast.walk(trees()[module]):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > FUNCTION:
                before = lines[node.lineno - 2 - len(node.decorator_list)].strip()
                if not before.startswith("# Long:"):
                    silent.append(f"{module}.{node.name}")
    assert silent == []
