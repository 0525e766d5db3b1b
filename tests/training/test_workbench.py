"""The workbench builds each part of a run once, and hands what was checked to the fit."""

from collections import Counter

import lightning as L
import pytest

import nas_lightning as nl
from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.config.compose import checked
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.selectors import Magnitude
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench


@pytest.fixture
def built(monkeypatch):
    """How often each of these classes was constructed, and configurations checked."""
    count = Counter()
    for kind in (L.Trainer, CurvatureTracking, Magnitude):

        def constructed(self, *args, _kind=kind, _init=kind.__init__, **kwargs):
            count[_kind.__name__] += 1
            _init(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", constructed)
    post_init = RootConfig.model_post_init
    monkeypatch.setattr(
        RootConfig, "model_post_init", lambda self, context: (count.update(["RootConfig"]), post_init(self, context))[1]
    )
    return count


def test_each_part_is_built_once_a_fit(tracked, built):
    """A search, its selection and a retraining: two fits, and one Trainer that only checks and knows the device."""
    run_task(checked(tracked), RunFolder("run"))
    assert built["Magnitude"] == 1
    assert built["CurvatureTracking"] == 2
    assert built["Trainer"] == 3
    assert built["RootConfig"] == 1


def test_a_typed_configuration_is_not_checked_again(tiny):
    config = checked(tiny)
    assert validate(config) is config
    assert Workbench(config, RunFolder("run")).config is config
    assert config.with_values({}, "who") is config
    changed = config.with_values({"search.weights.lr": 0.5}, "who")
    assert (changed.search.weights.lr, config.search.weights.lr) == (0.5, 0.025)
    assert changed.to_dict()["search"]["weights"]["lr"] == 0.5


def test_what_config_yaml_holds_is_what_was_composed(tiny):
    """To the last digit and in its order: hashes are made of it."""
    config = nl.compose(tiny)
    from nas_lightning.config.compose import as_dict

    plain = as_dict(config)
    assert list(checked(tiny).to_dict()) == list(plain)
    assert checked(tiny).to_dict() == plain
    mutated = checked(tiny)
    mutated.to_dict()["search"]["epochs"] = 99
    assert mutated.to_dict()["search"]["epochs"] == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"search.nope": 1}, r"^stage a overrides search\.nope=1, but there is no such key$"),
        ({"search.epochs": 0}, r"^search\.epochs=0: must be at least 1.*\(in stage a\)$"),
    ],
)
def test_wrong_values_say_who_gave_them(tiny, values, words):
    with pytest.raises(ConfigError, match=words):
        checked(tiny).with_values(values, "stage a overrides", "in stage a")


def test_a_part_is_taken_once(tiny):
    bench = Workbench(checked(tiny), RunFolder("run"))
    first = bench.once("x", dict)
    assert bench.once("x", dict) is first
    assert bench.take("x", dict) is first
    assert bench.take("x", dict) is not first
