"""What a constructor's annotations say about the values that may be given."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pytest
from pydantic import Field

from nas_lightning.config.parts import declared_model, problems_of, signature_model

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


class Filled:
    def __init__(self, limit: int = 3, costs: Inner | None = None, run: Inner | None = None) -> None: ...


class Own:
    def __init__(self, limit: int = 3, costs: Annotated[float, Field(gt=0)] = 1.0, run: str | None = None) -> None: ...


@pytest.mark.parametrize("name", ["costs", "run"])
def test_objects_that_the_workbench_fills_in_are_no_keys(name):
    """Not offered, and refused whatever is given; a user's own argument of that name is a key as any other."""
    for value in (None, 3, PART):
        assert problems_of(signature_model(Filled), {name: value}, "at") == [
            f"at.{name}={value if value == 3 else json.dumps(value)}: unknown key; allowed: limit"
        ]
    assert problems_of(signature_model(Own), {"costs": 2.0, "run": "x"}) == []
    (problem,) = problems_of(signature_model(Own), {"costs": 0.0}, "at")
    assert problem.startswith("at.costs=0.0: must be greater than 0")


@pytest.mark.parametrize("target", ["selectors.Magnitude", "regularizers.ExpectedCost"])
def test_parts_that_are_filled_in_do_not_offer_it(target):
    (problem,) = problems_of(declared_model(f"nas_lightning.{target}"), {"qqqqqq": 1}, "at")
    offered = problem.partition("allowed: ")[2].split(", ")
    assert len(offered) > 1
    assert not {"costs", "run"} & {*offered}


def test_parts_that_take_any_key_take_none_that_is_filled_in():
    model = declared_model("nas_lightning.loggers.Wandb")
    assert problems_of(model, {"qqqqqq": 1}) == []
    assert problems_of(model, {"run": 3}, "logger.wandb") == [
        "logger.wandb.run=3: is filled in by the run; leave it out"
    ]
