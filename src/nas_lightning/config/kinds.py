"""The built-in data of each kind: what a space reads where a command names no data."""

from collections.abc import Sequence
from pathlib import Path

from nas_lightning.config.declarations import constant
from nas_lightning.config.option_files import files, settings_of

BUILT_IN = {
    "images": {"space": "s3", "data": "digits", "objective": "classification", "evaluation": "digits"},
    "text": {"space": "recurrent", "data": "grammar", "objective": "language_model", "evaluation": "grammar"},
    "stereo": {"space": "disparity", "data": "scenes", "objective": "disparity", "evaluation": "disparity"},
    "points": {
        "space": "points",
        "data": "points_digits",
        "objective": "classification",
        "evaluation": "points_digits",
    },
    "graphs": {
        "space": "graphs",
        "data": "graphs_digits",
        "objective": "multilabel",
        "evaluation": "graphs_digits",
    },
}
"""Built-in options of each kind, by group; data of images are the default of conf/config.yaml."""
IN_WORDS = {
    "images": "images",
    "text": "text",
    "stereo": "pairs of images",
    "points": "point clouds",
    "graphs": "graphs",
}
"""Names of the kinds for people."""
SMALL = {kind: f"scale=smoke_{kind}" for kind in ("text", "stereo", "points", "graphs")}
"""What `scale=smoke`, which is for images, stands for on other kinds."""
DECIDING = ("experiment", "debug")
"""Groups whose options may choose the data, too."""


def with_data(words: Sequence[str], roots: tuple[Path, ...]) -> list[str]:
    """Add the built-in data of the kind that a space reads, unless the words choose data or say nothing of a space.

    A word wins over whatever a file says, so it is only added where files choose the digits, which the space cannot
    read. Spaces of several kinds in one sweep are left alone.

    Args:
        words: Overrides, as Hydra understands them.
        roots: Folders of configurations.
    """
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    named = next((group for group in ("data", "space") if group in given), None)
    if named is None or any(group in given for group in DECIDING):
        return list(words)
    kinds = {kind_of(named, name, roots) for name in given[named].split(",")}
    kind = kinds.pop() if len(kinds) == 1 else "images"
    if kind == "images":
        return list(words)
    small = [SMALL[kind] if word == "scale=smoke" else word for word in words]
    return small if named == "data" else [*small, f"data={BUILT_IN[kind]['data']}"]


def kind_of(group: str, name: str, roots: tuple[Path, ...]) -> str:
    """Return the kind of data that an option of `space` reads or one of `data` holds; images where it does not say."""
    file = files(group, roots).get(name)
    target = settings_of(file).get("_target_") if file is not None else None
    if target is None and file is not None:  # packaged globally, under the key of its group
        target = settings_of(file).get(f"{group}._target_")
    attribute = "inputs" if group == "space" else "kind"
    return "images" if target is None else constant(str(target.value), attribute) or "images"
