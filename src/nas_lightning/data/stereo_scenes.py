"""Rendered pairs of images with exact disparities: planes in front of a plane, textured by continuous functions.

A scene is a background and a few shapes (ellipses, boxes, rhombi). Each is a plane of disparity d = a + b·x + c·y in
the pixels of the left image, painted with a sum of waves. Both views are sampled from the same function, without
interpolation: a point that the right view shows at x' lies in the left one at x with x − d(x, y) = x', that is
x = (x' + a + c·y) / (1 − b). The shape with the largest disparity is the nearest and hides the others.
Everything is a pure function of (seed, index). Ours; no data set is rendered this way.
Shapes: H rows and W columns of pixels, N points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nas_lightning.core.draws import hashed_seed
from nas_lightning.core.errors import DataError

Array = NDArray[np.float64]
SLOPE = 0.04
"""Largest change of the disparity from a pixel to the next."""
FINEST = 0.45
"""Highest frequency of a texture, in cycles a pixel: below what a pixel grid can hold."""
OCTAVES, WAVES, FALL = 5, 4, 0.75
"""Bands of a texture, each of half the frequency of the one before; waves a band; factor of amplitude a finer band."""
FAINT = 0.15
"""Share of shapes that are nearly uniform, so that matching them is ambiguous."""
FAR = 0.2
"""Share of the range of disparities that is left to the background; shapes are in front of it."""
TRIES = 1000


@dataclass(frozen=True)
class SceneSettings:
    """What scenes look like.

    Args:
        height: Rows of an image.
        width: Columns of an image.
        max_disparity: Largest disparity, in pixels.
        min_disparity: Smallest disparity, in pixels; at least 0.
        layers: Largest number of shapes in front of the background; a scene has from half of it up to it.
        photometric: Strength of the differences in brightness, contrast and noise between the views; 0: none.

    Raises:
        DataError: The disparities do not fit the images.
    """

    height: int = 64
    width: int = 128
    max_disparity: float = 16.0
    min_disparity: float = 0.0
    layers: int = 7
    photometric: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_disparity < self.max_disparity:
            raise DataError(
                f"data.min_disparity={self.min_disparity:g}: must be at least 0 and less than"
                f" data.max_disparity={self.max_disparity:g}; use data.min_disparity=0"
            )
        if self.max_disparity > self.width / 2:
            raise DataError(
                f"data.max_disparity={self.max_disparity:g}: more than half of data.width={self.width}; use at most"
                f" data.max_disparity={self.width // 2}"
            )


@dataclass(frozen=True)
class Pair:
    """A rendered pair.

    Attributes:
        left: Left image, float32 [3, H, W] in [0, 1].
        right: Right image, likewise.
        disparity: Of the left image, float64 [H, W], in pixels: a point at x is at x − d in the right image.
        occluded: Boolean [H, W]: points of the left image that the right one does not show.
        disparity_right: Of the right image: a point at x is at x + d in the left image.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    disparity: Array
    occluded: NDArray[np.bool_]
    disparity_right: Array


class Layer:
    """A shape: where it is, its plane of disparity, and its texture.

    Args:
        rng: Draws it.
        settings: Of the scene.
        background: Whether it covers everything.

    Raises:
        DataError: No plane with disparities within the bounds was found.
    """

    def __init__(self, rng: Generator, settings: SceneSettings, background: bool) -> None:
        height, width = settings.height, settings.width
        self.shape = "all" if background else ("ellipse", "box", "rhombus")[rng.integers(3)]
        self.centre = rng.uniform(0, width), rng.uniform(0, height)
        self.half = rng.uniform(0.08, 0.25) * width, rng.uniform(0.12, 0.4) * height
        self.plane = self._plane(rng, settings, background)
        bands = np.repeat(np.arange(OCTAVES), WAVES)
        frequency = FINEST * 2.0**-bands * rng.uniform(0.5, 1.0, bands.size)
        angle = rng.uniform(0, 2 * np.pi, bands.size)
        self.waves = 2 * np.pi * frequency * np.stack([np.cos(angle), np.sin(angle)])  # [2, waves]
        self.phase = rng.uniform(0, 2 * np.pi, bands.size)
        contrast = 0.01 if rng.random() < FAINT else rng.uniform(0.08, 0.2)
        self.amplitude = contrast * FALL ** (OCTAVES - 1 - bands) * rng.uniform(0.5, 1.0, bands.size)
        self.colour = rng.uniform(0.25, 0.75, 3)
        self.tint = rng.uniform(0.5, 1.0, 3)

    def _plane(self, rng: Generator, settings: SceneSettings, background: bool) -> tuple[float, float, float]:
        """Draw a, b and c so that disparities stay within the bounds on all that the shape covers in either view."""
        low, high = settings.min_disparity, settings.max_disparity
        (x, y), (dx, dy) = self.centre, self.half
        # The right view sees the background up to this far beyond the right edge of the left one.
        xs = (0.0, settings.width + high) if background else (x - dx, x + dx)
        ys = (0.0, float(settings.height)) if background else (y - dy, y + dy)
        for _ in range(TRIES):
            b, c = rng.uniform(-SLOPE, SLOPE, 2)
            reach = abs(b) * (xs[1] - xs[0]) / 2 + abs(c) * (ys[1] - ys[0]) / 2
            # The background is far, shapes are anywhere in front of it: so disparities spread over their whole range.
            near = rng.uniform(0, FAR) if background else rng.uniform(FAR, 1)
            middle = low + near * (high - low) + (reach if background else 0.0)
            if low <= middle - reach and middle + reach <= high:
                return middle - b * sum(xs) / 2 - c * sum(ys) / 2, b, c
        raise DataError(
            f"data.max_disparity={high:g}: no plane between it and data.min_disparity={low:g} fits images of"
            f" {settings.height}x{settings.width} pixels; allow a wider range, data.max_disparity={2 * high + 2:g}"
        )

    def disparity(self, x: Array, y: Array) -> Array:
        """Return the disparities at points of the left image."""
        a, b, c = self.plane
        return a + b * x + c * y

    def in_left(self, x: Array, y: Array) -> Array:
        """Return where in the left image points lie that the right one shows at x."""
        a, b, c = self.plane
        return (x + a + c * y) / (1 - b)

    def covers(self, x: Array, y: Array) -> NDArray[np.bool_]:
        """Return which points of the left image it covers."""
        u, v = np.abs(x - self.centre[0]) / self.half[0], np.abs(y - self.centre[1]) / self.half[1]
        if self.shape == "ellipse":
            return u * u + v * v <= 1
        if self.shape == "box":
            return np.maximum(u, v) <= 1
        return u + v <= 1 if self.shape == "rhombus" else np.ones(x.shape, dtype=bool)

    def paint(self, x: Array, y: Array) -> Array:
        """Return the colours of points [N] of the left image, [3, N]."""
        waves = np.sin(np.multiply.outer(x, self.waves[0]) + np.multiply.outer(y, self.waves[1]) + self.phase)
        return self.colour[:, None] + np.multiply.outer(self.tint, waves @ self.amplitude)


