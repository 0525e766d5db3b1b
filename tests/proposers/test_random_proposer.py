"""Random proposals: those of `selector=random_genotype`, none twice, all of a small space."""

from itertools import islice

import pytest
import torch

from cases import block_space, build_space
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.proposer import Judged
from nas_lightning.proposers import Random
from nas_lightning.proposers.drawing import unseen
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import RandomGenotype
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.enumeration import architectures


def refuse(*_):
    raise AssertionError("nothing is to be measured")


def selected(space, seed, index):
    arch = {name: torch.zeros(c.num_rows, c.num_options) for name, c in space.choices.items()}
    return RandomGenotype(index).select(OneShot(space, Softmax(), arch, seed, refuse))


def judged(genotypes):
    return [Judged(one, 0, 0.0, index) for index, one in enumerate(genotypes)]


@pytest.mark.parametrize(
    "space", [build_space("darts"), NasBench201Space(), block_space("nasbench1shot1_2")], ids=lambda space: space.name
)
@pytest.mark.parametrize("k", [1, 3, 8])
def test_a_pool_of_eight_is_that_of_random_search(space, k):
    found = []
    while len(found) < 8:
        found += Random(none=False).ask(space, judged(found), min(k, 8 - len(found)), seed=3)
    assert found == [selected(space, 3, index) for index in range(8)]


def test_what_comes_up_again_is_left_out_and_nothing_is_missing():
    """All 81 architectures of S5: draws first, without those that are known, then the others."""
    space = build_space("s5")
    drawn = [selected(space, 0, index) for index in range(200)]
    first = list({one.identity: one for one in drawn}.values())
    at_once = Random().ask(space, [], 100, seed=0)
    assert at_once[: len(first)] == first
    assert {one.identity for one in at_once} == {one.identity for one in architectures(space)}
    one_by_one = []
    while found := Random().ask(space, judged(one_by_one), 1, seed=0):
        one_by_one += found
    assert one_by_one[: len(first)] == first
    assert {one.identity for one in one_by_one} == {one.identity for one in architectures(space)}


def test_none_is_drawn_where_it_is_asked_for_or_a_genotype_may_hold_it():
    def operations(space, none):
        return {op for one in islice(unseen(space, set(), 0, 0, none), 40) for _, op, _ in one.cells["cell"]}

    space = NasBench201Space()
    everything = set(space.choices["cell"].options[0])
    assert operations(space, None) == operations(space, True) == everything
    drawn = Random().ask(space, [], 40, seed=0)  # as the other proposers
    assert {op for one in drawn for _, op, _ in one.cells["cell"]} == everything
    assert operations(space, False) == everything - {"none"}
    cells = [one.cells["normal"] for one in islice(unseen(build_space("s3"), set(), 0, 0), 40)]
    assert "none" not in {op for cell in cells for _, op, _ in cell}
