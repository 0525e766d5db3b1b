"""The loss around the architecture parameters that a search found, over a plane of two random directions.

Source: Chu et al., NoisyDARTS (2020), figure 2; its code has no such tool. Chu et al., DARTS- (ICLR 2021) released one,
which this follows with what is wrong there mended: the directions are orthonormal over all architecture parameters (the
released Gram-Schmidt divides by a norm instead of its square, and rescales each table afterwards), and they depend on
a seed alone, so that two methods are looked at along the same ones.
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
"""A change over the plane that is so small a share of the largest value is a rounding error, no curvature."""


def directions(
    shapes: Mapping[str, Sequence[int]], seed: int = 0, masks: Tensors | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two random orthonormal directions over the architecture parameters of all choices together.

    Standard normal numbers, then Gram-Schmidt on the concatenation. A choice's numbers depend on the seed, its name and
    its shape alone.

    Args:
        shapes: Shape [R, O] of the architecture parameters by choice.
        seed: Of the directions.
        masks: Boolean [R, O] by choice: parameters that there are; the directions are 0 at the others. Choices that are
            not named have all of theirs.

    Returns:
        By choice, each [R, O] in float64 on the CPU.

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
        for _ in found * 2:  # a second time takes out what rounding has left
            vector = vector - (vector @ found[0]) * found[0]
        found.append(vector / torch.linalg.vector_norm(vector))
    first, second = (
        {name: part.reshape(tuple(shapes[name])) for name, part in zip(shapes, parts, strict=True)}
        for parts in (vector.split([mask.numel() for mask in every.values()]) for vector in found)
    )
    return first, second


def _flat(tensors: Tensors) -> Tensor:
    """All of them one after the other, [P]."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()] or [torch.zeros(0)])


def grid(steps: int, radius: float) -> list[tuple[float, float]]:
    """The points (x, y) of a square grid around the origin, row by row; mirror images are exact.

    Args:
        steps: Points along a side: odd, so that the origin is one of them, and at least 3.
        radius: Half of a side.

    Raises:
        ValueError: Such a grid has no centre, no extent or no radius.
    """
    if steps < 3 or steps % 2 == 0 or not radius > 0:
        raise ValueError(f"steps={steps}, radius={radius}: takes an odd number of at least 3, and a positive radius")
    line = [radius * (2 * index - (steps - 1)) / (steps - 1) for index in range(steps)]
    return [(x, y) for y in line for x in line]


def moved(arch: Tensors, plane: tuple[Tensors, Tensors], x: float, y: float) -> dict[str, Tensor]:
    """The point arch + x·d1 + y·d2, computed in float64 and rounded to the type of `arch`."""
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
    """The values of a function of the architecture parameters over a plane, one point after the other.

    Args:
        function: Architecture parameters by choice → value.
        arch: The centre, each [R, O].
        plane: Two directions, from `directions`.
        points: Coordinates (x, y) along them.

    Yields:
        x, y and the value there.
    """
    for x, y in points:
        yield x, y, function(moved(arch, plane, x, y))


@dataclass(frozen=True)
class Anisotropy:
    """How curved the values over a plane are, from their least-squares quadratic c + g·z + ½ zᵀHz, z = (x, y).

    Args:
        curvatures: Eigenvalues of H, the larger one by size first: change of the slope by unit of distance, in the
            unit of the value by unit of distance squared.
        ratio: Size of the first curvature over that of the second: 1 is round, much more is a valley or a ridge; None
            where the second is zero.
        saddle: Whether the two differ in sign, so that contours are no ellipses; otherwise their axes are as
            1 : √ratio.
        angle: Direction of the first curvature, degrees from the x axis, in (−90, 90].
        slope: ‖g‖ at the origin, in the unit of the value by unit of distance.
        explained: Share of the values' variance that the quadratic explains (R²), from 0 to 1: where it is small, the
            curvatures say little; None where the values are all equal.
    """

    curvatures: tuple[float, float]
    ratio: float | None
    saddle: bool
    angle: float
    slope: float
    explained: float | None


def anisotropy(x: Sequence[float], y: Sequence[float], values: Sequence[float]) -> Anisotropy:
    """Principal curvatures in a plane, from all of its points [N] alike.

    Raises:
        ValueError: A value is not finite, or the points do not determine a quadratic: six coefficients.
    """
    first, second, found = (np.asarray(list(numbers), dtype=np.float64) for numbers in (x, y, values))
    if not np.isfinite(found).all():
        raise ValueError("the landscape has values that are no finite numbers")
    scale = float(max(np.abs(first).max(), np.abs(second).max()))  # so that all columns are of order one
    a, b = first / scale, second / scale
    columns = np.stack([np.ones_like(a), a, b, a * a / 2, a * b, b * b / 2], axis=1)
    coefficients, _, rank, _ = np.linalg.lstsq(columns, found, rcond=None)
    if rank < columns.shape[1]:
        raise ValueError(f"{len(found)} points do not determine a quadratic; take a grid of at least 3 by 3")
    _, gx, gy, hxx, hxy, hyy = coefficients
    eigenvalues, vectors = np.linalg.eigh(np.array([[hxx, hxy], [hxy, hyy]]))
    order = np.argsort(-np.abs(eigenvalues), kind="stable")
    largest, smallest = (float(value) for value in eigenvalues[order])
    noise = FLAT * float(np.abs(found).max())
    largest, smallest = (0.0 if abs(value) <= noise else value for value in (largest, smallest))
    along = vectors[:, order[0]]
    angle = math.degrees(math.atan2(float(along[1]), float(along[0])))
    spread = float(((found - found.mean()) ** 2).sum()) if np.ptp(found) > 0 else 0.0
    left = float(((found - columns @ coefficients) ** 2).sum())
    return Anisotropy(
        curvatures=(largest / scale**2, smallest / scale**2),
        ratio=abs(largest / smallest) if smallest else None,
        saddle=largest * smallest < 0,
        angle=angle - 180 if angle > 90 else angle + 180 if angle <= -90 else angle,
        slope=float(np.hypot(gx, gy)) / scale,
        explained=1 - left / spread if spread > 0 else None,
    )


def at_distance(
    x: Sequence[float], y: Sequence[float], values: Sequence[float], distance: float, width: float
) -> float:
    """Mean of the values at a distance from the origin, over the points that are at most width/2 nearer or farther.

    Raises:
        ValueError: There is no such point.
    """
    near = [
        value
        for a, b, value in zip(x, y, values, strict=True)
        if abs(math.hypot(a, b) - distance) <= width / 2 * (1 + 1e-9)
    ]
    if not near:
        raise ValueError(f"no point at distance {distance} ± {width / 2}")
    return math.fsum(near) / len(near)
