"""Further methods of a command are composed as their own commands would be."""

import pytest

import nas_lightning as nl
from every_method import METHODS
from nas_lightning.config.compose import as_dict
from nas_lightning.config.schema import validate
from nas_lightning.core.errors import ConfigError

RS = "methods=[sdarts_rs]"


def further(*words):
    """The configuration of the only further method."""
    (config,) = validate(as_dict(nl.compose(words))).further_methods().values()
    return config.to_dict()


DIFFERENT = ("gdas", "pc_darts", "drnas_progressive", "darts_es", "rdarts_l2", "random_search", "darts_pt")
"""Methods that set what others do not: a space, values for the digits, stages, callbacks, candidates, a selector."""


@pytest.mark.parametrize("data", ["data=digits", pytest.param("data=cifar10", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in DIFFERENT else pytest.mark.slow) for n in METHODS if n != "darts"],
)
def test_each_is_the_same_command_with_that_method(name, data):
    """Values for this data set, of the command line and of the experiment reach it; nothing of the run changes."""
    words = [data, "space=nasbench201", "search.arch.lr=0.02", "search.weights.warmup_epochs=1"]
    plain = as_dict(nl.compose(words))
    with_another = as_dict(nl.compose([*words, f"methods=[{name}]"]))
    assert {**with_another, "methods": []} == plain
    ((found, config),) = validate(with_another).further_methods().items()
    assert found == name
    assert config.to_dict() == as_dict(nl.compose([*words, f"method={name}"]))


def test_the_space_of_the_run_holds_for_all():
    for words in (["data=cifar10"], ["space=s2"], ["experiment=rethinking"]):
        config = further(*words, "methods=[gdas]")  # whose own space is nasbench201
        assert config["space"] == as_dict(nl.compose(words))["space"]
        assert config["relaxation"]["_target_"].endswith("Gumbel")


def test_readings_and_random_genotypes_are_of_the_whole_run():
    words = ["experiment=digits_short", "+selector@readings.pt=magnitude", "evaluation.random_baseline=5"]
    config = further(*words, "methods=[drnas]")
    assert (config["readings"], config["methods"], config["evaluation"]["random_baseline"]) == ({}, [], 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods=[sdart]"], r"method=sdart: no such option.*sdarts_adv.*\(in sdart\)"),
        (["method=sdarts_rs", "perturbation.maximum=0.2", "methods=[darts]"], r"perturbation\.maximum.*\(in darts\)"),
        ([RS, "+selector@readings.sdarts_rs=magnitude"], r"sdarts_rs has the name of a reading"),
        (["methods=3"], r"methods=3: "),
    ],
)
def test_what_is_no_further_method_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        nl.compose(words)


def test_names_that_were_not_composed_are_refused():
    with pytest.raises(ConfigError, match=r"methods=\['drnas'\]: names are looked up by nl\.compose"):
        validate({**as_dict(nl.compose()), "methods": ["drnas"]})
