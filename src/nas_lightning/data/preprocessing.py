"""Turn an image file of any size into the pixels that a trained network expects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import LFS, lfs_pointer


@contextmanager
def open_image(path: str) -> Iterator[Image.Image]:
    """Open an image file and read its header.

    Raises:
        DataError: It cannot be read, also where that fails only within the block, at decoding.
    """
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = _pointer(path) or " ".join(str(error).split())
        raise DataError(f"cannot read the image {path} ({reason}); repair or remove it") from error


def _pointer(path: str) -> str:
    """Return what to do about a file that Git LFS left in the place of an image; "" where it is none."""
    try:
        with Path(path).open("rb") as stream:
            return lfs_pointer(stream.read(len(LFS)))
    except (OSError, ValueError):
        return ""


def read_upright(path: str, mode: str, side: int | None = None) -> Image.Image:
    """Return one photo, turned upright by its EXIF data.

    Args:
        path: The file.
        mode: PIL's name of the colours, `L` or `RGB`.
        side: A JPEG is decoded only as finely as this shorter side needs, several times faster; None: at full size.

    Raises:
        DataError: The file cannot be read.
    """
    with open_image(path) as image:
        if side is not None:
            image.draft("RGB", (side, side))
        return ImageOps.exif_transpose(image).convert(mode)


@dataclass(frozen=True)
class Preprocessing:
    """The steps of a source's test images before they were normalised: resize, then cut out the middle.

    Args:
        in_channels: 1 for grey images, 3 for RGB.
        size: Side of the middle square that is cut out, in pixels.
        resize: The shorter side before that, in pixels; two numbers stretch to that height and width.
        shrink_on_decode: JPEG files are decoded only as finely as needed, as their training images were.
    """

    in_channels: int
    size: int
    resize: int | Sequence[int]
    shrink_on_decode: bool = False

    def read(self, path: str) -> Tensor:
        """Return one image, upright: uint8 [in_channels, size, size].

        Raises:
            DataError: The file cannot be read.
        """
        side = [self.resize] if isinstance(self.resize, int) else list(self.resize)
        finely = side[0] if self.shrink_on_decode and len(side) == 1 else None
        image = functional.resize(read_upright(path, "L" if self.in_channels == 1 else "RGB", finely), side)
        return functional.pil_to_tensor(functional.center_crop(image, [self.size]))
