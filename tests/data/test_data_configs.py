"""Every data config binds to its class and says what it is."""

import importlib
import inspect

import pytest
from omegaconf import OmegaConf

import nas_lightning as nl
from cases import CONF
from nas_lightning.config.compose import as_dict
from nas_lightning.config.sections import LoaderConfig

PATHS = sorted((CONF / "data").glob("*.yaml"))
COMMON = {"num_workers", "prefetch_factor", "augment_on", "split", "val_fraction", "augment_val"}
COMMON |= {"search_fractions", "search_seed", "search_split"}  # of images
SOME = {"split_file"}  # of the data sets that NAS-Bench-201 has splits for


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_config(path):
    config = as_dict(nl.compose([f"data={path.stem}"]))["data"]
    module, _, name = config.pop("_target_").rpartition(".")
    source = getattr(importlib.import_module(module), name)
    common = COMMON & set(source.loader_keys)
    assert (common == COMMON) == (source.kind == "images")
    assert config.keys() >= common
    own = {key: value for key, value in config.items() if key not in common | SOME}
    assert list(own) == list(inspect.signature(source).parameters)  # all of them, no other
    assert source(**own).name == own.get("set", path.stem)
    for key in common & {"prefetch_factor", "augment_on"}:
        assert config[key] == LoaderConfig.model_fields[key].default


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_config_begins_with_a_description_and_a_command(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert lines[1].startswith(f"# python run.py data={path.stem}")


def test_the_loader_of_a_benchmark_is_that_of_memory_with_a_split_file():
    """Written twice, so that `split_file` stands beside `split` in every config.yaml."""
    loaders = CONF / "data" / "_loader"
    memory, benchmark = (OmegaConf.load(loaders / f"{name}.yaml") for name in ("memory", "benchmark"))
    assert benchmark.pop("split_file") is None
    assert benchmark == memory


def test_there_is_a_config_for_every_source():
    assert [path.stem for path in PATHS] == sorted(
        [
            *(
                "arrays",
                "bible",
                "cifar10",
                "cifar100",
                "digits",
                "grammar",
                "graphs_digits",
                "image_folder",
                "imagenet",
                "imagenet16_120",
            ),
            *(
                "mnist5k",
                "modelnet",
                "points_digits",
                "ppi",
                "scenes",
                "stereo_folder",
                "stereo_torchvision",
                "svhn",
                "text",
                "textures",
            ),
        ]
    )
