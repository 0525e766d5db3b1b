"""Directions, grid and anisotropy against closed forms, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch

import nas_lightning as nl
from nas_lightning.curvature.landscape import anisotropy, at_distance, directions, grid, moved, over_plane

SHAPES = {"normal": (14, 3), "reduce": (14, 3)}


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


@pytest.mark.parametrize("shapes", [SHAPES, {"cell": (6, 5)}, {"a": (1, 2)}, {"a": (2, 1), "b": (3, 4)}])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_directions_are_orthonormal_over_all_choices_together(shapes, seed):
    first, second = directions(shapes, seed)
    assert {name: tuple(d.shape) for name, d in first.items()} == shapes
    for a, b, wanted in ((first, first, 1), (second, second, 1), (first, second, 0)):
        assert float(flat(a) @ flat(b)) == pytest.approx(wanted, abs=1e-12)
    assert flat(first).dtype == torch.float64


def test_directions_depend_on_seed_and_shapes_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, again = directions(SHAPES, 3), directions(SHAPES, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(flat(a), flat(b)) for a, b in zip(one, again, strict=True))
    assert not torch.allclose(flat(directions(SHAPES, 4)[0]), flat(one[0]))
    # Of no use for an exact value, but not the first axes either: the numbers are spread over all parameters.
    assert 0.05 < float(flat(one[0]).abs().max()) < 0.6


@pytest.mark.parametrize("others", ["noisy_darts", "drnas"])
def test_two_methods_of_a_space_share_their_directions(others):
    def plane(method):
        cfg = nl.compose([f"method={method}", "space=s2"])
        choices = nl.build_space(cfg).choices
        return directions({name: (c.num_rows, c.num_options) for name, c in choices.items()}, seed=0)

    assert all(torch.equal(flat(a), flat(b)) for a, b in zip(plane("darts"), plane(others), strict=True))


def test_parameters_that_are_not_there_stay_as_they_are():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    first, second = directions({"ragged": (2, 3), "whole": (2, 2)}, 0, {"ragged": mask})
    for found in (first, second):
        assert torch.equal(found["ragged"] != 0, mask)
        assert (found["whole"] != 0).all()
    assert float(flat(first) @ flat(second)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shapes", [{}, {"a": (1, 1)}])
def test_a_plane_needs_two_parameters(shapes):
    with pytest.raises(ValueError, match="at least two"):
        directions(shapes)


def test_grid():
    points = grid(5, 2.0)
    assert points[0] == (-2.0, -2.0)
    assert points[:5] == [(-2.0, -2.0), (-1.0, -2.0), (0.0, -2.0), (1.0, -2.0), (2.0, -2.0)]
    assert points[12] == (0.0, 0.0)
    assert len(points) == 25
    for steps, radius in ((21, 0.3), (7, math.pi)):  # exact mirror images, and the centre
        found = set(grid(steps, radius))
        assert (0.0, 0.0) in found
        assert all((-x, y) in found and (y, x) in found for x, y in found)
        assert max(x for x, _ in found) == radius
    for steps, radius in ((1, 1.0), (2, 1.0), (20, 1.0), (5, 0.0), (5, math.nan)):
        with pytest.raises(ValueError, match=f"steps={steps}"):
            grid(steps, radius)


def test_moving_in_the_plane():
    arch = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    plane = directions(SHAPES)
    assert all(torch.equal(moved(arch, plane, 0.0, 0.0)[name], a) for name, a in arch.items())
    double = {name: a.double() for name, a in arch.items()}
    change = flat(moved(double, plane, 3.0, -4.0)) - flat(double)
    assert float(change.norm()) == pytest.approx(5, rel=1e-12)
    assert float(change @ flat(plane[0])) == pytest.approx(3, rel=1e-12)
    assert moved(arch, plane, 1.0, 0.0)["normal"].dtype == torch.float32


def test_a_quadratic_of_all_parameters_has_its_curvatures_in_the_plane():
    """Of L(α) = ½ (α − b)ᵀA(α − b) the plane sees dᵢᵀA dⱼ: exact, since the fit is of the same form."""
    torch.manual_seed(0)
    size = sum(math.prod(shape) for shape in SHAPES.values())
    root = torch.randn(size, size, dtype=torch.float64)
    matrix, minimum = root @ root.T / size, torch.randn(size, dtype=torch.float64)

    def loss(arch):
        away = flat(arch) - minimum
        return float(away @ matrix @ away / 2)

    arch = {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    plane = directions(SHAPES, 5)
    rows = list(over_plane(loss, arch, plane, grid(7, 1.5)))
    found = anisotropy(*zip(*rows, strict=True))

    basis = torch.stack([flat(d) for d in plane], dim=1)
    smaller, larger = torch.linalg.eigvalsh(basis.T @ matrix @ basis).tolist()
    assert found.curvatures == pytest.approx((larger, smaller), rel=1e-9)
    assert found.ratio == pytest.approx(larger / smaller, rel=1e-9)
    assert found.slope == pytest.approx(float((basis.T @ matrix @ (flat(arch) - minimum)).norm()), rel=1e-9)
    assert not found.saddle
    assert found.explained == pytest.approx(1, abs=1e-12)
    assert {(x, y): value for x, y, value in rows}[0.0, 0.0] == loss(arch)


def values_of(function, steps=5, radius=2.0):
    points = grid(steps, radius)
    return [x for x, _ in points], [y for _, y in points], [function(x, y) for x, y in points]


@pytest.mark.parametrize("degrees", [0, 30, 90, -60])
@pytest.mark.parametrize(("large", "small"), [(4.0, 1.0), (-9.0, -1.0), (3.0, -2.0), (-3.0, 2.0)])
@pytest.mark.parametrize("radius", [1e-3, 1.0, 50.0])
def test_known_curvatures(degrees, large, small, radius):
    """½(λ₁u² + λ₂v²) − 2x + 3 in axes u, v that are turned."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def function(x, y):
        return (large * (c * x + s * y) ** 2 + small * (c * y - s * x) ** 2) / 2 - 2 * x + 3

    found = anisotropy(*values_of(function, radius=radius))
    assert found.curvatures == pytest.approx((large, small), rel=1e-6)
    assert found.ratio == pytest.approx(abs(large / small), rel=1e-6)
    assert found.saddle is (large * small < 0)
    assert math.sin(math.radians(found.angle - degrees)) == pytest.approx(0, abs=1e-6)
    assert -90 < found.angle <= 90
    assert found.slope == pytest.approx(2, rel=1e-9)


