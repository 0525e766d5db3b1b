"""What tests of analyses share: their configurations, composed once, and the supernet of a run by hand."""

import copy
from functools import cache
from typing import Any

import torch
import yaml

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.data import Arrays
from nas_lightning.spaces import CellSpace

OPTIONS = ("none", "skip_connect", "sep_conv_3x3")
"""Of S3, the space of the run `searched`."""


@cache
def _composed(analysis: str) -> dict[str, Any]:
    return as_dict(nl.compose(["task=analyse", f"analysis={analysis}", "trainer=cpu"]))


def analysis_config(analysis: str, *words: str) -> dict[str, Any]:
    """What composing these plain overrides (`key=value`, `~key`) of an analysis would give, before it is checked."""
    config = copy.deepcopy(_composed(analysis))
    for word in words:
        key, _, value = word.lstrip("~").partition("=")
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        if word.startswith("~"):
            del node[last]
        else:
            assert last in node, word
            node[last] = yaml.safe_load(value)
    return config


def supernet_by_hand(searched, path, checkpoint="last"):
    """The images, the supernet and the logits of the run `searched` as a checkpoint has them; float64."""
    saved = torch.load(searched / "checkpoints" / f"{checkpoint}.ckpt", weights_only=True)
    data = Arrays(str(path))
    data.prepare()
    supernet = CellSpace("s3", OPTIONS, num_nodes=2).supernet(
        data.num_classes, data.in_channels, init_channels=2, layers=3, engine="reference"
    )
    supernet.load_state_dict({name.removeprefix("supernet."): value for name, value in saved["state_dict"].items()
                              if name.startswith("supernet.")})  # fmt: skip
    return data, supernet.double().eval(), {name: a.double() for name, a in saved["search"]["arch"].items()}
