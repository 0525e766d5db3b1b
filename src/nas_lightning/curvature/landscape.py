"""The loss landscape around the architecture parameters that a search found, over a plane of two random directions.

Source: Chu et al., NoisyDARTS (2020), figure 2; its code has no such tool. Chu et al., DARTS- (ICLR 2021) released one,
which this follows with two fixes: the directions are orthonormal over all architecture parameters (the released
Gram-Schmidt divides by a norm instead of its square, and rescales each table afterwards), and they depend on a seed
alone, so that methods are compared along the same directions.
Shapes: R rows and O options of a choice; P architecture parameters in all. Distances are L2 norms of changes of the
architecture parameters, in their own unit (for a softmax logits).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nas_lightning.core.draws import seeded_generator

Tensors = Mapping[str, Tensor]
Value = TypeVar("Value")
FLAT = 1e-12
"""Largest change over the plane, relative to the largest value, that counts as rounding error and not as curvature."""


def directions(
    shapes: Mapping[str, Sequence[int]], seed: int = 0, masks: Tensors | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw two random orthonormal directions over the architecture parameters of all choices together.

    Standard normal numbers, then Gram-Schmidt on the concatenation. The numbers of a choice depend on the seed, its
    name and its shape alone.

    Args:
        shapes: Shape [R, O] of the architecture parameters by choice.
        seed: Seed of the directions.
        masks: Boolean [R, O] by choice, true for the parameters that exist; the directions are 0 elsewhere. A choice
            that is not named has no mask.

    Returns:
        The two directions by choice, each [R, O] in float64 on the CPU.

    Raises:
        ValueError: There are fewer than two architecture parameters.
    """
    every = {name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in shapes.items()}
    known = _flat({name: (masks or {}).get(name, mask).cpu() for name, mask in every.items()})
    if known.sum() < 2:
        raise ValueError(f"{int(known.sum())} architecture parameters: a plane needs at least two")
    found: list[Tensor] = []
    for number in range(2):
        drawn = {
            name: torch.randn(
                tuple(shape), generator=seeded_generator(seed, "landscape", name, number), dtype=torch.float64
            )
            for name, shape in shapes.items()
        }
        vector = _flat(drawn) * known
        for _ in found * 2:  # twice: the second pass removes the rounding error of the first
            vector = vector - (vector @ found[0]) * found[0]
        found.append(vector / torch.linalg.vector_norm(vector))
    first, second = (
        {name: part.reshape(tuple(shapes[name])) for name, part in zip(shapes, parts, strict=True)}
        for parts in (vector.split([mask.numel() for mask in every.values()]) for vector in found)
    )
    return first, second


