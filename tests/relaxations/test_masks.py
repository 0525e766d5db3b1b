"""Restrictions: every relaxation over fewer options is that relaxation of a smaller choice."""

import pytest
import torch

from cases import seeded
from nas_lightning.relaxations import Decoupled, Dirichlet, Gumbel, Softmax, Uniform
from nas_lightning.spaces import Choice

CHOICES = {
    "cell": Choice("cell", "op", (tuple("abcd"), tuple("ab"), tuple("abc"), tuple("abc")), (0, 1, 0, 1), (2, 2, 3, 3)),
    "cell_edge": Choice("cell_edge", "edge", (("0", "1"), ("0", "1")), (0, 0), (2, 3)),
}
KEPT = torch.tensor([[True, False, True, True], [True, True, True, True], [False] * 4, [False, True, False, False]])
ALLOWED = [[0, 2, 3], [0, 1], [], [1]]
"""Columns that take part by row: what is kept of what the row has."""
ALL = {
    "softmax": Softmax(),
    "uniform": Uniform(),
    "dirichlet": Dirichlet(),
    "dirichlet_kl": Dirichlet(anchor="kl"),
    "gumbel_soft": Gumbel(hard=False, end=10.0),
    "gumbel_hard": Gumbel(end=10.0),
    "gumbel_all": Gumbel(end=10.0, gradient="all"),
    "gumbel_released": Gumbel(end=10.0, gradient="released"),
    "decoupled": Decoupled(Uniform(), Softmax()),
}


def arch_of(relaxation, dtype=torch.float64, seed=0):
    """Large parameters, whatever the relaxation would begin with, and nonsense where a row has no option."""
    arch = {}
    for name, value in relaxation.init(CHOICES, seeded(0)).items():
        large = 2 * torch.randn(value.shape, generator=seeded(seed), dtype=dtype)
        large[~CHOICES[name].mask] = torch.nan
        arch[name] = large.requires_grad_()
    return arch


def views(relaxation, arch):
    """All mixing weights that a relaxation gives, without offsets."""
    found = [relaxation(arch, 0, seeded(seed)) for seed in range(3)] + [relaxation.mean(arch)]
    if hasattr(relaxation, "in_weight_step"):
        found.append(relaxation.in_weight_step(arch, 0, seeded(0)))
    return found


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_what_is_kept_takes_part(name, dtype):
    relaxation = ALL[name]
    arch = arch_of(relaxation, dtype)
    relaxation.restrict({"cell": KEPT})
    for mixing in views(relaxation, arch):
        for row, allowed in enumerate(ALLOWED):
            weights = mixing["cell"][row]
            outside = [o for o in range(4) if o not in allowed]
            assert weights[outside].eq(0).all()
            assert weights.ge(0).all()
            if len(allowed) == 1:
                assert weights[allowed[0]] == 1
            torch.testing.assert_close(weights.sum(), torch.tensor(float(bool(allowed)), dtype=dtype))
        assert mixing["cell_edge"].gt(0).all()  # not named: unrestricted
        torch.testing.assert_close(mixing["cell_edge"].sum(dim=1), torch.ones(2, dtype=dtype))
        assert all(value.dtype == dtype for value in mixing.values())

        active = relaxation.active(mixing)
        if active is not None:
            assert active["cell"].tolist() == mixing["cell"].gt(0).tolist()
            assert active["cell_edge"].all()

        used = [value for value in mixing.values() if value.requires_grad]
        penalty = relaxation.penalty(arch)
        used += [] if penalty is None else [penalty]
        for value in arch.values():
            value.grad = None
        if used:
            sum((value * torch.arange(1.0, value.numel() + 1).view(value.shape)).sum() for value in used).backward()
            grad = arch["cell"].grad
            assert grad.isfinite().all()
            assert grad[2:].eq(0).all() or penalty is not None  # decided: nothing left to learn
            for row, allowed in enumerate(ALLOWED):
                assert grad[row, [o for o in range(4) if o not in allowed]].eq(0).all()


@pytest.mark.parametrize("name", ["softmax", "dirichlet", "gumbel_soft", "gumbel_hard", "uniform", "decoupled"])
def test_the_mean_is_that_of_a_smaller_choice(name):
    relaxation = ALL[name]
    arch = arch_of(relaxation)
    relaxation.restrict({"cell": KEPT})
    mean = relaxation.mean(arch)["cell"]
    for row, allowed in enumerate(ALLOWED):
        if allowed:
            small = {"cell": Choice("cell", "op", (tuple(map(str, allowed)),), (0,), (1,))}
            relaxation.init(small)
            expected = relaxation.mean({"cell": arch["cell"][row : row + 1, allowed]})["cell"][0]
            torch.testing.assert_close(mean[row, allowed], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_restrictions_replace_each_other(name):
    relaxation = ALL[name]
    arch = arch_of(relaxation)
    plain = relaxation(arch, 0, seeded(5))
    relaxation.restrict({"cell": KEPT, "cell_edge": torch.tensor([[True, False], [True, True]])})
    assert relaxation.mean(arch)["cell_edge"][0].tolist() == [1, 0]
    relaxation.restrict({"cell": torch.ones(4, 4, dtype=torch.bool)})  # never more than the choice has
    again = relaxation(arch, 0, seeded(5))
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    relaxation.restrict({"cell": KEPT})
    relaxation.init(CHOICES, seeded(0))  # a new search begins unrestricted
    again = relaxation(arch, 0, seeded(5))
    assert all(torch.equal(plain[key], again[key]) for key in plain)


def test_uniform_draws_only_rows_and_options_that_are_kept():
    choice = Choice("cell", "op", (("a", "b", "none"),) * 5, (0, 1, 2, 3, 4), (5,) * 5, keep=2)
    relaxation = Uniform(none=False)
    arch = relaxation.init({"cell": choice})
    kept = torch.zeros(5, 3, dtype=torch.bool)
    kept[0, 1] = kept[2, 0] = kept[2, 1] = kept[3, 2] = kept[4, 0] = kept[4, 2] = True
    relaxation.restrict({"cell": kept})
    total = torch.zeros(5, 3)
    for seed in range(600):
        path = relaxation(arch, 0, seeded(seed))["cell"]
        assert path.sum() == 2
        assert path.sum(dim=1).le(1).all()
        total += path
    # Rows 1 (nothing kept) and 3 (only none) are never drawn, two of the other three are: 2/3 each.
    expected = torch.tensor([[0, 2 / 3, 0], [0, 0, 0], [1 / 3, 1 / 3, 0], [0, 0, 0], [2 / 3, 0, 0]])
    deviation = (expected * (1 - expected) / 600).sqrt()
    assert ((total / 600 - expected).abs() <= 4.5 * deviation).all()
