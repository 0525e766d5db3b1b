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
    """The k largest Ritz values of a Lanczos run, with their errors.

    Args:
        values: The k largest Ritz values, largest first.
        residuals: ‖Hv − θv‖ of each, for the products as they were computed.
        errors: Estimated error of each value: the smaller of the residual and residual² / gap.
        products: Products used.
        converged: True if every error is below the tolerance.
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
    """Compute the k largest algebraic eigenvalues by Lanczos with full reorthogonalisation, in float64 throughout.

    Convergence is tested after every product. An eigenvalue lies within the residual r of the Ritz value, and within
    r² / gap if the gap to the rest of the spectrum is known; it is estimated by the gap to the next Ritz value.
    Neither bound identifies the eigenvalue: if two are close and the start has a small component along the larger
    one's vector, the smaller one can pass the test first. A good guess and a minimum of products make this unlikely.

    For k > 1 the start is a block of k vectors, whose products are taken in turn, so that all eigenvalues of
    multiplicity up to k are found. Candidates within the space are dropped; when none remains, the subspace is
    invariant: its Ritz values have residual 0, and a random start has a component in every eigenspace.

    Args:
        product: v → H·v, both [size] in float64 on the CPU.
        size: Dimension P.
        k: Number of eigenvalues, at most `size`.
        rtol: Tolerance of the estimated errors, relative to the magnitude of the largest value plus shift.
        shift: Added to every eigenvalue by the caller; here it only enters the tolerance.
        epsilon: Relative rounding error of a product; the tolerance is at least 32 · epsilon · ‖H‖.
        min_products: Minimum number of products, unless the space is invariant earlier.
        max_products: Maximum number of products, raised to k if it is smaller.
        guess: A vector [size] that may be near the first eigenvector: half of the first start vector.
        seed: Seed of the start vectors.
    """
    basis: list[np.ndarray] = []
    images: list[np.ndarray] = []
    candidates = _start_block(size, k, guess, seed)
    limit = min(size, max(k, max_products))
    least = min(limit, min_products)
    while True:
        candidate = candidates.pop(0)
        vector = _orthogonal_part(candidate, basis)
        # A shorter remainder is rounding error: the candidate is in the space.
        if (length := np.linalg.norm(vector)) > max(4 * epsilon, 1e-14) * np.linalg.norm(candidate):
            basis.append(vector / length)
            images.append(product(torch.from_numpy(basis[-1])).numpy())
            if not np.isfinite(images[-1]).all():
                unknown = np.full(k, np.nan)
                return RitzPairs(unknown, unknown, unknown, len(basis), False)
            candidates.append(images[-1])  # in turn, so that the k sequences of the block grow evenly
        if len(basis) < k:  # fewer than k Ritz values exist yet
            continue
        values, residuals, errors, norm = _ritz(np.array(basis), np.array(images), k)
        tolerance = max(rtol * abs(values[0] + shift), 32 * epsilon * norm)
        complete = len(basis) == size or not candidates
        converged = complete or bool((errors <= tolerance).all())
        if complete or len(basis) == limit or (converged and len(basis) >= least):
            return RitzPairs(values, residuals, errors, len(basis), converged)


def _start_block(size: int, k: int, guess: Tensor | None, seed: int) -> list[np.ndarray]:
    """Draw k orthonormal start vectors, each [size]; add the guess, as a unit vector, to the first."""
    rng = seeded_generator(seed, "lanczos")
    start = torch.linalg.qr(torch.randn(size, k, generator=rng, dtype=torch.float64)).Q.T
    if guess is not None and 0 < (length := float(torch.linalg.vector_norm(guess))) < math.inf:
        sign = -1.0 if torch.dot(start[0], guess) < 0 else 1.0  # so that the two never cancel
        start[0] += sign * guess / length
    return list(start.numpy())


def _orthogonal_part(vector: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """Remove from a vector its projection on an orthonormal basis."""
    if basis:
        space = np.array(basis)
        for _ in range(2):  # "twice is enough": the second pass removes the rounding error of the first
            vector = vector - space.T @ (space @ vector)
    return vector


def _ritz(basis: np.ndarray, images: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Apply Rayleigh–Ritz in the space of `basis` [n, P] with `images` = basis·H; residuals need no further product.

    Returns:
        Values, residuals and errors, each [min(k, n)], largest value first, and the estimate max |θ| of ‖H‖.
    """
    small = basis @ images.T
    ritz, vectors = np.linalg.eigh((small + small.T) / 2)
    top = slice(None, -k - 1, -1)
    values = ritz[top]
    weights = vectors[:, top].T
    residuals = np.linalg.norm(weights @ images - values[:, None] * (weights @ basis), axis=1)
    errors = residuals.copy()
    if len(ritz) > k:
        # r² / gap is the tighter bound only if the gap exceeds the residual r.
        gap = values - ritz[-k - 1]
        known = gap > residuals
        errors[known] = np.minimum(residuals[known], residuals[known] ** 2 / gap[known])
    return values, residuals, errors, float(np.abs(ritz).max())
