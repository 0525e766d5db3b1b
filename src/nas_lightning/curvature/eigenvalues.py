"""Hessian of a loss in the architecture parameters, and its eigenvalues.

Source: Zela et al., RobustDARTS (ICLR 2020), section 4, and the released code: H = ∇²_α L + wd·I with the weight decay
of the architecture optimizer (1e-3), all choices together, at the weights as they are; the dominant eigenvalue is the
largest algebraic one. Deviation from the released code: a symmetric eigensolver in float64 (theirs is a general one,
which can return complex pairs). `scipy.sparse.linalg.eigsh` is not used: from the same start it takes about as many
products (11 to 16 with ncv=10), but ARPACK tests convergence only when its `ncv` vectors are full, has no maximum of
products, and fails on zero and one-dimensional Hessians.
"""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_lightning.capture.graphs import Graphs
from nas_lightning.core.bilevel import Reduce
from nas_lightning.curvature.lanczos import RitzPairs, lanczos
from nas_lightning.curvature.products import Arch, LossOfArch, hessian_products

log = logging.getLogger(__name__)

CHUNK = 32
"""Rows of the Hessian in one backward pass; memory grows with it."""


@dataclass(frozen=True)
class Measurement:
    """The dominant eigenvalue with the cost and the accuracy of its measurement.

    Args:
        value: Largest algebraic eigenvalue, weight decay included; nan where the Hessian is not finite.
        products: Hessian-vector products used; for the dense Hessian its number of rows.
        residual: ‖Hv − λv‖ of the unit eigenvector v found: λ is at most this far from an eigenvalue.
    """

    value: float
    products: int
    residual: float


def measure(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None = None,
    exact: bool = False,
    weight_decay: float = 0.0,
    rtol: float = 5e-5,
    max_products: int = 20,
    seed: int = 0,
    chunk: int = CHUNK,
    reduce: Reduce = lambda tensors: tensors,
    graphs: Graphs | None = None,
) -> Measurement:
    """Measure the largest algebraic eigenvalue of ∇²_α L + weight_decay·I, by Lanczos.

    Convergence is tested after every product. Measured on supernets of the space `darts` (224 architecture parameters,
    3 to 8 cells): 10 to 20 products at random weights (median 13), where the largest eigenvalues are close; 10 once
    the weights are trained a little, 10 to 15 in searches on the digits. Without a maximum, one in ten of the
    measurements at random weights would take 21 to 23. The minimum is ten, because with fewer the second eigenvalue
    can be mistaken for the first. Half of the start vector is the gradient, which is free and leans towards the first
    eigenvector.

    The loss is evaluated once; all products differentiate the same graph, so they see the same random draws. There are
    no side effects: architecture parameters, their `.grad`, torch's global random numbers and the buffers of batch
    normalisation are unchanged. A warning is logged if the tolerance is not met.

    Args:
        loss_of_arch: Architecture parameters, in the structure of `arch`, → scalar loss of one fixed batch.
        arch: Architecture parameters: by choice, in a sequence, or a single tensor; they need not require gradients.
        module: The network in the loss: its batch normalisation updates no buffer; its train or evaluation mode is
            kept.
        exact: Use the dense Hessian instead of Lanczos.
        weight_decay: Added to every eigenvalue.
        rtol: Tolerance of the estimated error, relative to the eigenvalue.
        max_products: Maximum number of products.
        seed: Seed of the start vector.
        chunk: For `exact`, rows of the Hessian in one backward pass.
        reduce: Averages tensors over the processes of a distributed run: the loss is the mean over the processes.
        graphs: Replays the products of Lanczos' method by a graph; None computes them eagerly.

    Raises:
        ValueError: There are no architecture parameters, or an argument is out of its range.
    """
    if not exact:
        found = _lanczos(loss_of_arch, arch, module, weight_decay, 1, rtol, max_products, seed, reduce, graphs)
        return Measurement(float(found.values[0]) + weight_decay, found.products, float(found.residuals[0]))
    dense = hessian(loss_of_arch, arch, module, weight_decay, chunk, reduce)
    if not dense.isfinite().all():
        log.warning("the Hessian in the architecture parameters is not finite: no eigenvalue")
        return Measurement(math.nan, len(dense), math.nan)
    values, vectors = torch.linalg.eigh(dense)
    residual = torch.linalg.vector_norm(dense @ vectors[:, -1] - values[-1] * vectors[:, -1])
    return Measurement(float(values[-1]), len(dense), float(residual))


def dominant_eigenvalue(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None = None,
    exact: bool = False,
    weight_decay: float = 0.0,
    rtol: float = 5e-5,
    max_products: int = 20,
    seed: int = 0,
    chunk: int = CHUNK,
) -> float:
    """Return the value of `measure`, whose arguments these are."""
    return measure(loss_of_arch, arch, module, exact, weight_decay, rtol, max_products, seed, chunk).value


