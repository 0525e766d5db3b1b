"""Overrides of a resumed run: read as Hydra reads them on a new command."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

import nas_lightning as nl
from nas_lightning.config.compose import as_dict, conf_dir, rewrite
from nas_lightning.config.overriding import key_of, override, value_of

VALUES = [
    *("1", "-1", "+1", "1.", ".5", "1e-1", "1e3", "1E3", "0.1", "1_000", "012", "0x10", "0o7", "inf", "-inf", "nan"),
    *("1:00:00:00", "00:12:00:00", "1:30", "2026-11-29", "true", "True", "FALSE", "yes", "no", "on", "off", "y", "n"),
    *("null", "None", "~", "", "a", "a b", " a", "größe", "it's", "a=b", "a#b", "'1'", "'true'", "'a,b'", '"a: b"'),
    *("[1,2]", "[1, '2', null, true]", "[]", "{a: 1}", "{a: {b: [1e-1]}}", "{}", "[a,[b]]", "int(3)", "float(1)"),
    *("str(1)", "bool(1)", "${seed}", "'${seed}'", "x${seed}", "[${seed}]", r"a\\b", "bf16-mixed", "a/b.c", "%", "@x"),
]


@pytest.fixture(scope="module")
def base():
    return as_dict(nl.compose(["seed=5"]))


def composed(*words):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return as_dict(hydra.compose("config", overrides=rewrite(["seed=5", *words])))["trainer"]


@pytest.mark.parametrize("value", VALUES)
def test_both_readings_are_equal(base, value):
    expected = composed(f"trainer.mine={value}")["mine"]
    config = {**base, "trainer": dict(base["trainer"])}
    override(config, f"trainer.mine={value}")
    assert repr(config["trainer"]["mine"]) == repr(expected)  # NaN, and the types of numbers
    assert repr(value_of(f"trainer.mine={value}", base)) == repr(expected)
    assert type(config["trainer"]["mine"]) is type(expected)


@pytest.mark.parametrize(
    "words", [["trainer.mine={a: 1}", "trainer.mine={b: 2}"], ["trainer.mine=[1]", "trainer.mine=2"]]
)
def test_a_second_value_meets_the_first_alike(base, words):
    config = {**base, "trainer": dict(base["trainer"])}
    for word in words:
        override(config, word)
    assert config["trainer"]["mine"] == composed(*words)["mine"]


def test_a_key_is_removed(base):
    config = {**base, "trainer": {**base["trainer"], "mine": 1}}
    override(config, "~trainer.mine")
    assert config["trainer"] == base["trainer"]
    with pytest.raises(nl.ConfigError, match="there is no such key"):
        override(config, "~trainer.mine")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.mine=[1,2", "a bracket or quote may be missing"),
        ("trainer.mine=1,2", "is several values"),
        ("trainer.mine=range(0,3)", "is several values"),
        ("trainer.mine=${nothing}", "nothing"),
        ("trainer.accelerator.mine=1", "there is no such key"),
        ("trainer.mine", "has no value"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(base, word, message):
    config = {**base, "trainer": {**base["trainer"], "accelerator": "cpu"}}
    with pytest.raises(nl.ConfigError, match=message) as caught:
        override(config, word)
    assert "\n" not in str(caught.value)


def test_keys_lose_their_signs():
    assert [key_of(word) for word in ("++a.b=+1", "+a=1", "~a", "a=~b=c")] == ["a.b", "a", "a", "a"]
