"""A fingerprint of images: by it a resumed run knows its own again, wherever they lie.

It holds the classes, the number and the order of the labels, and the mean level of a sample of the images. Levels are
compared with a tolerance: decoders and resizing differ by a grey level between versions of their libraries.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SAMPLE = 64
"""Images of either part whose mean level is kept, evenly spaced."""
TOLERANCE = 0.03
"""How far two mean levels of one image may be apart, in standard deviations of the training images."""


def sampled(labels: np.ndarray, levels: Callable[[list[int]], list[float]]) -> dict[str, Any]:
    """Return the fingerprint of a part: its labels [N], and the levels of a sample of its images.

    Args:
        labels: In index order.
        levels: Returns the mean level of each of some images, by their indices.

    Raises:
        DataError: An image of the sample cannot be read.
    """
    content = np.ascontiguousarray(labels, dtype="<i8").tobytes()
    chosen = np.unique(np.linspace(0, len(labels) - 1, SAMPLE).astype(int)) if len(labels) else np.empty(0, int)
    return {
        "images": len(labels),
        "labels": hashlib.blake2b(content, digest_size=8).hexdigest(),
        "levels": [round(level, 4) for level in levels(chosen.tolist())],
    }


def difference(kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in which way images differ from those of a kept fingerprint; "" if they are the same.

    >>> difference({"channels": 3}, {"channels": 1})
    '1 channels, not 3'
    """
    if kept.get("classes", found.get("classes")) != found.get("classes"):
        return f"the classes {_names(found['classes'])}, not {_names(kept['classes'])}"
    for key, words in (("channels", "{} channels, not {}"), ("image_size", "images of {} pixels a side, not {}")):
        if kept.get(key, found.get(key)) != found.get(key):
            return words.format(found[key], kept[key])
    for part in ("train", "test"):
        if part not in kept or part not in found:
            continue
        old, new = kept[part], found[part]
        if old["images"] != new["images"]:
            return f"{new['images']} {part} images, not {old['images']}"
        if old["labels"] != new["labels"]:
            return f"other labels, or another order of the {part} images"
        apart = [not abs(a - b) <= TOLERANCE for a, b in zip(old["levels"], new["levels"], strict=False)]
        if any(apart):
            return f"other {part} images: {sum(apart)} of {len(apart)} that were compared differ"
    return ""


def _names(classes: list[str]) -> str:
    shown = [" ".join(name.encode(errors="backslashreplace").decode().split()) for name in classes[:6]]
    return f"{', '.join(shown)}{', …' if len(classes) > 6 else ''} ({len(classes)})"
