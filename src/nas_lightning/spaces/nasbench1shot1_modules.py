"""The architectures of the spaces of NAS-Bench-1Shot1, as names of modules of NAS-Bench-101.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), section 3. Up to isomorphism the spaces have 2,685, 7,773
and 55,854 modules, 66,111 together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any

from nas_lightning.core.modules import OPERATIONS, Module
from nas_lightning.core.one_shot import untracked

Graph = tuple[tuple[int, ...], ...]
"""For each node, the nodes that feed it."""

BLOCKS: Mapping[str, tuple[tuple[int, ...], int]] = {
    "nasbench1shot1_1": ((1, 2, 2, 2), 2),
    "nasbench1shot1_2": ((1, 1, 2, 2), 3),
    "nasbench1shot1_3": ((1, 1, 1, 2, 2), 2),
}
"""Number of parents of each block and of the output, by the name of the space in the group `space`."""


def graphs(parents: Sequence[int], output: int) -> list[Graph]:
    """Return the different graphs that are left without pruned blocks, nodes numbered anew.

    >>> graphs([1], 1)
    [((), (0,)), ((), (0,), (1,))]

    Args:
        parents: For each block, the number of its parents.
        output: Number of parents of the output.
    """
    blank = (OPERATIONS[0],) * len(parents)
    feedings = [combinations(range(node), taken) for node, taken in enumerate((*parents, output), start=1)]
    return list(dict.fromkeys(Module(((), *feeding), blank).pruned.parents for feeding in product(*feedings)))


@cache
def _hashes(graph: Graph) -> frozenset[str]:
    """Return the hashes of a graph with all operations in its nodes."""
    return frozenset(Module(graph, named).hash for named in product(OPERATIONS, repeat=len(graph) - 2))


def module_hashes(name: str, track: Callable[[Sequence[Any], str], Iterable[Any]] = untracked) -> frozenset[str]:
    """Return the hashes of all architectures of a space; 0.15 ms for each graph with operations, 16 s for space 3.

    Args:
        name: Name of the space, one of `BLOCKS`.
        track: Shows progress over a sequence: track(items, title).
    """
    found = track(graphs(*BLOCKS[name]), f"architectures of {name}")
    return frozenset(named for graph in found for named in _hashes(graph))
