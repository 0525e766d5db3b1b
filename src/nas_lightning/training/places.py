"""Where the images of a run lie: kept as absolute paths in its folder, so that it resumes from any working folder.

config.yaml keeps them as they were typed: `data.path=photos` means the same experiment wherever the photos lie.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_lightning.config.sections import MOVABLE, PLACES
from nas_lightning.core.paths import exists, path_of
from nas_lightning.runs.folder import RunFolder


def absolute(value: Any) -> Any:
    """Return the absolute path of what lies at a path; other values as they are."""
    if not isinstance(value, str) or not exists(path_of(value)):
        return value
    return os.path.abspath(path_of(value))  # noqa: PTH100 - links stay: one may name another folder later


def located(section: str, part: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with the recorded places of what it names, where that is still there.

    A path that is recorded but gone is taken as it was typed, which is right where a whole project was moved.

    Args:
        section: `data` or `evaluation`.
        part: The section as in config.yaml.
        places: Values by dotted key.
    """
    found = dict(part)
    for key, value in places.items():
        owner, _, name = key.partition(".")
        if owner != section or key not in MOVABLE:
            continue
        if key not in PLACES or exists(str(value)) or not exists(path_of(str(part.get(name)))):
            found[name] = value
    return found


def places_of(config: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """Return the absolute places of what a configuration names, and the switches that were recorded."""
    found = {key: value for key, value in places.items() if key in MOVABLE and key not in PLACES}
    for section in ("data", "evaluation"):
        for name, value in located(section, config[section], places).items():
            key = f"{section}.{name}"
            # A table that comes with the package has a name, not a path; so may the images of a user's own class.
            named = section == "evaluation" and not Path(str(value)).suffix
            if key in PLACES and value is not None and not named and exists(path_of(str(value))):
                found[key] = absolute(value)
    return found


def recorded(folder: RunFolder, run: str | None) -> dict[str, Any]:
    """Return what is recorded of the images in a run folder, else in that of the other run that it uses.

    Raises:
        ConfigError: The record is damaged.
    """
    return folder.data_record() or (RunFolder(run, "run").data_record() if run else {})