def top_eigenvalues(
    loss_of_arch: LossOfArch,
    arch: Arch,
    k: int,
    module: nn.Module | None = None,
    weight_decay: float = 0.0,
    rtol: float = 5e-5,
    max_products: int = 200,
    seed: int = 0,
) -> Tensor:
    """Return the k largest algebraic eigenvalues, largest first, [k] in float64.

    As `measure`, from a block of k start vectors; repeated eigenvalues are repeated. The tolerance of all is relative
    to the largest. For more than a few, `spectrum` is cheaper.

    Args:
        loss_of_arch: As in `measure`, as are the others.
        arch: Architecture parameters.
        k: Number of eigenvalues, from 1 to P.
        module: The network in the loss.
        weight_decay: Added to every eigenvalue.
        rtol: Tolerance of the estimated errors, relative to the largest eigenvalue.
        max_products: Maximum number of products, raised to k if it is smaller.
        seed: Seed of the start vectors.

    Raises:
        ValueError: There are fewer than k eigenvalues, or an argument is out of its range.
    """
    found = _lanczos(loss_of_arch, arch, module, weight_decay, k, rtol, max_products, seed)
    return torch.from_numpy(found.values.copy()) + weight_decay


def hessian(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None = None,
    weight_decay: float = 0.0,
    chunk: int = CHUNK,
    reduce: Reduce = lambda tensors: tensors,
) -> Tensor:
    """Return ∇²_α L + weight_decay·I over all architecture parameters.

    Args:
        loss_of_arch: As in `measure`, as are the others.
        arch: Architecture parameters.
        module: The network in the loss.
        weight_decay: Added to the diagonal.
        chunk: Rows in one backward pass; falls back to 1 if an operator cannot be batched or memory runs out.
        reduce: As in `measure`.

    Returns:
        [P, P] in float64 on the CPU, exactly symmetric; choices in their order, each row-major.

    Raises:
        ValueError: There are no architecture parameters, or `chunk` is not positive.
    """
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: at least one row at a time")
    with hessian_products(loss_of_arch, arch, module, reduce) as products:
        rows = products.rows(chunk)
    # Rounding leaves the rows slightly asymmetric, which `eigh` would resolve by reading one triangle only.
    return (rows + rows.T) / 2 + weight_decay * torch.eye(len(rows), dtype=rows.dtype)


def spectrum(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None = None,
    weight_decay: float = 0.0,
    chunk: int = CHUNK,
) -> Tensor:
    """Return all eigenvalues of `hessian`, ascending, [P] in float64 on the CPU; nan if the Hessian is not finite.

    Args:
        loss_of_arch: As in `hessian`, as are the others.
        arch: Architecture parameters.
        module: The network in the loss.
        weight_decay: Added to every eigenvalue.
        chunk: Rows of the Hessian in one backward pass.
    """
    dense = hessian(loss_of_arch, arch, module, weight_decay, chunk)
    if not dense.isfinite().all():
        log.warning("the Hessian in the architecture parameters is not finite: no eigenvalues")
        return dense.new_full((len(dense),), math.nan)
    return torch.linalg.eigvalsh(dense)


def density(eigenvalues: Tensor, width: float, grid: Tensor | int = 512) -> tuple[Tensor, Tensor]:
    """Return the spectral density, smoothed by a Gaussian; it integrates to 1.

    Args:
        eigenvalues: [P].
        width: Standard deviation of the Gaussian, in units of the eigenvalues.
        grid: Points [G], or their number G, from six widths below the spectrum to six above.

    Returns:
        Points and densities, each [G] in float64.

    Raises:
        ValueError: The width is not positive, or there are no eigenvalues.
    """
    if not width > 0 or not eigenvalues.numel():
        raise ValueError(f"a density needs eigenvalues and a positive width, not width={width}")
    centres = eigenvalues.detach().double().cpu()
    if isinstance(grid, int):
        grid = torch.linspace(
            float(centres.min()) - 6 * width, float(centres.max()) + 6 * width, grid, dtype=torch.float64
        )
    points = grid.double().cpu()
    distances = (points[:, None] - centres[None]) / width
    return points, torch.exp(-(distances**2) / 2).mean(dim=1) / (width * math.sqrt(2 * math.pi))


def _lanczos(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None,
    weight_decay: float,
    k: int,
    rtol: float,
    max_products: int,
    seed: int,
    reduce: Reduce = lambda tensors: tensors,
    graphs: Graphs | None = None,
) -> RitzPairs:
    if not rtol >= 0 or max_products < 1:
        raise ValueError(f"rtol={rtol} must not be negative, and max_products={max_products} must be at least 1")
    with hessian_products(loss_of_arch, arch, module, reduce, graphs) as products:
        if not 1 <= k <= products.size:
            raise ValueError(f"k={k}: there are {products.size} eigenvalues")
        found = lanczos(
            products,
            products.size,
            k,
            rtol,
            shift=weight_decay,
            epsilon=products.epsilon,
            max_products=max_products,
            guess=products.gradient,
            seed=seed,
        )
    if not found.converged:
        value = found.values[0] + weight_decay
        log.warning(
            "eigenvalue %.6g after %d products: residual %.3g, estimated relative error %.1g above the tolerance %.1g",
            value,
            found.products,
            found.residuals[0],
            found.errors.max() / max(abs(value), 1e-300),
            rtol,
        )
    return found
