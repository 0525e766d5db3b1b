"""The workbench builds each part of a run once, and hands what was checked to the fit."""

from collections import Counter
from pathlib import Path

import lightning as L
import pytest
import torch

import nas_lightning as nl
from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.config.compose import as_dict, checked
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.regularizers import Regularizer
from nas_lightning.runs.folder import RunFolder
from nas_lightning.selectors import Magnitude
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


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


def test_a_fit_takes_what_was_checked(tracked):
    bench = Workbench(checked(tracked), RunFolder("run"))
    seen = bench.named("callbacks")
    assert bench.named("callbacks") is seen
    assert bench.take_named("callbacks") is seen
    assert bench.take_named("callbacks") is not seen


class Numbered(L.Callback):
    """Takes a dictionary whose keys are numbers, which JSON has not."""

    def __init__(self, rates: dict) -> None:
        self.rates = rates


class Former(Regularizer):
    """A hook with the arguments of before."""

    def on_edge(self, y, edge):
        return y


def test_a_part_gets_its_values_as_they_were_composed(tiny):
    words = [
        "trusted=[test_workbench]",
        "+callbacks.n._target_=test_workbench.Numbered",
        "+callbacks.n.rates={0: 2, 4: 1}",
    ]
    bench = Workbench(checked([*tiny, *words]), RunFolder("run"))
    assert bench.build_named("callbacks")["n"].rates == {0: 2, 4: 1}


def test_a_hook_with_other_arguments_is_refused(tiny, tmp_path):
    words = ["trusted=[test_workbench]", "+regularizer.old._target_=test_workbench.Former"]
    with pytest.raises(ConfigError, match=r"^regularizer\.old: Former\.on_edge must take \(y, x, edge\)$"):
        run_task(checked([*tiny, *words]), RunFolder("run"))
    assert not (tmp_path / "run").exists()


def test_callbacks_that_do_not_go_together_are_refused_before_anything_is_written(tiny, tmp_path):
    words = ["+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar"]
    with pytest.raises(ConfigError, match="enable_progress_bar"):
        run_task(checked([*tiny, *words]), RunFolder("run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mps", "xpu", "tpu", "hpu", "gpuu"])
def test_an_accelerator_that_no_search_has_run_on_is_refused(tiny, name):
    with pytest.raises(nl.ConfigError, match=rf"trainer\.accelerator={name}: .*allowed: auto, cpu, cuda, gpu; use"):
        nl.search(nl.compose([*tiny, f"trainer.accelerator={name}"]), run_dir="run")
    assert not Path("run").exists()


def test_auto_is_never_another_accelerator_than_cuda(tiny, monkeypatch):
    """Lightning's `auto` takes Apple's GPU where there is one."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    config = as_dict(nl.compose([*tiny, "trainer=default"]))
    device = Workbench(config, RunFolder("run")).probe.strategy.root_device
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
