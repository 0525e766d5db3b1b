"""Genotypes as numbers that a predictor reads.

Sources: White et al., BANANAS (AAAI 2021), for the path encoding. Deviations: ways through `none` do not exist, the
released code counts them; only ways that occur in the genotypes that a predictor is fitted on have a feature, which on
large spaces replaces its truncation to the shortest ways.
Shapes: N genotypes, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace

Way = tuple[str, ...]
"""Name of a cell, and the labels on a way from its input to its output."""


def one_hot(space: SearchSpace, genotypes: Sequence[Genotype]) -> Tensor:
    """Return the decisions of genotypes as zeros and ones [N, F]; F = 30 on NAS-Bench-201.

    Weights of edges are no decisions; options that a row does not have are left out.
    """
    kept = {name: choice.mask for name, choice in space.choices.items() if choice.kind != "edge"}
    rows = []
    for genotype in genotypes:
        path = space.path_of(genotype)
        rows.append(torch.cat([path[name][mask] for name, mask in kept.items()]))
    return torch.stack(rows)


def ways(space: SearchSpace, genotype: Genotype) -> frozenset[Way]:
    """Return the ways through the cells of a genotype."""
    return frozenset((cell, *way) for cell, graph in space.graphs(genotype).items() for way in graph.paths)


def features(found: Sequence[frozenset[Way]], vocabulary: Sequence[Way]) -> Tensor:
    """Return the path encoding: which ways of a vocabulary exist, zeros and ones [N, F]."""
    place = {way: column for column, way in enumerate(vocabulary)}
    encoded = torch.zeros(len(found), len(vocabulary))
    for row, existing in enumerate(found):
        encoded[row, [place[way] for way in existing if way in place]] = 1.0
    return encoded
