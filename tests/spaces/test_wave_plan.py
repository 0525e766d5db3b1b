"""Which operations the waves of a cell compute as one, and that nothing which changes a plan goes unnoticed."""

import pytest
import torch
from torch import nn

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.mixed import MixedCell
from nas_lightning.spaces.wave_plan import plan_waves
from nas_lightning.spaces.waves import waves


def cell_of(space, reduces=False):
    """The first of three cells is normal, the second reduces; stages of NAS-Bench-201 have one cell each."""
    cells = [cell for cell in tiny_supernet(space, layers=3).cells if isinstance(cell, MixedCell)]
    return cells[1 if reduces else 0]


def planned(cell, active=None, hooked=()):
    active = cell.choice.mask.tolist() if active is None else active
    return plan_waves(cell.choice, list(cell.edges), active, frozenset(hooked))


def sizes(stacks):
    return sorted(len(stack.places) for stack in stacks)


def test_the_waves_of_a_darts_cell():
    plan = planned(cell_of(build_space("darts")))
    assert plan.order == (2, 3, 4, 5)
    assert [wave.sources for wave in plan.waves] == [(0, 1), (2,), (3,), (4,)]
    assert [len(wave.rows) for wave in plan.waves] == [8, 3, 2, 1]
    # Both separable and both dilated convolutions a wave; pools and identities are shared.
    assert [sizes(wave.stacks) for wave in plan.waves] == [[n] * 4 for n in (8, 3, 2, 1)]
    assert [sizes(wave.shared) for wave in plan.waves] == [[n] * 3 for n in (8, 3, 2, 1)]
    assert not any(wave.singles for wave in plan.waves)


def test_a_reduction_cell_has_factorized_reductions_instead_of_identities():
    first, *others = planned(cell_of(build_space("darts"), reduces=True)).waves
    assert (sizes(first.stacks), sizes(first.shared)) == ([8] * 5, [8] * 2)
    assert [(sizes(wave.stacks), sizes(wave.shared)) for wave in others] == [([n] * 4, [n] * 3) for n in (3, 2, 1)]


def test_the_waves_of_a_cell_of_nasbench201():
    plan = planned(cell_of(NasBench201Space()))
    assert [wave.sources for wave in plan.waves] == [(0,), (1,), (2,)]
    assert [(sizes(wave.stacks), sizes(wave.shared)) for wave in plan.waves] == [([n, n], [n, n]) for n in (3, 2, 1)]


def test_places_are_by_source_and_then_by_target():
    cell = cell_of(build_space("darts"))
    for wave in planned(cell).waves:
        for stack in (*wave.stacks, *wave.shared):
            places = [(cell.choice.sources[row], cell.choice.nodes[row]) for row in stack.rows]
            assert places == sorted(places)


def test_every_active_operation_is_in_one_place_and_none_is_left_out():
    cell = cell_of(build_space("s4"))  # with noise, which is drawn edge by edge
    plan = planned(cell)
    found = [p for wave in plan.waves for s in (*wave.stacks, *wave.shared) for p in s.places]
    singles = [p for wave in plan.waves for p in wave.singles]
    expected = [(row, o) for row, options in enumerate(cell.choice.options) for o in range(len(options))]
    assert sorted([*found, *singles]) == expected
    assert {cell.choice.options[row][option] for row, option in singles} == {"noise"}


def test_nodes_whose_edges_are_switched_off_do_not_delay_others():
    """Without edges between intermediate nodes all of them are of one level: one wave instead of four."""
    cell = cell_of(build_space("darts"))
    active = [[source < 2] * 8 for source in cell.choice.sources]
    plan = planned(cell, active)
    assert [(wave.sources, len(wave.rows)) for wave in plan.waves] == [((0, 1), 8)]
    active[-1] = [True] * 8  # 4 → 5
    plan = planned(cell, active)
    assert [(wave.sources, len(wave.rows)) for wave in plan.waves] == [((0, 1), 8), ((4,), 1)]
    active = [[cell.choice.nodes[row] != 3 and source != 2] * 8 for row, source in enumerate(cell.choice.sources)]
    plan = planned(cell, active)  # 3 has no edge at all and is as early as 2, though 4 and 5 read it
    assert [wave.sources for wave in plan.waves] == [(0, 1), (3,), (4,)]


def test_levels_come_before_numbers():
    cell = cell_of(build_space("darts"))
    into_4 = [row for row, node in enumerate(cell.choice.nodes) if node == 4]
    active = [[row not in into_4 or cell.choice.sources[row] < 2] * 8 for row in range(14)]
    assert planned(cell, active).order == (2, 4, 3, 5)  # 3 waits for 2, 4 for the inputs alone


def test_operations_with_hooks_are_kept_apart():
    wave = planned(cell_of(build_space("darts")), hooked={"skip_connect", "none"}).waves[0]
    assert [stack.name for stack in wave.shared] == [None, None, "skip_connect"]
    assert len(wave.singles) == 8  # `none`, whose zeros the hook gets


def replaced(cell):
    cell.edges[0].operations[4][1] = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False).double()


def hooked(cell):
    cell.edges[0].operations[4][3].register_forward_hook(lambda module, inputs, output: 2 * output)


def in_evaluation(cell):
    cell.edges[3].operations[1].eval()


@pytest.mark.parametrize("change", [replaced, hooked, in_evaluation], ids=["replaced", "hooked", "in evaluation"])
def test_what_changes_between_two_passes_is_seen(change):
    space = build_space("darts")
    mixing, outputs = random_mixing(space), []
    for engine in (None, waves):
        net = tiny_supernet(space, engine="reference", layers=1)
        if engine is not None:
            net.cells[0].engine = engine
        before = net(images(), mixing)
        torch.manual_seed(3)
        change(net.cells[0])
        outputs.append(net(images(), mixing))
        assert not torch.allclose(before, outputs[-1])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10)


def test_a_plan_of_a_validation_serves_a_training():
    """Constants made in inference mode could not be saved for a gradient."""
    space = build_space("s3")
    net = tiny_supernet(space, layers=1).eval()
    net.cells[0].engine = waves
    mixing = random_mixing(space)
    with torch.inference_mode():
        net(images(), mixing)
    leaves = {name: weights.requires_grad_() for name, weights in mixing.items()}
    net(images(), leaves).sin().sum().backward()
    assert leaves["reduce"].grad.abs().sum() > 0
