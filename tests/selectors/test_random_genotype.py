"""Random genotypes: functions of the seed and the index only."""

import pytest
import torch

from cases import SPACES, build_space
from nas_lightning.core import draws
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import RandomGenotype


def refuse(*_):
    raise AssertionError("nothing is to be measured")


def one_shot(space, seed=0, fill=0.0):
    arch = {name: torch.full((c.num_rows, c.num_options), fill) for name, c in space.choices.items()}
    return OneShot(space, Softmax(), arch, seed, refuse)


@pytest.mark.parametrize("name", SPACES)
def test_seed_and_index_decide(name):
    space = build_space(name)
    found = {(seed, i): RandomGenotype(i).select(one_shot(space, seed)) for seed in range(4) for i in range(10)}
    for (seed, index), genotype in found.items():
        space.validate(genotype)
        rng = draws.seeded_generator(seed, "random genotype", index)
        assert genotype == space.genotype_of(space.sample(rng, none=False))
        assert genotype == RandomGenotype(index).select(one_shot(space, seed, fill=torch.nan))
    different = {str(genotype) for genotype in found.values()}
    # 40 of S5's 81 architectures: 81·(1 − (80/81)^40) = 31.7 different ones are expected, with a deviation of 2.2
    assert len(different) >= 23 if name == "s5" else len(different) == 40


def test_none_is_left_out_unless_asked_for():
    space = build_space("s3")
    for none in (False, True):
        genotypes = [RandomGenotype(index, none).select(one_shot(space)) for index in range(30)]
        ops = {op for genotype in genotypes for edges in genotype.cells.values() for _, op, _ in edges}
        assert ops == {"skip_connect", "sep_conv_3x3"} | ({"none"} if none else set())


def test_the_architecture_parameters_do_not_tell():
    space = build_space("s1")
    shot = one_shot(space)
    assert RandomGenotype()(space, shot.strengths) is None
