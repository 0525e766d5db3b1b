"""Every data config binds to its class and says what it is."""

import importlib
import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas_lightning.config.schema import LoaderConfig

PATHS = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))
COMMON = {"num_workers", "prefetch_factor", "augment_on", "split", "val_fraction", "augment_val"}
SOME = {"split_file"}  # of the data sets that NAS-Bench-201 has splits for


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_config(path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    config = config.get("data", config)  # some also choose parts of other groups, beside their own
    module, _, name = config.pop("_target_").rpartition(".")
    source = getattr(importlib.import_module(module), name)
    assert config.keys() >= COMMON
    own = {key: value for key, value in config.items() if key not in COMMON | SOME}
    assert list(own) == list(inspect.signature(source).parameters)  # all of them, no other
    assert source(**own).name == path.stem
    assert (config["prefetch_factor"], config["augment_on"]) == (
        LoaderConfig().prefetch_factor,
        LoaderConfig().augment_on,
    )


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_config_begins_with_a_description_and_a_command(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert lines[1].startswith(f"# python run.py data={path.stem}")


def test_there_is_a_config_for_every_source():
    assert [path.stem for path in PATHS] == sorted(
        ["arrays", "cifar10", "cifar100", "digits", "image_folder", "imagenet", "imagenet16_120", "svhn"]
    )
