"""Signatures read from the source are those that importing gives; where the source leaves doubt, there are none."""

import importlib.util
import re
import subprocess
import sys
import types
import typing

import lightning
import pytest

from nas_lightning.config.compose import conf_dir
from nas_lightning.config.declarations import declared
from nas_lightning.config.parts import declared_model, problems_of, signature_model, target_of
from nas_lightning.config.sections import LoaderConfig

TARGETS = sorted(
    {
        target
        for file in conf_dir().rglob("*.yaml")
        for target in re.findall(r"^\s*_target_: (\S+)", file.read_text(), flags=re.MULTILINE)
    }
)

DOUBTFUL = """
import torch
from abc import ABC
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nas_lightning.core.space import SearchSpace

try:
    from pathlib import Path
except ImportError:
    Path = str

@dataclass
class Record:
    rate: float = 0.0

class Word(StrEnum):
    A = "a"

class Decorated:
    @torch.no_grad()
    def __init__(self, rate: float) -> None: ...

class Elsewhere(torch.nn.Linear): ...

class Forward:
    def __init__(self, other: "Record") -> None: ...

class Unknown:
    def __init__(self, other: torch.Tensor) -> None: ...

class Checking:
    def __init__(self, space: SearchSpace | None = None) -> None: ...

class Branch:
    def __init__(self, path: Path) -> None: ...

class Fits:
    def __init__(self, record: Record) -> None: ...

class Enumerated:
    def __init__(self, word: Word) -> None: ...

@dataclass
class Defaulted:
    names: list[str] = field(default_factory=list)

@dataclass(init=False)
class WithoutInit:
    rate: float

class New:
    def __new__(cls, rate: float) -> "New": ...

class Meta(metaclass=type):
    def __init__(self, rate: float) -> None: ...

class Twice:
    def __init__(self, rate: float) -> None: ...

class Twice:
    def __init__(self, rate: int) -> None: ...

def function(rate: float) -> None: ...

class Left(ABC):
    def __init__(self, rate: float, *, word: Literal["a"] = "a", **more) -> None: ...

class Right:
    def __init__(self, other: int) -> None: ...

class Both(Left, Right): ...

class Inherits(Left): ...

@dataclass(frozen=True)
class Extended(Record):
    steps: int = 3
"""


def unordered(annotation):
    """Write an annotation with the members of its unions sorted.

    Python keeps the last 128 annotations: `Optional[Union[int, float]]` is whatever equal one was written before, also
    `Optional[Union[float, int]]`, so their order depends on what else has been imported.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or origin is typing.Literal:
        return repr(annotation)
    texts = [unordered(argument) for argument in arguments]
    if origin in (typing.Union, types.UnionType):
        texts.sort()
    return f"{origin!r}[{', '.join(texts)}]"


def described(model):
    fields = model.model_fields.items()
    return model.model_config["extra"], {k: (unordered(f.annotation), f.metadata, f.is_required()) for k, f in fields}


def test_the_order_of_a_union_is_not_compared_and_all_else_is():
    one, other = int | float | None, None | float | int
    assert unordered(dict[str, one]) == unordered(dict[str, other])
    assert unordered(one) != unordered(int | None)
    assert unordered(dict[str, int]) != unordered(dict[int, str])
    assert unordered(typing.Literal["a", "b"]) != unordered(typing.Literal["b", "a"])


@pytest.mark.parametrize("target", TARGETS)
def test_a_declared_signature_is_the_imported_one(target):
    for shared in (None, LoaderConfig):
        imported = signature_model(target_of("part", {"_target_": target}), shared)
        assert described(declared_model(target, shared)) == described(imported)


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Read classes of a package that lies in a folder, and is never imported."""
    (tmp_path / "doubtful.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "doubtful").mkdir()
    (tmp_path / "doubtful" / "__init__.py").write_text(DOUBTFUL)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr("nas_lightning.config.declarations.READ", ("doubtful",))
    yield lambda name: declared(f"doubtful.{name}")
    assert "doubtful" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        *("Decorated", "Elsewhere", "Forward", "Unknown", "Checking", "Branch", "Fits", "Enumerated", "Defaulted"),
        *("WithoutInit", "New", "Meta", "Twice", "function", "Both", "Absent"),
    ],
)
def test_doubt_is_no_answer(declare, name):
    assert declare(name) is None


def test_what_is_inherited(declare):
    fields, open_ended = declare("Inherits")
    assert open_ended
    assert {name: required for name, (_, required) in fields.items()} == {"rate": True, "word": False}
    assert fields["rate"][0] is float
    assert declare("Extended") == ({"rate": (float, False), "steps": (int, False)}, False)


def test_packages_of_others_are_not_read():
    assert declared("torch.nn.Linear") is None
    assert declared("nowhere.Class") is None
    assert declared("Class") is None
    assert declared("lightning.nowhere.Class") is None


@pytest.mark.parametrize(
    "values", [{"max_epochs": "a"}, {"devices": 1.5}, {"precision": "x"}, {"strategy": 3}, {"logger": 3}, {"foo": 1}]
)
def test_refusals_of_the_trainer_have_the_same_words(values):
    found = problems_of(declared_model("lightning.Trainer"), values, "trainer")
    assert found == problems_of(signature_model(lightning.Trainer), values, "trainer") != []


@pytest.mark.slow
def test_a_class_that_is_imported_is_asked_itself():
    """Also one that has been changed since."""
    code = """
import nas_lightning as nl, nas_lightning.regularizers as room
class Mine(room.PartialChannels):
    def __init__(self, parts: int = 4): super().__init__(parts)
Mine.__module__ = "nas_lightning.mine"
room.PartialChannels = Mine
nl.compose(["+regularizer.x={_target_: nas_lightning.regularizers.PartialChannels, parts: 2}"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
