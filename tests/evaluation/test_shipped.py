"""The tables that come with the package; that of NAS-Bench-201 against published numbers and its source."""

import csv
import gzip
import importlib
import time
import tomllib
from pathlib import Path

import pytest

from cases import REAL_TABLE
from nas_lightning.core.arch_strings import parse, render
from nas_lightning.evaluation import table as module
from nas_lightning.evaluation.shipped import SHIPPED, shipped_files, shipped_spaces
from nas_lightning.evaluation.table import load
from nas_lightning.spaces.nasbench201 import arch_strings

ROOT = Path(__file__).parents[2]
FILE = SHIPPED / "nasbench201.csv.gz"
SETS = ("cifar10", "cifar100", "in16_120")
ACCURACIES = [f"{name}_test_200" for name in SETS] + [
    f"{name}_{part}_12" for name in SETS for part in ("valid", "test")
]
SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def lines():
    return [line for line in gzip.decompress(FILE.read_bytes()).decode().splitlines() if not line.startswith("#")]


def test_names_and_spaces():
    assert set(shipped_files()) == {"nasbench201", "s5_digits"}
    assert shipped_spaces() == {"nasbench201": "nasbench201", "s5": "s5_digits"}
    assert all(path.parent == SHIPPED and path.is_file() for path in shipped_files().values())


def test_published_numbers():
    """The best and the collapse of the benchmark's tables, in all digits that it has."""
    table = load("nasbench201")
    assert len(table.rows) == 15_625
    columns = [f"{name}_test_200" for name in SETS]
    assert [table.best(column) for column in columns] == [94.3733, 73.5133, 47.3111]
    assert [table.value(SKIP, column) for column in columns] == [54.2967, 15.6067, 16.3222]
    assert [round(float(table.columns[column].mean()), 3) for column in columns] == [87.063, 61.406, 33.586]
    assert set(table.columns) == set(ACCURACIES)
    assert all(table.count(column) == 15_625 for column in table.columns)


def test_the_names_of_the_benchmark():
    """Numbers 0 and 1 as its files have them; each cell once."""
    names = arch_strings()
    assert names[0] == "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert names[1] == "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    assert len(set(names)) == len(names) == 5**6
    for name in names[::500]:
        assert render({"cell": parse(name)}, {"cell": (3,)}) == name
    assert list(load("nasbench201").rows) == list(names)


def test_it_is_read_quickly_and_once():
    load("nasbench201")
    times = []
    for _ in range(3):
        module._load.cache_clear()
        start = time.perf_counter()
        first = load("nasbench201")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3
    assert load("nasbench201") is first


def test_the_file_is_what_its_script_writes(monkeypatch):
    """From its own rows with their names; no time stamp is in the file."""
    monkeypatch.syspath_prepend(str(ROOT))
    compact = importlib.import_module("benchmarks.nasbench201_table").compact
    rows = [dict(row, arch_str=name) for row, name in zip(csv.DictReader(lines()), arch_strings(), strict=True)]
    assert compact(rows).encode() == gzip.decompress(FILE.read_bytes())
    assert FILE.read_bytes()[4:8] == bytes(4)
    rows[3], rows[4] = rows[4], rows[3]
    with pytest.raises(ValueError, match="row 3 is"):
        compact(rows)
    with pytest.raises(ValueError, match="15624 rows"):
        compact(rows[1:])


@pytest.mark.skipif(not REAL_TABLE.exists(), reason="the table of accuracies is local only")
def test_every_row_equals_the_source():
    with gzip.open(REAL_TABLE, "rt") as file:
        source = list(csv.DictReader(file))
    assert [row["arch_str"] for row in source] == list(arch_strings())
    assert [int(row["index"]) for row in source] == list(range(15_625))
    for theirs, ours in zip(source, csv.DictReader(lines()), strict=True):
        assert all(float(theirs[column]) == float(ours[column]) for column in (*ACCURACIES, "params_M_c10"))


def test_its_license_goes_with_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "NOTICE" in project["project"]["license-files"]
    assert "NOTICE" in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    notice = (ROOT / "NOTICE").read_text()
    assert str(FILE.name) in notice
    assert "MIT License" in notice
    assert "Xuanyi Dong" in notice
    assert "NOTICE" in gzip.decompress(FILE.read_bytes()).decode().partition("\ncifar10")[0]