class Scene:
    """A background and shapes in front of it: a pure function of (seed, index).

    Args:
        settings: What scenes look like.
        seed: Of the set.
        index: Of the scene.
    """

    def __init__(self, settings: SceneSettings, seed: int, index: int) -> None:
        self.settings = settings
        self.rng = np.random.default_rng(hashed_seed(seed, "scene", index))
        fewest = (settings.layers + 1) // 2
        number = int(self.rng.integers(fewest, settings.layers + 1))
        self.layers = [Layer(self.rng, settings, background=place == 0) for place in range(1 + number)]

    def nearest(self, x: Array, y: Array, right: bool) -> tuple[NDArray[np.int64], Array, Array]:
        """Find what a view shows at points.

        Args:
            x: Columns in that view, of any shape.
            y: Rows, likewise.
            right: Whether the view is the right one.

        Returns:
            Number of the layer, its disparity, and the point's column in the left image.
        """
        shown, best, column = np.zeros(x.shape, dtype=np.int64), np.full(x.shape, -np.inf), np.zeros(x.shape)
        for number, layer in enumerate(self.layers):
            at = layer.in_left(x, y) if right else x
            disparity = layer.disparity(at, y)
            closer = layer.covers(at, y) & (disparity > best)
            shown[closer], best[closer], column[closer] = number, disparity[closer], at[closer]
        return shown, best, column

    def colours(self, shown: NDArray[np.int64], x: Array, y: Array) -> Array:
        """Return the colours [3, …] of points of layers, by their columns in the left image."""
        image = np.empty((3, *x.shape))
        for number, layer in enumerate(self.layers):
            here = shown == number
            image[:, here] = layer.paint(x[here], y[here])
        return image

    def occluded(self, shown: NDArray[np.int64], disparity: Array, x: Array, y: Array) -> NDArray[np.bool_]:
        """Return which points of the left image the right one shows no part of, or hides behind another layer."""
        target = x - disparity
        outside = (target < 0) | (target > self.settings.width - 1)
        return outside | (self.nearest(target, y, right=True)[0] != shown)

    def render(self) -> Pair:
        """Render both views, with their photometric differences, and the truth."""
        y, x = np.mgrid[: self.settings.height, : self.settings.width].astype(np.float64)
        shown, disparity, _ = self.nearest(x, y, right=False)
        shown_right, disparity_right, column = self.nearest(x, y, right=True)
        left, right = self.colours(shown, x, y), self.colours(shown_right, column, y)
        return Pair(
            self._exposed(left),
            self._exposed(right),
            disparity,
            self.occluded(shown, disparity, x, y),
            disparity_right,
        )

    def _exposed(self, image: Array) -> NDArray[np.float32]:
        """Change gain and gamma, add noise, and clip to [0, 1]."""
        strength = self.settings.photometric
        gain, gamma = np.exp(strength * self.rng.normal(0, 0.03, 2))
        noise = strength * self.rng.normal(0, 0.01, image.shape)
        return np.clip(gain * np.clip(image, 0, 1) ** gamma + noise, 0, 1).astype(np.float32)


def render(settings: SceneSettings, seed: int, index: int) -> Pair:
    """Render the pair of an index."""
    return Scene(settings, seed, index).render()
