"""JSON and YAML files of a run folder: config.yaml, summary.json, network.json, loggers.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nas_lightning.runs.files import write_text

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; needs libyaml


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is not JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_config(path: Path) -> Any:
    """Read config.yaml.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is not text.
        yaml.YAMLError: It is not YAML.
    """
    text = path.read_text(encoding="utf-8")
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # the slow loader quotes the damaged line in its message


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml atomically, keys in their order."""
    write_text(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
