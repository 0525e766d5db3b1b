"""Turn the pixels of any image file into 8 bits of grey or RGB, by rules that do not depend on the single image."""

import numpy as np
from PIL import Image, ImageOps

from nas_lightning.core.errors import DataError

WHITES = (255, 1023, 4095, 16383, 65535)
"""Largest values of integer pixels of 8, 10, 12, 14 and 16 bits."""
FLOAT_WHITES = (1, 255, 65535)
"""Likewise, of the usual scales of real pixels."""


def is_deep(image: Image.Image) -> bool:
    """Return whether a pixel has more than 8 bits a channel in PIL: modes I;16, I (integers) and F (real numbers)."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def convert(image: Image.Image, mode: str, white: float | None = None, background: int = 255) -> Image.Image:
    """Return an image in 8 bits, upright by its EXIF data.

    Deep pixels become round(value / white · 255). What is transparent shows the background.

    Args:
        image: any image of PIL; only its first frame is used. It may be turned itself, and may be what is returned.
        mode: PIL's name of the colours, `L` or `RGB`.
        white: the value of white pixels where they have more than 8 bits; None: 65535 for integers, 1 for real numbers.
        background: grey level, 0 to 255.

    Raises:
        DataError: Deep pixels are negative, not finite or beyond white.
    """
    # In place, and without PIL's conversion between equal modes: either would copy all pixels.
    ImageOps.exif_transpose(image, in_place=True)
    if is_deep(image):
        return _scaled(image, white, background).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        opaque = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(opaque, image)
    if image.mode == mode:
        image.load()  # decoded while the file is open
        return image
    return image.convert(mode)


def deep_range(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and the largest of an image's deep pixels."""
    values = np.asarray(image)
    return float(values.min()), float(values.max())


def fitting_white(largest: float, real: bool) -> float:
    """Return the smallest usual white that is not below the largest pixel; the pixel itself if there is none."""
    return next((white for white in (FLOAT_WHITES if real else WHITES) if largest <= white), largest)


def _scaled(image: Image.Image, white: float | None, background: int) -> Image.Image:
    """Return deep pixels as 8 bits of grey."""
    real = image.mode == "F"
    white = (1.0 if real else 65535.0) if white is None else white
    low, high = deep_range(image)
    if not (low >= 0 and high <= white):  # also if either is nan
        larger = f"data.white={fitting_white(high, real):g} in training" if high > white else "shifted pixels"
        raise DataError(
            f"its {'real' if real else 'integer'} pixels go from {low:g} to {high:g}, allowed: 0 (black) to {white:g}"
            f" (white); save it in 8 bits, or give {larger}"
        )
    if high > 0 and np.isfinite(white) and round(high * 255 / white) == 0:
        raise DataError(
            f"its {'real' if real else 'integer'} pixels reach {high:g} only, of {white:g} (white), so all would be"
            " black; save it in the format of the others"
        )
    values = np.asarray(image)
    transparent = image.info.get("transparency")
    levels = np.rint(values * (255 / white)).astype(np.uint8)
    if isinstance(transparent, int):
        levels[values == transparent] = background
    return Image.fromarray(levels)
