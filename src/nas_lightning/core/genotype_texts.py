"""Genotypes as other programs print and store them, read without running any of their text.

Every code that descends from DARTS prints
`Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))`: two pairs
(operation, source) a node. Read as well are the fields alone (a dictionary, JSON, the list that JSON makes of a named
tuple), pairs in a list for each node (pt.darts) and triples (operation, node, source) (FairDARTS). Recurrent cells are
`Genotype(recurrent=[('relu', 0), …], concat=range(1, 9))`, one pair a node from node 1 on.
Sources: the released codes of DARTS (Liu et al., ICLR 2019), pt.darts and FairDARTS (Chu et al., ECCV 2020).
"""

import ast
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas_lightning.core.errors import GenotypeError

Edge = tuple[int, str, int]
Plain = tuple[dict[str, tuple[Edge, ...]], dict[str, tuple[int, ...]]]
"""Cells and concatenated nodes, both by cell type."""

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
"""Fields of the named tuple of the DARTS code, in its order."""
RECURRENT_FIELDS = ("recurrent", "concat")
"""Fields of the named tuple of the DARTS code for recurrent cells."""
RECURRENT_CELL = "cell"
"""Name of a recurrent cell among the cells of a genotype."""
EXAMPLE = "Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))"
INPUTS = 2
"""Nodes 0 and 1 of a cell are its inputs."""

_CALL = re.compile(r"(?:(\w+)\s*[=:]\s*)?\bGenotype\s*\(")
_LONGEST = 64  # elements of a range, more than any cell has nodes: `range(10**12)` must not fill the memory
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what ast.parse raises for texts of any kind


def is_text_of_genotype(text: str) -> bool:
    """Return True if a text is meant as a genotype itself, not as the name of one or of a file."""
    return bool(_CALL.search(text)) or text.lstrip().startswith(("{", "[", "("))


def read(text: str, where: str, member: str | None = None) -> Any:
    """Return the plain value of the one genotype in a text: JSON, Python source or the output of a program.

    Args:
        text: The text.
        where: Beginning of an error's message.
        member: Name of the one to take, where there are several; None demands that there is one.

    Raises:
        GenotypeError: There is no genotype, there are several different ones, or none of that name.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        no_json = error
    except RecursionError as error:
        raise GenotypeError(f"{where}: not a genotype (its brackets are nested too deeply)") from error
    found = list(_values_in(text))
    names = list(dict.fromkeys(name for name, _ in found if not name.isdecimal()))
    if member is not None:
        if member not in names:
            raise GenotypeError(f"{where}: has no genotype {member}; it has {', '.join(names) or 'none with a name'}")
        found = [(name, value) for name, value in found if name == member]
    if not found:
        raise GenotypeError(
            f"{where}: not a genotype (no JSON: {' '.join(str(no_json).split())}; no {EXAMPLE} either, all of whose"
            " values must be written out)"
        )
    different = [value for place, (_, value) in enumerate(found) if value not in [other for _, other in found[:place]]]
    if len(different) > 1:
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        way = f"name one, FILE:{names[0]}; it has {listed}" if len(names) > 1 else "keep the one that you mean"
        raise GenotypeError(f"{where}: holds {len(different)} different genotypes; {way}")
    return different[0]


def _values_in(text: str) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each genotype that is written out in a text, the name a number where it has none."""
    try:
        tree = ast.parse(text.strip())
    except _UNREADABLE:
        tree = None
    if tree is not None:
        for place, statement in enumerate(tree.body):
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Call) and _called(value) == "namedtuple":
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else ()
            name = next((target.id for target in targets if isinstance(target, ast.Name)), str(place))
            try:
                plain = _plain(value)
            except ValueError:
                continue
            if isinstance(plain, Mapping) or (not targets and isinstance(plain, list | tuple)):
                yield name, plain
        return
    for place, match in enumerate(_CALL.finditer(text)):  # the log of a program
        start = match.end() - 1
        for end in re.finditer(r"\)", text[start : start + 20_000]):
            try:
                call = ast.parse(f"Genotype{text[start : start + end.end()]}", mode="eval").body
            except _UNREADABLE:
                continue
            with contextlib.suppress(ValueError):
                yield str(place), _plain(call)  # a log repeats one name: "genotype = Genotype(…)"
            break


