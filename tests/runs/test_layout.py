"""One room spells the names of a run folder's files and knows their formats."""

import ast
import csv
import json
from pathlib import Path

import pytest

import nas_lightning
from nas_lightning.runs import documents, history, layout, tables

SOURCES = Path(nas_lightning.__file__).parent
NAMES = {name for key, name in vars(layout).items() if key.isupper() and isinstance(name, str) and "." in name}
NAMES = {Path(name).name for name in NAMES}
ELSEWHERE = {
    "config/option_contents.py": "conf/config.yaml, which has the same name and lies in no run folder",
    "core/genotypes.py": "core/ stands below runs/, which takes the name from there",
    "core/split_lists.py": "likewise",
    "deployment/load.py": "it is copied into an export and runs without this package",
}


def spelled(source: str) -> list[str]:
    """Constants that are a name, alone or at the end of a path; prose has spaces, and docstrings are prose."""
    texts = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not set(node.value) & set(" \n")
    ]
    return [text for text in texts if Path(text).name in NAMES or text.endswith(".ckpt")]


def test_no_other_room_spells_a_name():
    found = {
        str(path.relative_to(SOURCES)): names
        for path in sorted(SOURCES.rglob("*.py"))
        if path.parent.name != "runs" and (names := spelled(path.read_text()))
    }
    assert found.keys() == ELSEWHERE.keys(), found


@pytest.mark.parametrize(
    "source", ['p / "metrics.csv"', 'f"{p}/summary.json"', 'f"epoch={k}.ckpt"', '"checkpoints/last.ckpt"']
)
def test_a_name_is_noticed(source):
    assert spelled(source)


def test_prose_is_not_a_name():
    assert not spelled('"""Write metrics.csv."""\nraise ValueError("config.yaml there is damaged")')


def test_checkpoints_of_epochs(tmp_path):
    for name in ("epoch=2.ckpt", "epoch=10.ckpt", "epoch=x.ckpt", "last.ckpt"):
        (tmp_path / name).touch()
    assert sorted(layout.epoch_checkpoints(tmp_path)) == [
        (2, tmp_path / layout.epoch_name(2)),
        (10, tmp_path / layout.epoch_name(10)),
    ]


def test_half_a_row_does_not_count(tmp_path):
    path = tmp_path / "table.csv"
    tables.append_row(path, {"epoch": 0, "loss": 1.5})
    tables.append_row(path, {"epoch": 1, "loss": 0.5, "new": "a,b"})
    with path.open("a") as file:
        file.write("2,0.")
    assert [row["epoch"] for row in tables.read(path)] == ["0", "1"]
    assert tables.read_frame(path)["loss"].tolist() == [1.5, 0.5]
    tables.cut(path, lambda row: True)
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "loss", "new"], ["0", "1.5", ""], ["1", "0.5", "a,b"]]


def test_damaged_lines_of_the_history(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"epoch": 0}\n{"epo\n{"epoch": 1}\n{"epoch": 2')
    assert [row["epoch"] for row in history.read(path, skip_damaged=True)] == [0, 1]
    with pytest.raises(json.JSONDecodeError):
        history.read(path)


def test_a_configuration_keeps_its_order(tmp_path):
    config = {"b": 1, "a": {"ä": [1e-3, None]}}
    documents.write_config(tmp_path / "c", config)
    assert list(documents.read_config(tmp_path / "c")) == ["b", "a"]
    assert documents.read_config(tmp_path / "c") == config
