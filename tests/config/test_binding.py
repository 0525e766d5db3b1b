"""What a constructor's annotations say about the values that may be given."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pytest
from pydantic import Field

from nas_lightning.config.parts import problems_of, signature_model

PART = {"_target_": "torch.nn.Identity"}


class Inner:
    """JSON has no such thing."""


class Outer:
    def __init__(
        self,
        inner: Inner,
        maybe: Inner | None = None,
        several: Sequence[Inner] = (),
        named: Annotated[Mapping[str, Inner] | None, Field(description="by name")] = None,
        word: Literal["none"] | Inner = "none",
        untold=None,
    ) -> None: ...


MODEL = signature_model(Outer)


@pytest.mark.parametrize(
    "values",
    [
        {"maybe": None, "named": None},
        {"maybe": PART, "named": {"a": PART}},
        {"several": [PART, PART]},
        {"word": "none"},
        {"word": PART},
        *({"untold": value} for value in (None, 3, "x", PART)),
    ],
)
def test_what_fits(values):
    assert problems_of(MODEL, {"inner": PART, **values}) == []


@pytest.mark.parametrize("value", [None, 3, "x", True])
@pytest.mark.parametrize("name", ["inner", "maybe", "several", "named", "word"])
def test_bare_values_are_no_parts(name, value):
    if value is None and name in ("maybe", "named"):
        return
    *others, problem = problems_of(MODEL, {"inner": PART, name: value}, "at")
    assert "must be a part" in problem
    assert problem.endswith(f"; write at.{name}._target_=package.Class")
    assert len(others) == (name == "word")  # what else is allowed there
