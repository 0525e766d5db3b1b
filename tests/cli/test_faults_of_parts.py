"""A fault in a user's part ends in one line that names the part, the hook and the log."""

import pytest

import nas_lightning as nl
from commands import _logging_as_found, run  # noqa: F401 - a fixture
from nas_lightning.core.part import Part, place_of_fault
from nas_lightning.regularizers import Regularizer

FAULTY = """
import lightning as L
from nas_lightning.regularizers import Regularizer
from nas_lightning.relaxations import Softmax


class Faulty(Regularizer):
    def on_op(self, y, op, edge):
        return {}[edge.choice, edge.cell, edge.row]


class Sharp(Softmax):
    def __call__(self, arch, epoch=0, generator=None):
        return super().__call__(arch["nothing"])


class Watching(L.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        raise ValueError("two\\nlines")


class Starting(Regularizer):
    def __init__(self):
        raise RuntimeError("no licence")
"""


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


@pytest.mark.parametrize(
    ("words", "place", "what"),
    [
        ("+regularizer.mine._target_=faulty_parts.Faulty", "regularizer.mine.on_op", "KeyError: ('normal', 0, 0)"),
        ("relaxation._target_=faulty_parts.Sharp", "relaxation.__call__", "KeyError: 'nothing'"),
        (
            "+callbacks.eyes._target_=faulty_parts.Watching",
            "callbacks.eyes.on_train_epoch_end",
            "ValueError: two lines",
        ),
    ],
)
def test_the_line_names_part_hook_and_log(tiny, tmp_path, monkeypatch, capsys, words, place, what):
    (tmp_path / "faulty_parts.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "faulty_parts", raising=False)
    code, _, err = run([*tiny, "trusted=[faulty_parts]", "task=search", words, "hydra.run.dir=here"], capsys)
    assert code == 1
    assert err.strip().splitlines()[-1] == f"nas-lightning: {place}: {what}; the traceback is in here/run.log"
    assert "faulty_parts.py" in (tmp_path / "here" / "run.log").read_text()


def test_a_constructor_that_raises_is_a_mistake_in_the_configuration(tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "faulty_parts.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "faulty_parts", raising=False)
    words = ["trusted=[faulty_parts]", "task=search", "+regularizer.mine._target_=faulty_parts.Starting"]
    code, _, err = run([*tiny, *words], capsys)
    assert code == 2
    assert err.strip() == "nas-lightning: regularizer.mine: Starting refuses its arguments (no licence)"


def test_python_gets_the_exception_itself(tiny, tmp_path, monkeypatch):
    (tmp_path / "faulty_parts.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "faulty_parts", raising=False)
    words = ["trusted=[faulty_parts]", "+regularizer.mine._target_=faulty_parts.Faulty"]
    with pytest.raises(KeyError) as caught:
        nl.search(nl.compose([*tiny, *words]), run_dir="here")
    assert place_of_fault(caught.value) == "regularizer.mine.on_op"


def test_a_part_knows_its_key_in_its_constructor():
    class Asking(Regularizer):
        def __init__(self, size: int) -> None:
            self.found = f"{self.key}.size={size}"

    assert Asking.standing_at("regularizer.n", {"size": 3}).found == "regularizer.n.size=3"
    assert Asking(3).found == "regularizer.size=3"
    assert Part.key == "part"


def test_no_part_is_named_where_none_was_passed():
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    assert place_of_fault(caught.value) is None