def _called(node: ast.Call) -> str:
    """Return the last part of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _plain(node: ast.AST | None) -> Any:
    """Return the value of a literal, of `range(…)`, `list(…)`, `tuple(…)`, and of `Genotype(…)` as a dictionary.

    Raises:
        ValueError: The expression is anything else.
    """
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.List | ast.Tuple):
            return [_plain(element) for element in node.elts]
        if isinstance(node, ast.Dict):
            keys = [_plain(key) for key in node.keys]
            return dict(zip(map(str, keys), map(_plain, node.values), strict=True))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | None):
            return node.value
        raise ValueError("not a literal")
    name, values = _called(node), [_plain(argument) for argument in node.args]
    if name.lower().endswith("genotype") or name == "dict":
        named = {str(keyword.arg): _plain(keyword.value) for keyword in node.keywords}
        return dict(zip(FIELDS, values, strict=False)) | named
    if name == "range" and 1 <= len(values) <= 3 and all(isinstance(value, int) for value in values):
        if len(range(*values)) > _LONGEST:
            raise ValueError("too long")
        return list(range(*values))
    if len(values) == 1 and (name in ("list", "tuple") or (name.startswith("int") and isinstance(values[0], int))):
        return values[0]  # int64(2) is how numpy prints a number
    raise ValueError(f"a call of {name}")


def cells_of(plain: Any, where: str) -> Plain:
    """Return cells and concatenated nodes of a value with the fields of the DARTS code.

    Raises:
        GenotypeError: A field is missing or has another form.
    """
    if isinstance(plain, Sequence) and not isinstance(plain, str) and len(plain) in (2, 4):
        fields = FIELDS if len(plain) == 4 else FIELDS[::2]
        plain = dict(zip(fields, plain, strict=True))
    if not isinstance(plain, Mapping):
        raise GenotypeError(f"{where}: not a genotype; expected {EXAMPLE}")
    fields, cell_of = FIELDS, {name: name for name in FIELDS[::2]}
    if "recurrent" in plain:
        fields, cell_of = RECURRENT_FIELDS, {"recurrent": RECURRENT_CELL}
    extra = [name for name, value in plain.items() if name not in fields and value not in ("", None, [], {})]
    missing = [name for name in cell_of if name not in plain]
    if extra or missing:
        problem = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(extra)}, which no space here builds"
        raise GenotypeError(f"{where}: not a genotype: it {problem}; expected {EXAMPLE}")
    cells, concat = {}, {}
    for name, cell in cell_of.items():
        read_edges = _edges if fields is FIELDS else _recurrent_edges
        edges = read_edges(plain[name], f"{where}: not a genotype: {name}")
        field = fields[fields.index(name) + 1]
        nodes = plain.get(field)
        nodes = sorted({node for node, _, _ in edges}) if nodes is None else nodes
        if not isinstance(nodes, Sequence) or isinstance(nodes, str) or not all(map(_is_number, nodes)):
            raise GenotypeError(
                f"{where}: not a genotype: {field}={nodes} must be a list of nodes, such as range(2, 6)"
            )
        concat[cell] = tuple(nodes)
        if fields is FIELDS and all(_is_edge(entry, 2) for entry in plain[name]):
            edges, concat[cell] = _without_absent(edges, concat[cell])
        cells[cell] = edges
    return cells, concat


def _without_absent(edges: tuple[Edge, ...], concat: tuple[int, ...]) -> tuple[tuple[Edge, ...], tuple[int, ...]]:
    """Leave out nodes without inputs, and edges from them, as the network of the FairDARTS code does.

    Its edges are triples, which may leave nodes out; it names all nodes as outputs nevertheless.
    """
    present = set(range(INPUTS))
    kept = []
    for node, op, source in edges:  # in the order of their nodes, so that sources are known
        if source in present or source >= node:  # an edge backwards is a mistake to be told
            kept.append((node, op, source))
            present.add(node)
    return tuple(kept), tuple(node for node in concat if node in present or node < INPUTS)


def _edges(entries: Any, where: str) -> tuple[Edge, ...]:
    """Return the edges of a cell: pairs, two a node; pairs in a list for each node; or triples with the node.

    Raises:
        GenotypeError: It has another form.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise GenotypeError(f"{where} must be a list of pairs (operation, source)")
    if all(_is_edge(entry, 1) for entry in entries):
        if len(entries) % 2:
            raise GenotypeError(
                f"{where} has {len(entries)} pairs (operation, source), which belong to nodes in twos; with another"
                " number of edges into a node give a list of pairs for each node, or triples (operation, node, source)"
            )
        return tuple((INPUTS + place // 2, *_pair(entry)) for place, entry in enumerate(entries))
    if all(_is_edge(entry, 2) for entry in entries):
        return tuple((node, op, source) for op, node, source in entries)
    if all(isinstance(group, Sequence) and group and all(_is_edge(entry, 1) for entry in group) for group in entries):
        return tuple((node, *_pair(entry)) for node, group in enumerate(entries, INPUTS) for entry in group)
    wrong = next((entry for entry in entries if not _is_edge(entry, 1)), entries[0])
    raise GenotypeError(f"{where} has {wrong!r}, neither a pair (operation, source) nor a list of pairs for a node")


def _recurrent_edges(entries: Any, where: str) -> tuple[Edge, ...]:
    """Return the edges of a recurrent cell: one pair a node, from node 1 on.

    Raises:
        GenotypeError: It has another form.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise GenotypeError(f"{where} must be a list of pairs (operation, source)")
    wrong = next((entry for entry in entries if not _is_edge(entry, 1)), None)
    if wrong is not None:
        raise GenotypeError(f"{where} has {wrong!r}, which is no pair (operation, source)")
    return tuple((node, *_pair(entry)) for node, entry in enumerate(entries, start=1))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_edge(entry: Any, numbers: int) -> bool:
    """Return True for an operation with that many nodes behind it; a pair may be turned round."""
    if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 1 + numbers:
        return False
    if numbers == 1 and isinstance(entry[1], str):
        entry = entry[::-1]
    return isinstance(entry[0], str) and all(map(_is_number, entry[1:]))


def _pair(entry: Sequence[Any]) -> tuple[str, int]:
    first, second = entry
    return (first, second) if isinstance(first, str) else (second, first)
