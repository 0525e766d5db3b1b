"""Meanings from docstrings, against the classes that are imported."""

import inspect

import pytest

from nas_lightning.config.docstrings import meanings
from nas_lightning.control import AdaptiveRollback
from nas_lightning.evaluation import Retraining
from nas_lightning.evaluation.recipe import BaseRecipe
from nas_lightning.selectors import Perturbation


@pytest.mark.parametrize("part", [AdaptiveRollback, Perturbation, Retraining])
def test_every_argument_of_a_constructor_is_described(part):
    found = meanings(f"{part.__module__}.{part.__name__}")
    assert set(inspect.signature(part).parameters) <= set(found)
    for text in found.values():
        assert text
        assert "\n" not in text


def test_a_description_over_several_lines_is_whole():
    text = meanings("nas_lightning.evaluation.Retraining")["images"]
    documented = " ".join(inspect.getdoc(BaseRecipe).split())
    assert text in documented
    assert text.endswith("test part.")


def test_another_package_is_not_read():
    assert meanings("torch.nn.Linear") == {}
    assert meanings("nas_lightning.nothing.Nothing") == {}
