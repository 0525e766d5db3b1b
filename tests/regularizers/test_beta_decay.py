"""Beta-Decay against sums of exponentials, its gradient against the softmax, and what it leaves alone."""

import math
from typing import ClassVar

import pytest
import torch

import nas_lightning as nl
from cases import build_space, seeded
from nas_lightning.core.choices import Choice
from nas_lightning.regularizers import BetaDecay
from nas_lightning.spaces import NasBench201Space

TABLE = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, -0.2]], dtype=torch.float64)
ALL = torch.ones(2, 3, dtype=torch.bool)


class OneCell:
    """The part of a space that Beta-Decay reads: a choice of operations, and one of edges that it leaves alone."""

    choices: ClassVar = {
        "cell": Choice("cell", "op", (("a", "b", "c"),) * 2, (0, 1), (2, 2)),
        "cell_edge": Choice("cell_edge", "edge", (("0", "1"),), (0,), (2,)),
    }


def part_at(epoch, space=OneCell, **values):
    part = BetaDecay(**values)
    part.build(space)
    part.at_epoch(epoch)
    return part


def by_hand(rows):
    """The mean over rows of log Σ exp, term by term."""
    return sum(math.log(sum(math.exp(value) for value in row)) if row else 0.0 for row in rows) / len(rows)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0), (50, 25.0), (99, 49.5)])
def test_golden_values_of_the_schedule(epoch, expected):
    assert part_at(epoch).metrics() == {"beta_decay": expected}
    assert part_at(epoch, epochs=200).coefficient == expected / 2  # the slope is that of `epochs`


@pytest.mark.parametrize(
    ("space", "options", "value"),
    [(build_space("darts"), 8, 2.0794), (build_space("darts_nonone"), 7, 1.9459), (NasBench201Space(), 5, 1.6094)],
)
def test_at_equal_weights_it_is_the_logarithm_of_the_number_of_options(space, options, value):
    arch = {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in space.choices.items()}
    kept = {name: choice.mask for name, choice in space.choices.items()}
    found = part_at(2, space).penalty(arch, {}, kept)
    assert found.item() == pytest.approx(math.log(options))
    assert round(math.log(options), 4) == value


def test_value_and_gradient_in_closed_form():
    arch = TABLE.clone().requires_grad_()
    found = part_at(30).penalty({"cell": arch, "cell_edge": torch.ones(1, 2)}, {}, {"cell": ALL})
    assert found.item() == pytest.approx(15 * by_hand(TABLE.tolist()), abs=1e-14)
    found.backward()
    assert torch.allclose(arch.grad, 15 * torch.softmax(TABLE, 1) / 2, atol=1e-15, rtol=0)


def test_a_step_multiplies_the_ratios_of_weights():
    """β_k'/β_j' = (β_k/β_j)·exp(−ηλ(β_k − β_j)/R): the larger of two weights loses."""
    arch, rate = TABLE.clone().requires_grad_(), 0.1
    part_at(40).penalty({"cell": arch}, {}, {"cell": ALL}).backward()
    before, after = torch.softmax(TABLE, 1), torch.softmax(TABLE - rate * arch.grad, 1)
    for row in range(2):
        for k in range(3):
            for j in range(3):
                lost = rate * 20 * float(before[row, k] - before[row, j]) / 2
                expected = float(before[row, k] / before[row, j]) * math.exp(-lost)
                assert float(after[row, k] / after[row, j]) == pytest.approx(expected, rel=1e-12)


def test_dropped_options_and_removed_rows_are_left_out():
    arch = TABLE.clone().requires_grad_()
    kept = torch.tensor([[True, False, True], [False, False, False]])
    found = part_at(2).penalty({"cell": arch}, {}, {"cell": kept})
    assert found.item() == pytest.approx(by_hand([[0.3, 2.0], []]), abs=1e-14)
    found.backward()
    assert torch.equal(arch.grad != 0, kept)
    assert arch.grad.isfinite().all()


def test_two_kinds_of_cells_have_the_mean_of_all_rows():
    space = build_space("s1")  # ragged rows
    arch = {
        name: torch.randn(c.num_rows, c.num_options, generator=seeded(0), dtype=torch.float64)
        for name, c in space.choices.items()
    }
    rows = [
        [value for value, there in zip(row, mask, strict=True) if there]
        for name, choice in space.choices.items()
        for row, mask in zip(arch[name].tolist(), choice.mask.tolist(), strict=True)
    ]
    kept = {name: choice.mask for name, choice in space.choices.items()}
    assert part_at(2, space).penalty(arch, {}, kept).item() == pytest.approx(by_hand(rows), abs=1e-14)


def test_in_the_first_epoch_the_search_is_that_of_darts(tiny, tmp_path):
    """λ(0) = 0: equal bits after epoch 0, others after epoch 1, and what moves first is the architecture."""
    for method in ("darts", "beta_darts"):
        overrides = [*tiny, f"method={method}", "space=s3", "space.num_nodes=2", "search.snapshots=1"]
        nl.search(nl.compose(overrides), run_dir=tmp_path / method)

    def arch(method, epochs):
        path = tmp_path / method / "checkpoints" / f"epoch={epochs}.ckpt"
        return torch.load(path, weights_only=True)["search"]["arch"]

    for name, table in arch("darts", 1).items():
        assert torch.equal(table, arch("beta_darts", 1)[name])
        assert not torch.equal(arch("darts", 2)[name], arch("beta_darts", 2)[name])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["relaxation=dirichlet"],
            "no softmax of its parameters; use relaxation=softmax or ~regularizer",
        ),
        (["relaxation=uniform", "hypergradient=none", "selector=random_search"], "learns no architecture"),
    ],
)
def test_what_has_no_logits_to_decay_is_refused(tiny, tmp_path, words, expected):
    with pytest.raises(nl.ConfigError, match=expected):
        nl.search(nl.compose([*tiny, "method=beta_darts", *words]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
