"""Refuse a file or folder that is not there before torch is imported: with the words of the part or task that reads it.

Only what is missing altogether is found here; whoever reads a path checks the rest, and this again.
"""

import re

from nas_lightning.config.aliases import current
from nas_lightning.config.declarations import constant
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.arch_strings import is_cell
from nas_lightning.core.errors import DataError
from nas_lightning.core.genotype_texts import is_text_of_genotype
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.paths import exists, path_of, shown
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder


def check_places(config: RootConfig) -> None:
    """Check the paths that the task of a configuration is about to read.

    Raises:
        ConfigError: There is no such run or genotype.
        DataError: There are no such images.
    """
    if config.task in ("pipeline", "search", "evaluate"):
        if config.task == "evaluate" and config.genotype is not None:
            _check_genotype(config.genotype.strip())
        _check_images(config)
    elif config.run is not None and config.runs is None:
        folder = RunFolder(config.run, "run")
        trained = config.task == "export" or (config.task == "predict" and exists(path_of(config.images or "")))
        # The folder of an export is read by these two as well.
        if config.task in ("select", "landscape") or (trained and not exists(folder.path / layout.NETWORK)):
            folder.config()


def _check_genotype(name: str) -> None:
    is_path = "/" in name or re.search(r"\.(json|py|txt|log)(:\w+)?$", name) is not None
    if is_path and not (is_cell(name) or is_text_of_genotype(name) or exists(path_of(re.sub(r":\w+$", "", name)))):
        Genotype.load(path_of(name))


def _check_images(config: RootConfig) -> None:
    target = config.data.get("_target_")
    missing = constant(current(target), "missing") if isinstance(target, str) else None
    for key, words in (missing or {}).items():
        given = config.data.get(key)
        if isinstance(given, str) and not exists(path_of(given)):
            raise DataError(words.format(path=shown(path_of(given)), given=shown(given)))
