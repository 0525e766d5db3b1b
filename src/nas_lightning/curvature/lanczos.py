"""The largest eigenvalues of a symmetric operator from few products."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas_lightning.core.draws import seeded_generator


@dataclass(frozen=True)
class RitzPairs:
    """What was found.

    Args:
        values: The k largest Ritz values, largest first.
        residuals: ‖Hv − θv‖ of each, for the products as they were computed.
        errors: Estimated error of each value: the smaller of the residual and residual² / gap.
        products: Products used.
        converged: Whether every estimate is below the tolerance.
    """

    values: np.ndarray
    residuals: np.ndarray
    errors: np.ndarray
    products: int
    converged: bool


def lanczos(
    product: Callable[[Tensor], Tensor],
    size: int,
    k: int = 1,
    rtol: float = 5e-5,
    shift: float = 0.0,
    epsilon: float = 1e-16,
    min_products: int = 10,
    max_products: int = 20,
    guess: Tensor | None = None,
    seed: int = 0,
) -> RitzPairs:
    """The k largest algebraic eigenvalues by Lanczos with full reorthogonalisation, all of it in float64.

    The convergence test is made after every product. An eigenvalue lies within the residual r of the Ritz value, and
    within r² / gap where the gap to the rest of the spectrum is known; the gap to the next Ritz value is taken for
    it. Neither tells which eigenvalue it is: where two are close and the start has little of the larger one's vector,
    the smaller one can pass the test first. A good guess and a least number of products make this unlikely.

    For k > 1 the start is a block of k vectors, whose products are taken in turn, so that eigenvalues of
    multiplicity up to k are all found. Candidates that are in the space already are left out, which is the end of an
    invariant subspace: its Ritz values have residual 0, and a random start has a part in every eigenspace.

    Args:
        product: v → H·v, both [size] in float64 on the CPU.
        size: Dimension P.
        k: How many eigenvalues, at most `size`.
        rtol: Tolerance of the estimated errors, relative to the magnitude of the largest value plus shift.
        shift: Added to every eigenvalue by the caller; here it only enters the tolerance.
        epsilon: Relative rounding error of a product: nothing below 32 times it, times ‖H‖, is asked for.
        min_products: Products at least, unless the space is invariant before.
        max_products: Products at most, but at least k.
        guess: A vector [size] that may be near the first eigenvector; it makes half of the first start vector.
        seed: Of the start vectors.
    """
    rng = seeded_generator(seed, "lanczos")
    start = torch.linalg.qr(torch.randn(size, k, generator=rng, dtype=torch.float64)).Q.T
    if guess is not None and 0 < (length := float(torch.linalg.vector_norm(guess))) < math.inf:
        sign = -1.0 if torch.dot(start[0], guess) < 0 else 1.0  # so that the two never cancel
        start[0] += sign * guess / length
    basis: list[np.ndarray] = []
    images: list[np.ndarray] = []
    candidates = list(start.numpy())
    limit = min(size, max(k, max_products))
    least = min(limit, min_products)
    while True:
        vector = candidates.pop(0)
        before = np.linalg.norm(vector)
        if basis:
            space = np.array(basis)
            for _ in range(2):  # twice is enough: the second pass removes what rounding left
                vector = vector - space.T @ (space @ vector)
        if (left := np.linalg.norm(vector)) > max(4 * epsilon, 1e-14) * before:
            basis.append(vector / left)
            images.append(product(torch.from_numpy(basis[-1])).numpy())
            if not np.isfinite(images[-1]).all():
                nothing = np.full(k, np.nan)
                return RitzPairs(nothing, nothing, nothing, len(basis), False)
            candidates.append(images[-1])
        if len(basis) < k:
            continue
        values, residuals, errors, norm = _ritz(np.array(basis), np.array(images), k)
        tolerance = max(rtol * abs(values[0] + shift), 32 * epsilon * norm)
        complete = len(basis) == size or not candidates
        converged = complete or bool((errors <= tolerance).all())
        if complete or len(basis) == limit or (converged and len(basis) >= least):
            return RitzPairs(values, residuals, errors, len(basis), converged)


def _ritz(basis: np.ndarray, images: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rayleigh–Ritz in the space of `basis` [n, P] with `images` = basis·H: no product is needed for the residuals."""
    small = basis @ images.T
    ritz, vectors = np.linalg.eigh((small + small.T) / 2)
    top = slice(None, -k - 1, -1)
    values = ritz[top]
    weights = vectors[:, top].T
    residuals = np.linalg.norm(weights @ images - values[:, None] * (weights @ basis), axis=1)
    errors = residuals.copy()
    if len(ritz) > k:
        gap = values - ritz[-k - 1]
        known = gap > residuals
        errors[known] = np.minimum(residuals[known], residuals[known] ** 2 / gap[known])
    return values, residuals, errors, float(np.abs(ritz).max())
