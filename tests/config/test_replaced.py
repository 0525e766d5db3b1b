"""What stays of an option whose class a command replaces."""

import pytest

import nas_lightning as nl
from nas_lightning.config.replaced import without_leftovers

SELECTOR = "nas_lightning.selectors."


def of_before(words):
    """The option that a class replaces."""
    return {"selector": {"_target_": f"{SELECTOR}RandomGenotype", "index": 0}}


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
    assert without_leftovers(config, ["selector._target_=nowhere.Mine"], of_before) == config


def test_nothing_changes_where_no_class_is_replaced():
    config = {"selector": {"_target_": f"{SELECTOR}Threshold", "index": 0}}
    assert without_leftovers(config, ["selector.index=0"], of_before) is config


@pytest.mark.parametrize("target", ["Threshold", "RandomGenotype"])
def test_a_mistyped_key_of_a_users_file_is_refused(tmp_path, target):
    """Whether its class is replaced, or named once more."""
    (tmp_path / "selector").mkdir()
    file = tmp_path / "selector/mine.yaml"
    file.write_text(f"_target_: {SELECTOR}RandomGenotype\nindx: 3\n")
    words = ["selector=mine", f"selector._target_={SELECTOR}{target}"]
    with pytest.raises(nl.ConfigError, match=r"selector\.indx=3: unknown key"):
        nl.compose(words, tmp_path)
    file.write_text(f"_target_: {SELECTOR}RandomGenotype\nindex: 3\n")
    assert nl.compose(words, tmp_path).selector.get("index") == {"RandomGenotype": 3}.get(target)
