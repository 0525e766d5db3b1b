"""Modules of NAS-Bench-101: graphs with an operation in every node; pruning, and the hash that names them.

Source: Ying et al., NAS-Bench-101 (ICML 2019), and the hash of its released code, so that a module is found under the
key of the benchmark's own files. Isomorphic modules have one hash.
Shapes: V nodes; node 0 is the input and node V − 1 the output, which have no operation.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas_lightning.core.errors import GenotypeError

MAX_POOL, CONV_3, CONV_1 = "maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu"
OPERATIONS = (MAX_POOL, CONV_3, CONV_1)
"""Operations in the order of NAS-Bench-1Shot1."""
_LABELS = {CONV_3: 0, CONV_1: 1, MAX_POOL: 2}
INPUT, OUTPUT = "input", "output"


def block(number: int) -> str:
    """Return the name of a choice block, from 1 on.

    >>> block(2)
    'block2'
    """
    return f"block{number}"


@dataclass(frozen=True)
class Module:
    """A graph whose edges lead from lower to higher nodes.

    Args:
        parents: For each node, the nodes that feed it, in increasing order, [V][≤ V].
        operations: The operations of the nodes 1 to V − 2.
    """

    parents: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    @classmethod
    def from_matrix(cls, rows: Sequence[str] | Sequence[Sequence[int]], operations: Iterable[str]) -> "Module":
        """Read an upper triangular adjacency matrix, rows of 0 and 1: row i holds the edges that leave node i.

        Raises:
            GenotypeError: It is not square, not strictly upper triangular, or does not fit the operations.
        """
        matrix, named = [[int(cell) for cell in row] for row in rows], tuple(operations)
        size = len(matrix)
        if any(len(row) != size for row in matrix) or len(named) != size - 2:
            raise GenotypeError(f"module: {size} rows need {size} columns and {size - 2} operations")
        if any(matrix[i][j] for i in range(size) for j in range(i + 1)):
            raise GenotypeError("module: an edge leads to its own node or to an earlier one")
        unknown = [op for op in named if op not in _LABELS]
        if unknown:
            raise GenotypeError(f"module: operation '{unknown[0]}' is unknown; allowed: {', '.join(OPERATIONS)}")
        return cls(tuple(tuple(i for i in range(j) if matrix[i][j]) for j in range(size)), named)

    @property
    def matrix(self) -> list[str]:
        """The adjacency matrix, a text of 0 and 1 for each row."""
        size = range(len(self.parents))
        return ["".join(str(int(i in self.parents[j])) for j in size) for i in size]

    @cached_property
    def pruned(self) -> "Module":
        """The same module without nodes that lie on no path from input to output.

        Raises:
            GenotypeError: No path leads from the input to the output.
        """
        last = len(self.parents) - 1
        reached, useful = {0}, {last}
        for node, parents in enumerate(self.parents):
            if not reached.isdisjoint(parents):
                reached.add(node)
        for node in range(last, -1, -1):
            if node in useful:
                useful.update(self.parents[node])
        kept = sorted(reached & useful)
        if 0 not in kept or last not in kept:
            raise GenotypeError("module: no path leads from its input to its output")
        place = {node: index for index, node in enumerate(kept)}
        linked = tuple(tuple(place[p] for p in self.parents[node] if p in place) for node in kept)
        return Module(linked, tuple(self.operations[node - 1] for node in kept[1:-1]))

    @cached_property
    def hash(self) -> str:
        """The benchmark's name of the pruned module, equal for isomorphic ones: 32 hexadecimal digits."""
        graph = self.pruned
        nodes = range(len(graph.parents))
        children = [[j for j in nodes if i in graph.parents[j]] for i in nodes]
        labels = [-1, *(_LABELS[op] for op in graph.operations), -2]
        names = [
            _md5(str((len(children[i]), len(graph.parents[i]), label))) for i, label in zip(nodes, labels, strict=True)
        ]
        for _ in nodes:
            before = [_joined(names, graph.parents[i]) for i in nodes]
            after = [_joined(names, children[i]) for i in nodes]
            names = [_md5(f"{b}|{a}|{name}") for b, a, name in zip(before, after, names, strict=True)]
        return _md5(str(sorted(names)))


def _joined(names: Sequence[str], places: Iterable[int]) -> str:
    return "".join(sorted(names[place] for place in places))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def of_choices(choices: Mapping[str, Any]) -> Module | None:
    """Return the module of a genotype of NAS-Bench-1Shot1, not pruned; None for choices of another form.

    Args:
        choices: `ops`, the operation of each block; `inputs`, by the number of a block its parents (0 for the input of
            the cell, a number for a block), all earlier nodes where it is missing; `output`, the parents of the output.

    Raises:
        GenotypeError: They have that form, and a value that is no module.
    """
    if set(choices) != {"ops", "inputs", "output"}:
        return None
    operations, inputs = choices["ops"], choices["inputs"]
    if not _is_list(operations) or not all(isinstance(op, str) and op in _LABELS for op in operations):
        raise GenotypeError(
            f"genotype: ops={operations}; allowed: a list of {', '.join(OPERATIONS)}, one of each block"
        )
    count = len(operations)
    numbers = [str(number) for number in range(1, count + 1)]
    if not isinstance(inputs, Mapping) or not set(inputs) <= set(numbers):
        raise GenotypeError(
            f"genotype: inputs={inputs}; allowed: for numbers of blocks, 1 to {count}, the list of its parents,"
            ' {"2": [0, 1]}'
        )
    parents: list[tuple[int, ...]] = [()]
    for number in range(1, count + 2):
        given = choices["output"] if number > count else inputs.get(str(number), range(number))
        feeding = [p for p in given if type(p) is int and 0 <= p < number] if _is_list(given) else []
        if not feeding or len(feeding) != len(given) or len(set(feeding)) < len(feeding):
            where = "output" if number > count else block(number)
            raise GenotypeError(
                f"genotype: the parents of {where} are {given}; allowed: a list of different earlier nodes, 0 (the"
                f" input) to {number - 1}"
            )
        parents.append(tuple(sorted(feeding)))
    return Module(tuple(parents), tuple(operations))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
