"""What stays of an option whose class a command replaces."""

import pytest

import nas_lightning as nl
from nas_lightning.config.replaced import without_leftovers

SELECTOR = "nas_lightning.selectors."


def test_keys_that_the_new_class_does_not_take_go():
    found = nl.compose(["method=darts_pt", f"selector._target_={SELECTOR}Threshold"]).selector
    assert dict(found) == {"_target_": f"{SELECTOR}Threshold"}


def test_keys_that_it_takes_and_those_of_the_command_stay():
    words = ["selector=random_genotype", f"selector._target_={SELECTOR}RandomGenotype", "selector.index=3"]
    assert nl.compose(words).selector == {"_target_": f"{SELECTOR}RandomGenotype", "index": 3, "none": False}


def test_a_key_of_the_command_that_it_does_not_take_is_refused():
    with pytest.raises(nl.ConfigError, match=r"selector\.index=3: unknown key; allowed: "):
        nl.compose(["selector=random_genotype", f"selector._target_={SELECTOR}Threshold", "selector.index=3"])


def test_a_class_that_cannot_be_read_is_left_to_the_checks():
    config = {"selector": {"_target_": "nowhere.Mine", "index": 0}, "trusted": []}
    assert without_leftovers(config, ["selector._target_=nowhere.Mine"]) == config


def test_nothing_changes_where_no_class_is_replaced():
    config = {"selector": {"_target_": f"{SELECTOR}Threshold", "index": 0}}
    assert without_leftovers(config, ["selector.index=0"]) is config
