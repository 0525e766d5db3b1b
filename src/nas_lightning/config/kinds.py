"""The built-in data of each kind: what a space reads where a command names no data."""

from collections.abc import Sequence
from pathlib import Path

from nas_lightning.config.declarations import constant
from nas_lightning.config.option_files import files, settings_of

BUILT_IN = {"images": "digits", "text": "grammar", "stereo": "scenes"}
"""Option of `data` by kind; that of images is the default of conf/config.yaml."""
SMALL = {"text": "scale=smoke_text", "stereo": "scale=smoke_stereo"}
"""What `scale=smoke`, which is for images, stands for on other kinds."""
DECIDING = ("data", "experiment", "debug")
"""Groups whose options may choose the data."""


def with_data(words: Sequence[str], roots: tuple[Path, ...]) -> list[str]:
    """Add the built-in data of the kind that a space reads, unless the words choose data or say nothing of a space.

    A word wins over whatever a file says, so it is only added where files choose the digits, which the space cannot
    read. Spaces of several kinds in one sweep are left alone.

    Args:
        words: Overrides, as Hydra understands them.
        roots: Folders of configurations.
    """
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if "space" not in given or any(group in given for group in DECIDING):
        return list(words)
    kinds = {kind_of(name, roots) for name in given["space"].split(",")}
    kind = kinds.pop() if len(kinds) == 1 else "images"
    if kind == "images":
        return list(words)
    return [*(SMALL[kind] if word == "scale=smoke" else word for word in words), f"data={BUILT_IN[kind]}"]


def kind_of(space: str, roots: tuple[Path, ...]) -> str:
    """Return the kind of data that an option of `space` reads; images where its class does not say."""
    file = files("space", roots).get(space)
    target = settings_of(file).get("_target_") if file is not None else None
    return "images" if target is None else constant(str(target.value), "inputs") or "images"
