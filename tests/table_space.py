"""The space of NAS-Bench-201 by index: the same genotypes, neighbours from a table, for whole searches in milliseconds.

Architectures are numbered as in the table of the package, which lists them in the benchmark's order.
"""

from functools import cache

import numpy as np
import torch

from nas_lightning.core.arch_strings import EDGES, OPERATIONS
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged
from nas_lightning.evaluation.table import load
from nas_lightning.spaces.nasbench201 import NasBench201Space, arch_strings

SETS = ("cifar10", "cifar100", "in16_120")


@cache
def digits():
    """The operation of each edge, [15625, 6]."""
    place = {op: number for number, op in enumerate(OPERATIONS)}
    cells = [[part.split("~")[0] for part in name.replace("+", "").split("|") if part] for name in arch_strings()]
    return np.array([[place[op] for op in cell] for cell in cells])


@cache
def neighbour_table():
    """The 24 cells that differ in one operation, [15625, 24]."""
    weights = 5 ** np.arange(6)
    codes = digits() @ weights
    number = np.empty(5**6, int)
    number[codes] = np.arange(5**6)
    columns = [
        number[codes + (((digits()[:, edge] + step) % 5) - digits()[:, edge]) * weights[edge]]
        for edge in range(6)
        for step in range(1, 5)
    ]
    return np.stack(columns, 1)


@cache
def accuracies(column):
    """A column of the table of the package, percent, [15625]."""
    table = load("nasbench201")
    assert list(table.rows) == list(arch_strings())
    return table.columns[column]


class ByIndex(NasBench201Space):
    """The space with every architecture made once."""

    def __init__(self):
        super().__init__()
        concat = {"cell": (len({node for node, _ in EDGES}),)}
        self.all = [
            Genotype(
                self.name,
                {"cell": tuple((n, OPERATIONS[op], s) for (n, s), op in zip(EDGES, row, strict=True))},
                concat,
            )
            for row in digits().tolist()
        ]
        self.index = {genotype.identity: number for number, genotype in enumerate(self.all)}
        self.near = neighbour_table().tolist()

    def sample(self, generator=None, none=True):
        assert none
        return {"cell": torch.randint(len(self.all), (1,), generator=generator)}

    def genotype_of(self, path):
        return self.all[int(path["cell"])] if path["cell"].ndim == 1 else super().genotype_of(path)

    def neighbours(self, genotype):
        return [self.all[number] for number in self.near[self.index[genotype.identity]]]

    def mutate(self, genotype, generator=None):
        around = self.near[self.index[genotype.identity]]
        return self.all[around[int(torch.randint(len(around), (1,), generator=generator))]]


@cache
def by_index():
    """The space, made once."""
    return ByIndex()


def searched(proposer, space, scores, queries, seed, k=1, first=None):
    """Ask for candidates, `first` at the beginning and then `k` at a time, until there are so many; their history."""
    history = []
    while len(history) < queries:
        number = min(first if first and not history else k, queries - len(history))
        found = proposer.ask(space, history, number, seed)
        assert len(found) == number
        history += [
            Judged(one, 0, float(scores[by_index().index[one.identity]]), len(history) + place)
            for place, one in enumerate(found)
        ]
    return history


def outcome(history, tests):
    """The value of the best candidate of a history."""
    best = max(history, key=lambda judged: judged.merit)
    return float(tests[by_index().index[best.genotype.identity]])
