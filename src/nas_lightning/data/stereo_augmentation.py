"""Augment pairs of images together with their disparities.

Source: Zela et al., RobustDARTS (ICLR 2020), section 5.1 (S6): a factor multiplies the variance of every distribution
of the augmentation. The distributions themselves are not published; these are ours, of the kind that AutoDispNet and
FlowNet train with. A point of the output lies in the left image at

    x' − m = z·((x − m) + k·(y − n)) + t,    y' − n = z·(y − n) + u        (m, n: the middle of the images)

and in the right image at the same place shifted by s, so its disparity becomes z·d − s.
Not offered, because pairs would no longer be rectified or their truth would be another: rotations, flips, and shifts of
rows that differ between the images.
Shapes: C channels of an image, H rows, W columns; h rows and w columns of the output.
"""

from dataclasses import dataclass
from math import exp, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

TRANSLATION, SCALE, SHEAR = 0.05, 0.15, 0.05
"""Deviations of the shift of both images as a share of their sides, of the logarithm of the scale, and of the shear."""
SHIFT = 4.0
"""Deviation of the shift of the right image, in pixels."""
BRIGHTNESS, CONTRAST, GAMMA, COLOUR, NOISE = 0.1, 0.2, 0.15, 0.1, 0.02
"""Deviations of brightness, and of the logarithms of contrast, gamma and of a channel's gain; that of the noise's."""
APART = 0.1
"""Deviation of what differs between the images, as a share of that of what they have in common."""
TRIES = 10


@dataclass(frozen=True)
class Geometry:
    """Where the points of the output come from.

    Args:
        scale: z.
        shear: k.
        columns: t, in pixels.
        rows: u, in pixels.
        shift: s of the right image, in pixels.
    """

    scale: float = 1.0
    shear: float = 0.0
    columns: float = 0.0
    rows: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True)
class Colours:
    """Changes of the colours of one image.

    Args:
        brightness: Added to all channels.
        contrast: Factor of the distance from grey.
        gamma: Exponent.
        gains: Factor of each channel.
        noise: Deviation of the noise that is added.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    gains: tuple[float, ...] = ()
    noise: float = 0.0


@dataclass(frozen=True)
class StereoAugmentation:
    """Random geometry of a pair and its truth, then random colours.

    Args:
        height: Rows h of the output, at most those of the images.
        width: Columns w of the output, likewise.
        factor: Factor of all variances, so deviations and ranges grow with its root; 0: the middle of the images as
            they are.
    """

    height: int
    width: int
    factor: float = 1.0

    def __call__(self, left: Tensor, right: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Augment a pair; draws from torch's global generator.

        Args:
            left: Left image in [0, 1], [C, H, W].
            right: Right image, likewise.
            disparity: [1, H, W], NaN where it is not known.

        Returns:
            The same of the output, [C, h, w], [C, h, w] and [1, h, w].
        """
        height, width = disparity.shape[1:]
        reach = min(1.0, sqrt(self.factor))
        corner = tuple(
            round(room / 2 + _uniform() * reach * room / 2) for room in (height - self.height, width - self.width)
        )
        if self.factor == 0:
            return crop(left, right, disparity, corner[0], corner[1], self.height, self.width)
        geometry = self.draw_geometry(disparity)
        pair = crop(*warp(left, right, disparity, geometry), corner[0], corner[1], self.height, self.width)
        colours = self.draw_colours(len(left))
        return recolour(pair[0], colours[0]), recolour(pair[1], colours[1]), pair[2]

    def draw_geometry(self, disparity: Tensor) -> Geometry:
        """Draw shifts, scale and shear for a pair of that disparity [1, H, W], of which none may become negative."""
        root = sqrt(self.factor)
        height, width = disparity.shape[1:]
        scale = exp(root * SCALE * _normal())
        shear = root * SHEAR * _normal()
        columns, rows = (root * TRANSLATION * side * _normal() for side in (width, height))
        known = disparity[torch.isfinite(disparity)]
        least = scale * float(known.min()) if len(known) else 0.0
        shifts = [root * SHIFT * _normal() for _ in range(TRIES)]
        shift = next((shift for shift in shifts if shift <= least), 0.0)
        return Geometry(scale, shear, columns, rows, shift)

    def draw_colours(self, channels: int) -> tuple[Colours, Colours]:
        """Draw the changes of both images, most of which they have in common."""
        root = sqrt(self.factor)
        common = [_normal() for _ in range(3 + channels)]

        def one() -> Colours:
            brightness, contrast, gamma, *gains = (root * (value + APART * _normal()) for value in common)
            return Colours(
                BRIGHTNESS * brightness,
                exp(CONTRAST * contrast),
                exp(GAMMA * gamma),
                tuple(exp(COLOUR * gain) for gain in gains),
                abs(root * NOISE * _normal()),
            )

        return one(), one()


def crop(
    left: Tensor, right: Tensor, disparity: Tensor, top: int, start: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the same window out of both images and the truth."""
    rows, columns = slice(top, top + height), slice(start, start + width)
    return left[:, rows, columns], right[:, rows, columns], disparity[:, rows, columns]


def warp(left: Tensor, right: Tensor, disparity: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Move the points of both images and of the truth.

    Images are read linearly, and repeat their edges outside. The truth is that of the nearest pixel, because a mean
    over an edge is the disparity of neither side; outside the left image it is not known.
    """
    height, width = disparity.shape[1:]
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    v = (y - middle_y - geometry.rows) / geometry.scale
    rows = v + middle_y

    def columns_at(shift: float) -> Tensor:
        return (x - middle_x - geometry.columns - shift) / geometry.scale - geometry.shear * v + middle_x

    columns = columns_at(0.0)
    nearest = columns.round().long(), rows.round().long()
    inside = (nearest[0] >= 0) & (nearest[0] < width) & (nearest[1] >= 0) & (nearest[1] < height)
    picked = disparity[:, nearest[1].clamp(0, height - 1), nearest[0].clamp(0, width - 1)]
    moved = torch.where(inside, geometry.scale * picked - geometry.shift, torch.nan)
    return _read(left, columns, rows), _read(right, columns_at(geometry.shift), rows), moved


def _read(image: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Return the values [C, H, W] of an image at points [H, W], linearly."""
    height, width = image.shape[1:]
    grid = torch.stack([2 * columns / max(1, width - 1) - 1, 2 * rows / max(1, height - 1) - 1], dim=-1)
    return F.grid_sample(image[None], grid[None].to(image), padding_mode="border", align_corners=True)[0]


def recolour(image: Tensor, colours: Colours) -> Tensor:
    """Change gamma, gains, contrast and brightness of an image in [0, 1], add noise, and clip to [0, 1]."""
    gains = image.new_tensor(colours.gains or (1.0,) * len(image))[:, None, None]
    image = gains * image.clamp(0, 1) ** colours.gamma
    image = (image - 0.5) * colours.contrast + 0.5 + colours.brightness
    if colours.noise:
        image = image + colours.noise * torch.randn_like(image)
    return image.clamp(0, 1)


def _normal() -> float:
    return float(torch.randn(()))


def _uniform() -> float:
    """Return a number from −1 to 1."""
    return float(2 * torch.rand(()) - 1)