def test_round_valleys_and_planes():
    assert anisotropy(*values_of(lambda x, y: 1.5 * (x * x + y * y))).ratio == pytest.approx(1)
    valley = anisotropy(*values_of(lambda x, y: x * x + y))
    assert valley.curvatures == pytest.approx((2.0, 0.0), abs=1e-12)
    assert (valley.ratio, valley.saddle) == (None, False)
    plane = anisotropy(*values_of(lambda x, y: 0.1 + 3 * x - 4 * y))
    assert plane.curvatures == (0.0, 0.0)
    assert (plane.ratio, plane.slope) == (None, pytest.approx(5))
    flat_one = anisotropy(*values_of(lambda x, y: 0.1))
    assert (flat_one.curvatures, flat_one.ratio, flat_one.explained) == ((0.0, 0.0), None, None)


def test_what_a_quadratic_does_not_explain():
    """x⁴ on the points −2 … 2: the regression on 1, x² has slope 4.2857… and leaves what is left here."""
    x, y, values = values_of(lambda x, y: x**4)
    found = anisotropy(x, y, values)
    design = np.stack([np.ones(25), np.array(x) ** 2], axis=1)
    (_, slope), *_ = np.linalg.lstsq(design, np.array(values), rcond=None)
    assert found.curvatures[0] == pytest.approx(2 * slope, rel=1e-9)
    residual = np.array(values) - design @ np.linalg.lstsq(design, np.array(values), rcond=None)[0]
    assert found.explained == pytest.approx(1 - residual.var() / np.var(values), rel=1e-9)
    assert 0.5 < found.explained < 1


def test_values_that_no_quadratic_can_be_fitted_to():
    x, y, values = values_of(lambda x, y: x * y)
    with pytest.raises(ValueError, match="non-finite"):
        anisotropy(x, y, [math.nan, *values[1:]])
    with pytest.raises(ValueError, match="3 by 3"):
        anisotropy(x[:5], y[:5], values[:5])


def test_mean_at_a_distance():
    x, y, values = values_of(lambda x, y: math.hypot(x, y), steps=21, radius=1.0)
    near = [v for v in values if 0.45 - 1e-9 <= v <= 0.55 + 1e-9]
    assert at_distance(x, y, values, 0.5, 0.1) == pytest.approx(sum(near) / len(near))
    assert at_distance(x, y, values, 0.5, 0.1) == pytest.approx(0.5, abs=0.02)
    for steps, distance in itertools.product((3, 5, 21), (0.25, 0.5, 1.0)):  # on every grid there is a point
        at_distance(*values_of(lambda x, y: 1.0, steps, 1.0), distance, 2 / (steps - 1))
    with pytest.raises(ValueError, match="no point"):
        at_distance(x, y, values, 5.0, 0.1)