def _flat(tensors: Tensors) -> Tensor:
    """Concatenate all tensors, [P]."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()] or [torch.zeros(0)])


def grid(steps: int, radius: float) -> list[tuple[float, float]]:
    """List the points (x, y) of a square grid around the origin, row by row; mirror images are exact.

    Args:
        steps: Points along a side: odd, so that the origin is one of them, and at least 3.
        radius: Half the length of a side.

    Raises:
        ValueError: `steps` is even or below 3, or `radius` is not positive.
    """
    if steps < 3 or steps % 2 == 0 or not radius > 0:
        raise ValueError(f"steps={steps}, radius={radius}: steps must be odd and at least 3, and the radius positive")
    line = [radius * (2 * index - (steps - 1)) / (steps - 1) for index in range(steps)]
    return [(x, y) for y in line for x in line]


def moved(arch: Tensors, plane: tuple[Tensors, Tensors], x: float, y: float) -> dict[str, Tensor]:
    """Return the point arch + x·d1 + y·d2, computed in float64 and rounded to the type of `arch`."""
    first, second = plane
    found: dict[str, Tensor] = {}
    for name, a in arch.items():
        change = x * first[name] + y * second[name]
        found[name] = (a.detach().double() + change.to(a.device)).to(a.dtype)
    return found


def over_plane(
    function: Callable[[dict[str, Tensor]], Value],
    arch: Tensors,
    plane: tuple[Tensors, Tensors],
    points: Iterable[tuple[float, float]],
) -> Iterator[tuple[float, float, Value]]:
    """Evaluate a function of the architecture parameters over a plane, point by point.

    Args:
        function: Architecture parameters by choice → value.
        arch: The centre, each [R, O].
        plane: Two directions, from `directions`.
        points: Coordinates (x, y) along them.

    Yields:
        x, y and the value at that point.
    """
    for x, y in points:
        yield x, y, function(moved(arch, plane, x, y))


@dataclass(frozen=True)
class Anisotropy:
    """Principal curvatures over a plane, from the least-squares quadratic c + g·z + ½ zᵀHz, z = (x, y).

    Args:
        curvatures: Eigenvalues of H, the one of larger magnitude first, in the unit of the value per unit of distance
            squared.
        ratio: Magnitude of the first curvature over that of the second: 1 is round, much more is a valley or a ridge;
            None if the second is zero.
        saddle: True if the two differ in sign, so that contours are hyperbolas; else they are ellipses, whose axes
            relate as 1 : √ratio.
        angle: Direction of the first curvature, degrees from the x axis, in (−90, 90].
        slope: ‖g‖ at the origin, in the unit of the value per unit of distance.
        explained: Share of the variance of the values that the quadratic explains (R²), from 0 to 1: if it is small,
            the curvatures mean little; None if the values are all equal.
    """

    curvatures: tuple[float, float]
    ratio: float | None
    saddle: bool
    angle: float
    slope: float
    explained: float | None


def anisotropy(x: Sequence[float], y: Sequence[float], values: Sequence[float]) -> Anisotropy:
    """Fit a quadratic to values at points of a plane, each [N] and of equal weight, and return its curvatures.

    Raises:
        ValueError: A value is not finite, or the points do not determine a quadratic: six coefficients.
    """
    first, second, found = (np.asarray(list(numbers), dtype=np.float64) for numbers in (x, y, values))
    if not np.isfinite(found).all():
        raise ValueError("the landscape has non-finite values")
    # Columns of order one keep the least squares well conditioned; the scale is divided out of the results.
    scale = float(max(np.abs(first).max(), np.abs(second).max()))
    a, b = first / scale, second / scale
    columns = np.stack([np.ones_like(a), a, b, a * a / 2, a * b, b * b / 2], axis=1)
    coefficients, _, rank, _ = np.linalg.lstsq(columns, found, rcond=None)
    if rank < columns.shape[1]:
        raise ValueError(f"{len(found)} points do not determine a quadratic; take a grid of at least 3 by 3")
    _, gx, gy, hxx, hxy, hyy = coefficients
    eigenvalues, vectors = np.linalg.eigh(np.array([[hxx, hxy], [hxy, hyy]]))
    order = np.argsort(-np.abs(eigenvalues), kind="stable")
    largest, smallest = (float(value) for value in eigenvalues[order])
    # A flat landscape has curvatures of pure rounding error, whose ratio and sign would be arbitrary.
    noise = FLAT * float(np.abs(found).max())
    largest, smallest = (0.0 if abs(value) <= noise else value for value in (largest, smallest))
    along = vectors[:, order[0]]
    angle = math.degrees(math.atan2(float(along[1]), float(along[0])))
    spread = float(((found - found.mean()) ** 2).sum()) if np.ptp(found) > 0 else 0.0
    residual = float(((found - columns @ coefficients) ** 2).sum())
    return Anisotropy(
        curvatures=(largest / scale**2, smallest / scale**2),
        ratio=abs(largest / smallest) if smallest else None,
        saddle=largest * smallest < 0,
        angle=angle - 180 if angle > 90 else angle + 180 if angle <= -90 else angle,
        slope=float(np.hypot(gx, gy)) / scale,
        explained=1 - residual / spread if spread > 0 else None,
    )


def at_distance(
    x: Sequence[float], y: Sequence[float], values: Sequence[float], distance: float, width: float
) -> float:
    """Average the values at a distance from the origin, over the points within ± width/2 of it.

    Raises:
        ValueError: There is no such point.
    """
    near = [
        value
        for a, b, value in zip(x, y, values, strict=True)
        if abs(math.hypot(a, b) - distance) <= width / 2 * (1 + 1e-9)  # points on the edge count despite rounding
    ]
    if not near:
        raise ValueError(f"no point at distance {distance} ± {width / 2}")
    return math.fsum(near) / len(near)
