"""Turn an image file of any size into the pixels that a trained network expects."""

import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import LFS, lfs_pointer
from nas_lightning.data import pixels

DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What PIL raises for damaged files: its readers of rare formats check little."""


@contextmanager
def open_image(path: str) -> Iterator[Image.Image]:
    """Open an image file and read its header.

    Raises:
        DataError: It cannot be read, also where that fails only within the block, at decoding.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for ever
            raise DataError("it is not a regular file")
        with Image.open(path) as image:
            yield image
    except DataError as error:
        raise DataError(f"cannot use the image {path}: {error}") from error
    except DAMAGED as error:
        reason = _pointer(path) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read the image {path} ({reason}); repair or remove it") from error


def _pointer(path: str) -> str:
    """Return what to do about a file that Git LFS left in the place of an image; "" where it is none."""
    try:
        with Path(path).open("rb") as stream:
            return lfs_pointer(stream.read(len(LFS)))
    except (OSError, ValueError):
        return ""


def read_upright(
    path: str, mode: str, side: int | None = None, white: float | None = None, background: int = 255
) -> Image.Image:
    """Return one photo in 8 bits, turned upright by its EXIF data: the one way in which image files are read.

    Args:
        path: The file.
        mode: PIL's name of the colours, `L` or `RGB`.
        side: A JPEG is decoded only as finely as this shorter side needs, several times faster; None: at full size.
        white: The value of white where pixels have more than 8 bits; see `pixels.convert`.
        background: Grey level, 0 to 255, that shows where the image is transparent.

    Raises:
        DataError: The file cannot be read, or its pixels are beyond white.
    """
    with open_image(path) as image:
        if side is not None:
            image.draft("RGB", (side, side))
        return pixels.convert(image, mode, white, background)


@dataclass(frozen=True)
class Preprocessing:
    """The steps of a source's test images before they were normalised: resize, then cut out the middle.

    Args:
        in_channels: 1 for grey images, 3 for RGB.
        size: Side of the middle square that is cut out, in pixels.
        resize: The shorter side before that, in pixels; two numbers stretch to that height and width.
        shrink_on_decode: JPEG files are decoded only as finely as needed, as their training images were.
        white: The value of white where the pixels of a file have more than 8 bits; None: 65535, or 1 for real numbers.
        background: Grey level that shows where a file is transparent.
    """

    in_channels: int
    size: int
    resize: int | Sequence[int]
    shrink_on_decode: bool = False
    white: float | None = None
    background: int = 255

    def read(self, path: str) -> Tensor:
        """Return one image, upright: uint8 [in_channels, size, size].

        Raises:
            DataError: The file cannot be read.
        """
        side = [self.resize] if isinstance(self.resize, int) else list(self.resize)
        finely = side[0] if self.shrink_on_decode and len(side) == 1 else None
        mode = "L" if self.in_channels == 1 else "RGB"
        image = read_upright(path, mode, finely, self.white, self.background)
        return functional.pil_to_tensor(functional.center_crop(functional.resize(image, side), [self.size]))
