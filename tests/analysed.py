"""Configurations of analyses for tests: composed once, since composing takes longer than a tiny analysis."""

import copy
from functools import cache
from typing import Any

import yaml

import nas_lightning as nl
from nas_lightning.composition import as_dict


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
