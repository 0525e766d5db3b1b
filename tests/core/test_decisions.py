"""Decisions as data, and architecture rows that an optimizer step must not touch."""

import math

import pytest
import torch

from cases import build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core.decisions import Decisions, held_entries
from nas_lightning.spaces import CellSpace, NasBench201Space

RAGGED = CellSpace(
    "ragged",
    {
        "normal": [["none", "skip_connect", "sep_conv_3x3"], ["skip_connect"], ["none", "avg_pool_3x3"],
                   ["sep_conv_3x3", "max_pool_3x3"], ["none"]],
        "reduce": [["skip_connect", "sep_conv_3x3"]] * 5,
    },
    num_nodes=2,
)  # fmt: skip
"""Nodes 2 (rows 0, 1) and 3 (rows 2, 3, 4); rows of one to three options."""


def decisions_of(space=RAGGED):
    return Decisions(space.choices)


def test_nothing_is_settled_at_first():
    decisions = decisions_of()
    assert decisions.open
    assert not decisions.settled
    assert all(torch.equal(decisions.kept[name], choice.mask) for name, choice in RAGGED.choices.items())
    assert decisions.undecided("normal") == [0, 1, 2, 3, 4]
    assert decisions.present("normal", 3) == [2, 3, 4]
    assert decisions.history == []


def test_only_operations_are_decided():
    space = RAGGED.variant(edge_weights=True)
    assert set(space.choices) == {"normal", "reduce", "normal_edge", "reduce_edge"}
    assert set(Decisions(space.choices).kept) == {"normal", "reduce"}


def test_decide_prune_shrink():
    decisions = decisions_of()
    decisions.decide("normal", 0, 2, epoch=4, measured="as told")
    assert decisions.kept["normal"].tolist() == [
        [False, False, True], [True, False, False], [True, True, False], [True, True, False], [True, False, False],
    ]  # fmt: skip
    assert decisions.decided["normal"].tolist() == [True, False, False, False, False]
    assert decisions.undecided("normal") == [1, 2, 3, 4]
    decisions.prune("normal", 3, epoch=5)
    assert decisions.kept["normal"][3].tolist() == [False] * 3
    assert decisions.present("normal", 3) == [2, 4]
    assert decisions.undecided("normal") == [1, 2, 4]
    decisions.shrink("normal", torch.tensor([[True, False, False]] * 4 + [[True, True, True]]))
    # Row 0 is decided and row 3 pruned: shrinking leaves them. Row 2 loses an option and stays undecided.
    assert decisions.kept["normal"].tolist() == [
        [False, False, True], [True, False, False], [True, False, False], [False, False, False], [True, False, False],
    ]  # fmt: skip
    assert decisions.undecided("normal") == [1, 2, 4]
    assert torch.equal(decisions.kept["reduce"], RAGGED.choices["reduce"].mask)
    assert not decisions.open
    assert decisions.history == [
        {"kind": "operation", "choice": "normal", "row": 0, "source": 0, "node": 2, "option": "sep_conv_3x3",
         "epoch": 4, "measured": "as told"},
        {"kind": "pruned", "choice": "normal", "row": 3, "source": 1, "node": 3, "option": "", "epoch": 5},
    ]  # fmt: skip
    for row in (1, 2, 4):
        decisions.decide("normal", row, 0)
    assert not decisions.settled
    for row in range(5):
        decisions.decide("reduce", row, 1)
    assert decisions.settled


@pytest.mark.parametrize(
    "mistake",
    [
        lambda d: d.decide("normal", 1, 1),  # the row has no such option
        lambda d: (d.prune("normal", 0), d.decide("normal", 0, 1)),
        lambda d: d.shrink("normal", torch.zeros(5, 3, dtype=torch.bool)),
    ],
)
def test_what_is_out_cannot_be_chosen(mistake):
    with pytest.raises(AssertionError):
        mistake(decisions_of())


def test_selectable_is_what_is_open_and_may_stand_in_a_genotype():
    decisions = decisions_of()
    decisions.prune("normal", 2)
    expected = [[False, True, True], [True, False, False], [False] * 3, [True, True, False], [False] * 3]
    assert decisions.selectable("normal").tolist() == expected
    bench = decisions_of(NasBench201Space())
    assert bench.selectable("cell").all()  # `none` included


