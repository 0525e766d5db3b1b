"""Cells of NAS-Bench-201 as strings: `|op~source|+|op~source|op~source|+…`, a group of edges for each node.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2.1, and its released API: the order of the operations, and of
the edges: node by node and, within a node, by their source.
"""

import difflib
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

from nas_lightning.core.errors import GenotypeError

Edge = tuple[int, str, int]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""(node, source) of each edge: node 0 is the cell's input, node 3 its output."""
CELL = "cell"
CONCAT = (3,)
NASLIB = {
    "identity": "skip_connect",
    "zero": "none",
    "reluconvbn1x1": "nor_conv_1x1",
    "reluconvbn3x3": "nor_conv_3x3",
    "avgpool1x1": "avg_pool_3x3",  # of 3×3 pixels, in spite of its name
}
"""Operations by the names of their classes in NASLib, in small letters."""
EXAMPLE = "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def is_cell(text: str) -> bool:
    """Return True if a text is meant as a cell of NAS-Bench-201: it begins with a bar, also within `Structure(…)`."""
    return _bare(text).startswith("|")


def _bare(text: str) -> str:
    """Return a string without quotes, blanks and the words that AutoDL prints around it.

    >>> _bare("Structure(4 nodes with | none~0 |+|none~0|none~1|)")
    '|none~0|+|none~0|none~1|'
    """
    text = text.strip().strip("\"'")
    printed = re.fullmatch(r"\w*Structure\(\d+ nodes with (.*)\)", text, re.DOTALL)
    return "".join((printed.group(1) if printed else text).split())


def from_groups(groups: Any) -> str | None:
    """Return the string of a cell in nested lists, pairs (operation, source) by node; None if it is none.

    >>> from_groups([[["none", 0]], [["none", 0], ["none", 1]], [["none", 0], ["none", 1], ["none", 2]]])
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    if not isinstance(groups, Sequence) or isinstance(groups, str) or len(groups) != 3:
        return None
    try:
        return "+".join("|" + "".join(f"{op}~{source}|" for op, source in group) for group in groups)
    except (TypeError, ValueError):
        return None


def parse(text: str, where: str = "genotype") -> tuple[Edge, ...]:
    """Return the six edges (node, operation, source) of a string.

    >>> parse(EXAMPLE)[1]
    (2, 'none', 0)

    Args:
        text: The string, also with blanks, with NASLib's names of the operations, or as AutoDL prints it.
        where: Beginning of an error's message.

    Raises:
        GenotypeError: The string is not a cell of NAS-Bench-201.
    """
    groups = _bare(text).split("+")
    edges: list[Edge] = []
    for node, group in enumerate(groups, start=1):
        if len(group) < 2 or group[0] != "|" or group[-1] != "|":
            raise _malformed(text, where, f"the edges of node {node} are not enclosed in bars")
        for edge in group[1:-1].split("|"):
            op, mark, source = edge.partition("~")
            op = NASLIB.get(op.lower(), op.lower())
            if op not in OPERATIONS or not mark:
                near = difflib.get_close_matches(op, OPERATIONS, n=1)
                hint = f", did you mean {near[0]}?" if near and mark else f"; operations: {', '.join(OPERATIONS)}"
                raise _malformed(text, where, f"{edge!r} is not operation~source{hint}")
            if source not in ("0", "1", "2"):
                raise _malformed(text, where, f"{edge!r} has no source node 0, 1 or 2")
            edges.append((node, op, int(source)))
    if tuple((node, source) for node, _, source in edges) != EDGES:
        raise _malformed(text, where, "nodes 1, 2 and 3 need the sources 0; 0, 1; and 0, 1, 2")
    return tuple(edges)


def render(cells: dict[str, tuple[Edge, ...]], concat: dict[str, tuple[int, ...]]) -> str | None:
    """Return the string of a genotype's cells, in whatever order their edges are; None if they are not such a cell."""
    edges = sorted((node, source, op) for node, op, source in cells.get(CELL, ()))
    fits = (
        cells.keys() == concat.keys() == {CELL}
        and tuple((node, source) for node, source, _ in edges) == EDGES
        and all(op in OPERATIONS for _, _, op in edges)
        and concat[CELL] == CONCAT
    )
    if not fits:
        return None
    groups = ("".join(f"{op}~{source}|" for node, source, op in edges if node == target) for target in (1, 2, 3))
    return "+".join(f"|{group}" for group in groups)


def every() -> list[str]:
    """Return the strings of all 15,625 cells, sorted by the places of their operations, that of the last edge fastest.

    >>> every()[1]
    '|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|'
    """
    groups = ("".join(f"{{}}~{source}|" for node, source in EDGES if node == target) for target in (1, 2, 3))
    form = "+".join(f"|{group}" for group in groups)
    return [form.format(*operations) for operations in product(OPERATIONS, repeat=len(EDGES))]


def _malformed(text: str, where: str, problem: str) -> GenotypeError:
    shown = " ".join(text.split())
    return GenotypeError(f"{where}={shown}: not a cell of NAS-Bench-201 ({problem}); expected a string like {EXAMPLE}")
