"""Read pairs of images and their disparities from files.

Disparities are read from `.npy` and `.pfm` files, in pixels, and from 16-bit `.png` files, whose numbers are divided
by a factor and where 0 says that the truth is not known (as in KITTI). Infinite values and NaN are not known either.
Shapes: H rows, W columns.
"""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.data.preprocessing import open_image, read_upright

SUFFIXES = (".npy", ".pfm", ".png")
"""Of files of disparities."""


def read_image(path: Path) -> Tensor:
    """Return an image file in colour, [3, H, W] in [0, 1].

    Raises:
        DataError: It cannot be read.
    """
    return functional.pil_to_tensor(read_upright(str(path), "RGB")).float() / 255


def read_disparity(path: Path, factor: float = 256.0, sign: int = 1) -> Tensor:
    """Return the disparities of a file in pixels, float32 [1, H, W], NaN where they are not known.

    Args:
        path: The file; its suffix says how it is read.
        factor: What the numbers of a 16-bit image are divided by.
        sign: −1 where the file holds motions along x, the negative disparities.

    Raises:
        DataError: It cannot be read, or holds negative disparities.
    """
    if path.suffix == ".png":
        values = _read_png(path, factor)
    elif path.suffix == ".pfm":
        values = read_pfm(path)
    else:
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read the disparities {path} ({error}); repair or remove it") from error
    values = np.squeeze(np.asarray(values, dtype=np.float32))
    if values.ndim != 2:
        raise DataError(f"{path}: disparities of shape {values.shape}; one number a pixel is needed, [rows, columns]")
    return known(torch.from_numpy(sign * values)[None], str(path))


def known(disparity: Tensor, where: str) -> Tensor:
    """Return disparities with NaN for what is not finite.

    Raises:
        DataError: One is negative.
    """
    finite = torch.isfinite(disparity)
    lowest = float(disparity[finite].min()) if finite.any() else 0.0
    if lowest < 0:
        raise DataError(
            f"{where}: a disparity is {lowest:g} px; the right image shows points further left, by a positive number of"
            " pixels; if the files hold the motion along x, use data.disparity_sign=-1"
        )
    return torch.where(finite, disparity, torch.nan)


def _read_png(path: Path, factor: float) -> np.ndarray:
    with open_image(str(path)) as image:
        if image.mode not in ("I", "I;16", "I;16B"):
            raise DataError(f"it has the mode {image.mode}; disparities are 16-bit numbers, I;16")
        values = np.array(image, dtype=np.float32)
    return np.where(values > 0, values / factor, np.nan)


def read_pfm(path: Path) -> np.ndarray:
    """Return the numbers of a portable float map of one channel, [H, W], the first row on top.

    Raises:
        DataError: It is none, or it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the disparities {path} ({error}); repair or remove it") from error
    found = re.match(rb"(P[fF])\s+(\d+)\s+(\d+)\s+(\S+)\s", content)
    try:
        if found is None or found[1] != b"Pf":
            raise ValueError("it does not begin with Pf, columns, rows and scale")
        width, height, scale = int(found[2]), int(found[3]), float(found[4])
        order = "<f4" if scale < 0 else ">f4"
        values = np.frombuffer(content, order, count=width * height, offset=found.end())
    except ValueError as error:
        raise DataError(f"cannot read the disparities {path} ({error}); repair or remove it") from error
    return values.reshape(height, width)[::-1].astype(np.float32)  # rows are stored from the bottom up


def read_mask(path: Path) -> Tensor:
    """Return which pixels of an image file are not black, boolean [1, H, W].

    Raises:
        DataError: It cannot be read.
    """
    with open_image(str(path)) as image:
        return torch.from_numpy(np.array(image.convert("L")) > 0)[None]


def reduced(left: Tensor, right: Tensor, disparity: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reduce a pair by a whole factor: images are averaged, and disparities are those of every so many pixels."""
    if factor == 1:
        return left, right, disparity
    height, width = (side // factor * factor for side in disparity.shape[1:])
    smaller = [torch.nn.functional.avg_pool2d(image[:, :height, :width], factor) for image in (left, right)]
    middle = factor // 2
    return smaller[0], smaller[1], disparity[:, middle:height:factor, middle:width:factor] / factor


def save_disparity_png(disparity: Tensor, path: Path, factor: float = 256.0) -> None:
    """Write disparities [1, H, W] as a 16-bit image; 0 where they are not known.

    Raises:
        DataError: One does not fit 16 bits.
    """
    values = (factor * disparity[0].double()).nan_to_num(0).round()
    if values.max() > 65535:
        raise DataError(
            f"{path}: {values.max() / factor:g} px times {factor:g} does not fit 16 bits; use a smaller factor"
        )
    Image.fromarray(values.numpy().astype(np.uint16)).save(path)