def test_fixed_against_a_loop():
    decisions = decisions_of()
    mixing = random_mixing(RAGGED, seed=1)
    for weights in mixing.values():
        weights.requires_grad_()
    decisions.decide("normal", 0, 1)
    decisions.prune("normal", 2)
    decisions.shrink("reduce", torch.tensor([[True, False]] * 5))
    fixed = decisions.fixed(mixing)
    for name, weights in {name: weights.tolist() for name, weights in mixing.items()}.items():
        for row in range(5):
            for option, weight in enumerate(weights[row]):
                kept = bool(decisions.kept[name][row, option])
                wanted = float(kept) if decisions.decided[name][row] else weight * kept
                assert float(fixed[name][row, option].detach()) == wanted
    assert fixed["normal"].dtype == torch.float64
    for weights in fixed.values():
        (weights * torch.arange(1.0, 1 + weights.numel()).view_as(weights)).sum().backward()
    assert torch.equal(mixing["normal"].grad[[0, 2]], torch.zeros(2, 3, dtype=torch.float64))
    assert mixing["normal"].grad[1].tolist() == [4.0, 0.0, 0.0]
    assert mixing["reduce"].grad[:, 1].abs().sum() == 0


def test_a_decided_row_is_exactly_one_whatever_the_relaxation_says():
    decisions = decisions_of()
    decisions.decide("normal", 0, 2)
    decisions.prune("normal", 1)
    for value in (0.0, 1e-30, math.nan):
        mixing = {name: torch.full(choice.mask.shape, value) for name, choice in RAGGED.choices.items()}
        fixed = decisions.fixed(mixing)["normal"]
        assert fixed[:2].tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    others = {"normal.offset": torch.ones(5)}
    assert decisions.fixed({**mixing, **others})["normal.offset"] is others["normal.offset"]


def test_active():
    decisions = decisions_of()
    drawn = {name: choice.mask.clone() for name, choice in RAGGED.choices.items()}
    assert decisions.active() is None
    assert decisions.active(drawn) is drawn
    decisions.decide("normal", 0, 2)
    decisions.prune("normal", 3)
    found = decisions.active()
    assert all(torch.equal(found[name], decisions.kept[name]) for name in RAGGED.choices)
    found["normal"][:] = True  # a copy
    assert not decisions.kept["normal"].all()
    drawn["normal"][2] = torch.tensor([True, False, False])
    found = decisions.active(drawn)
    assert torch.equal(found["normal"], drawn["normal"] & decisions.kept["normal"])
    assert torch.equal(found["reduce"], drawn["reduce"])


def test_narrowed():
    decisions = decisions_of()
    assert decisions.narrowed(RAGGED.choices) is RAGGED.choices
    decisions.decide("normal", 0, 2)
    decisions.prune("normal", 2)
    narrowed = decisions.narrowed({**RAGGED.choices, "more": "as it is"})
    assert narrowed["more"] == "as it is"
    assert narrowed["normal"].mask.tolist() == [
        [False, False, True], [True, False, False], [True, False, False], [True, True, False], [True, False, False],
    ]  # fmt: skip
    assert narrowed["normal"].options == RAGGED.choices["normal"].options
    assert torch.equal(narrowed["reduce"].mask, RAGGED.choices["reduce"].mask)
    assert RAGGED.choices["normal"].mask.sum() == 9  # the space's own is as it was


def test_state_round_trip():
    decisions = decisions_of()
    decisions.decide("normal", 0, 2, epoch=1)
    decisions.prune("reduce", 4)
    state = decisions.state_dict()
    other = decisions_of()
    other.load_state_dict(state)
    decisions.prune("normal", 1)  # neither the state nor what was restored from it follows
    decisions.history[0]["epoch"] = 7
    other.decide("reduce", 0, 0)
    assert [row["kind"] for row in state["history"]] == ["operation", "pruned"]
    assert other.history[0]["epoch"] == 1
    assert other.kept["normal"][1].tolist() == [True, False, False]
    assert state["decided"]["reduce"].tolist() == [False] * 4 + [True]


def test_an_open_search_is_what_it_is_without_decisions():
    """The very objects go through, so that every kernel sees the same."""
    space = build_space("s3")
    decisions = Decisions(space.choices)
    mixing = random_mixing(space)
    assert decisions.fixed(mixing) is mixing
    net = tiny_supernet(space)
    assert torch.equal(
        net(images(), decisions.fixed(mixing), decisions.active()), net(images(), mixing)
    )  # train mode: statistics of the batch


def test_what_is_out_does_not_reach_the_supernet():
    space = build_space("s3")
    decisions = Decisions(space.choices)
    for name in space.choices:
        decisions.decide(name, 0, 1)
        decisions.prune(name, 3)
        decisions.shrink(name, torch.tensor([[False, True, True]] * 14))
    net = tiny_supernet(space)
    mixing = random_mixing(space)
    net(images(), decisions.fixed(mixing), decisions.active()).sum().backward()
    for cell in net.cells:
        assert all(weight.grad is None for weight in cell.edges[3].parameters())
        assert all(weight.grad is None for weight in cell.edges[0].operations[2].parameters())
        assert all(weight.grad is not None for weight in cell.edges[1].operations[2].parameters())


# Rows that are held while an optimizer steps ----------------------------------------------------------------------


