"""Shared cases as data: the spaces of conf/, tiny networks, images and mixing weights."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from nas_lightning.spaces import CellSpace, Genotype, Mixing, NasBench1Shot1Space
from nas_lightning.spaces.supernet import CellSupernet

CONF = Path(__file__).parents[1] / "conf"
REAL_TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "nasbench201_accuracies.csv.gz"
"""The accuracies of NAS-Bench-201, where they lie beside the checkout; tests that need them skip where they do not."""
SAMPLE_101 = REAL_TABLE.with_name("nasbench101_valid_sample.csv.gz")
"""A sample of NAS-Bench-101, matrices and validation accuracies, likewise."""
REAL_TEXT = tuple(REAL_TABLE.with_name(f"wt2_{part}.txt.gz") for part in ("valid", "test"))
"""The validation and test text of WikiText-2, likewise."""
SPACES = ("darts", "darts_nonone", "s1", "s2", "s3", "s4", "s5")
"""Every cell space under conf/space."""
BLOCK_SPACES = ("nasbench1shot1_1", "nasbench1shot1_2", "nasbench1shot1_3")
TINY = {"num_classes": 3, "in_channels": 3, "init_channels": 4, "layers": 4}
"""Four cells, the two in the middle reduce: the smallest stack with every kind of neighbour."""


def space_config(name: str) -> dict[str, Any]:
    """The YAML of a space without its target."""
    values = yaml.safe_load((CONF / "space" / f"{name}.yaml").read_text())
    values.pop("_target_", None)
    return values


def build_space(name: str) -> CellSpace:
    return CellSpace(**space_config(name))


def block_space(name: str) -> NasBench1Shot1Space:
    """One of the spaces of NAS-Bench-1Shot1."""
    values = space_config(name)["space"]
    values.pop("_target_")
    return NasBench1Shot1Space(**values)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_supernet(space: CellSpace, seed: int = 0, **sizes: Any) -> CellSupernet:
    """A supernet in float64 and train mode; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return space.supernet(**{**TINY, **sizes}).double()


def images(batch: int = 4, size: int = 8, channels: int = 3, seed: int = 0) -> Tensor:
    """Gaussian images [batch, channels, size, size] in float64."""
    return torch.randn(batch, channels, size, size, generator=seeded(seed), dtype=torch.float64)


def random_mixing(space: CellSpace, seed: int = 0) -> Mixing:
    """Random weights on the simplex of each row, float64; 0 where a short row has no option."""
    rng = seeded(seed)
    mixing = {}
    for name, choice in space.choices.items():
        weights = torch.rand(choice.num_rows, choice.num_options, generator=rng, dtype=torch.float64)
        weights = weights * choice.mask
        mixing[name] = weights / weights.sum(dim=1, keepdim=True)
    return mixing


def random_genotype(space: CellSpace, seed: int = 0, avoid: str = "(nothing)") -> Genotype:
    """A genotype of random scores; operations whose names contain `avoid` come last."""
    scores = random_mixing(space, seed)
    for name, choice in space.choices.items():
        for row, options in enumerate(choice.options):
            for column, option in enumerate(options):
                if avoid in option:
                    scores[name][row, column] -= 10
    return space.genotype(scores)


def pooling(space: CellSpace) -> Mixing:
    """Scores by which average pools win wherever there is one."""
    scores = random_mixing(space)
    for name, choice in space.choices.items():
        for row, options in enumerate(choice.options):
            for column, option in enumerate(options):
                scores[name][row, column] += "avg_pool" in option
    return scores
