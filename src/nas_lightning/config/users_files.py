"""The user's configurations, in the folder of `--config-dir`: their form, about which Hydra would not say a word."""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from nas_lightning.core.paths import lfs_pointer

HEADER = "# @package _global_"


def text_of(file: Path) -> str:
    """Return the text of a YAML file for a description; what is no UTF-8 is replaced, it does not matter there."""
    return file.read_bytes().decode("utf-8-sig", "replace")


def problem_of(file: Path, is_global: bool) -> str | None:
    """Return what is wrong with the form of a YAML file and how to mend it; None if nothing is.

    Args:
        file: The file.
        is_global: Whether files of its group begin with `# @package _global_`: their keys are those of the whole
            configuration.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        return f"{file}: cannot be read ({error.strerror})"
    if is_global and content.startswith(codecs.BOM_UTF8):  # Hydra overlooks the header behind it
        return f"{file}: begins with a byte-order mark; save it as UTF-8 without one (without BOM)"
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{file}: line {line} is not UTF-8; save the file as UTF-8"
    if lfs_pointer(text):
        return f"{file}: {lfs_pointer(text)}"
    if is_global and not re.match(r"\s*#\s*@package\s", text):  # Hydra does not look for it behind another comment
        return f"{file}: its first line must be {HEADER}, as in all files of {file.parent.name}/; add it"
    return None


def problem_of_chosen(overrides: Sequence[str], folders: Sequence[Path], global_groups: Sequence[str]) -> str | None:
    """Return the first problem of the user's files that a command chooses; None if there is none.

    Args:
        overrides: The command, in which `GROUP=NAME` chooses GROUP/NAME.yaml.
        folders: The user's folders.
        global_groups: Groups whose files have the header.
    """
    for word in overrides:
        group, _, name = word.lstrip("+").partition("=")
        group = group.partition("@")[0]
        for folder in folders:
            file = folder / group / f"{name}.yaml"
            if re.fullmatch(r"[\w/-]+=[\w./-]+", f"{group}={name}") and file.is_file():
                problem = problem_of(file, group in global_groups)
                if problem:
                    return problem
    return None


def folders_of(overrides: Sequence[str]) -> list[Path]:
    """Return the folders that a command adds to Hydra's search path, as `compose.search_path` writes them."""
    found = [re.fullmatch(r"hydra\.searchpath=\['file://(.*)'\]", word) for word in overrides]
    return [Path(re.sub(r"\\+'", "'", match.group(1))) for match in found if match]