def plain_adam(value, gradients, lr, betas, decay, moments=(0.0, 0.0), steps=0):
    """Adam with coupled L2 on one number, as printed in the paper."""
    m, v = moments
    for gradient in gradients:
        steps += 1
        gradient += decay * value
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        value -= lr * (m / (1 - betas[0] ** steps)) / (math.sqrt(v / (1 - betas[1] ** steps)) + 1e-8)
    return value, (m, v)


@pytest.mark.parametrize("before", [0, 3])  # without a state before the first held step, and with one
def test_held_entries_stay_to_the_bit_and_the_others_are_plain_adam(before):
    rng = seeded(0)
    lr, betas, decay = 0.01, (0.5, 0.999), 0.1
    arch = torch.randn(4, 3, generator=rng, dtype=torch.float64).requires_grad_()
    other = torch.randn(2, 2, generator=rng, dtype=torch.float64).requires_grad_()
    start = [arch.detach().clone(), other.detach().clone()]
    steps = 7
    gradients = [
        [torch.randn(a.shape, generator=rng, dtype=torch.float64) for a in (arch, other)] for _ in range(steps)
    ]
    held = torch.tensor([False, True, False, True])
    adam = torch.optim.Adam([arch, other], lr=lr, betas=betas, weight_decay=decay)
    frozen = None
    for step, pair in enumerate(gradients):
        arch.grad, other.grad = (gradient.clone() for gradient in pair)
        if step < before:
            adam.step()
            continue
        if frozen is None:
            moments = adam.state.get(arch) or {"exp_avg": torch.zeros(4, 3), "exp_avg_sq": torch.zeros(4, 3)}
            frozen = [x.detach().clone()[held] for x in (arch, moments["exp_avg"], moments["exp_avg_sq"])]
        with held_entries(adam, {arch: held, other: torch.zeros(2, dtype=torch.bool)}):
            adam.step()
        found = (arch, adam.state[arch]["exp_avg"], adam.state[arch]["exp_avg_sq"])
        assert all(torch.equal(x.detach()[held].double(), y.double()) for x, y in zip(found, frozen, strict=True))
    for tensor, beginning, index in ((arch, start[0], 0), (other, start[1], 1)):
        for row in range(len(tensor)):
            count = before if tensor is arch and held[row] else steps
            for column in range(tensor.shape[1]):
                series = [float(pair[index][row, column]) for pair in gradients[:count]]
                value, (m, v) = plain_adam(float(beginning[row, column]), series, lr, betas, decay)
                state = adam.state[tensor]
                assert float(tensor.detach()[row, column]) == pytest.approx(value, rel=1e-12)
                assert float(state["exp_avg"][row, column]) == pytest.approx(m, rel=1e-12)
                assert float(state["exp_avg_sq"][row, column]) == pytest.approx(v, rel=1e-12)
    if not before:
        assert torch.equal(arch.detach()[held], start[0][held])


def test_the_moments_go_on_where_a_row_is_let_go_again():
    """A rollback can undo decisions: what was held then learns on from the moments that it had."""
    arch = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([arch], lr=0.1)
    for hold in ([False, False], [False, True], [False, False]):
        arch.grad = torch.full((2, 1), 0.5, dtype=torch.float64)
        with held_entries(adam, {arch: torch.tensor(hold)}):
            adam.step()
    value, moments = plain_adam(1.0, [0.5], 0.1, (0.9, 0.999), 0.0)
    value, _ = plain_adam(value, [0.5], 0.1, (0.9, 0.999), 0.0, moments, steps=2)
    assert float(arch.detach()[1]) == pytest.approx(value, rel=1e-12)


def test_sgd_with_momentum_is_held_too():
    weight = torch.ones(3, 2, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        weight.grad = torch.ones(3, 2)
        with held_entries(sgd, {weight: torch.tensor([True, False, False])}):
            sgd.step()
    assert torch.equal(weight[0], torch.ones(2))
    assert torch.equal(sgd.state[weight]["momentum_buffer"][0], torch.zeros(2))
    assert (weight[1:] < 1).all()


def test_shrinking_narrows_what_is_offered_and_deciding_does_not():
    space = build_space("s3")
    decisions = Decisions(space.choices)
    keep = torch.ones(14, 3, dtype=torch.bool)
    keep[:, 1] = False
    decisions.decide("normal", 0, 1)
    decisions.shrink("normal", keep)
    decisions.decide("normal", 1, 2)
    assert decisions.offered["normal"][0].tolist() == [True, True, True]  # settled before
    assert decisions.offered["normal"][1:].tolist() == [[True, False, True]] * 13
    again = Decisions(space.choices)
    again.load_state_dict(decisions.state_dict())
    assert torch.equal(again.offered["normal"], decisions.offered["normal"])
