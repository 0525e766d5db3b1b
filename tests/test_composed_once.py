"""What tests take from earlier compositions is what Hydra composes, and files that change are composed anew."""

import inspect
import json
import subprocess
import sys

import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict, hydra_settings

WORDS = [
    ["data=cifar10", "search.epochs=7", "+callbacks.x._target_=lightning.pytorch.callbacks.Timer"],
    ["data=cifar10", "~callbacks.curvature"],
    ["experiment=robustdarts/table1", "method=darts_es"],
    ["+regularizer=cutout", "space.operations=[none,skip_connect]"],
    ["+regularizer=cutout", "seed=3"],
]


def composed(words):
    """The configuration, and what Hydra itself is told: the keys of a sweep, the words, the choices."""
    hydra = hydra_settings(words)
    return as_dict(nl.compose(words)), str([hydra.sweeper.params, hydra.overrides, hydra.runtime.choices])


PROGRAM = f"""
import json, sys
import nas_lightning as nl
from nas_lightning.config.compose import as_dict, hydra_settings
{inspect.getsource(composed)}
print(json.dumps([composed(words) for words in json.loads(sys.argv[1])]))
"""


def test_a_copy_is_what_is_composed():
    """Against a process that keeps nothing; values that are set in one composition are not in the next."""
    program = [sys.executable, "-c", PROGRAM, json.dumps(WORDS)]
    expected = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    for _ in range(2):
        assert json.loads(json.dumps([composed(words) for words in WORDS])) == expected


def test_a_mistake_is_one_each_time():
    for _ in range(2):
        with pytest.raises(nl.ConfigError, match="space=s33: no such option"):
            nl.compose(["space=s33"])
        assert nl.compose(["space=s2"]).space.name == "s2"
        with pytest.raises(nl.ConfigError, match=r"\+search\.epochs=3"):
            nl.compose(["space=s2", "+search.epochs=3"])


def test_files_that_change_are_read_anew(tmp_path):
    """Also those that come to be there."""
    own, given = tmp_path / "experiment/mine.yaml", tmp_path / "when/method_data/darts_svhn.yaml"
    words = ["experiment=mine", "data=svhn"]
    own.parent.mkdir()
    for epochs in (3, 4):
        own.write_text(f"# @package _global_\nsearch:\n  epochs: {epochs}\n")
        assert nl.compose(words, config_dir=tmp_path).search.epochs == epochs
    given.parent.mkdir(parents=True)
    given.write_text("# @package _global_\nsearch:\n  layers: 5\n")
    assert nl.compose(words, config_dir=tmp_path).search.layers == 5
    given.unlink()
    assert nl.compose(words, config_dir=tmp_path).search.layers == 8
