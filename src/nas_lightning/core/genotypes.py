"""A genotype: the discrete architecture that a search ends with."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nas_lightning.core import arch_strings, genotype_texts, modules
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.paths import is_directory, lfs_pointer

FILE = "genotype.json"
"""A genotype in a run folder; `runs/layout.py` takes the name from here."""

NASBENCH201 = "nasbench201"
"""Default name of the space that a string form belongs to."""
DARTS = "darts"
"""Default name of the space of cells that other programs print, which do not name it."""
RECURRENT = "recurrent"
"""Default name of the space of recurrent cells that they print."""
Edge = tuple[int, str, int]
"""(node, operation, source): the operation's output is added to `node`, its input is `source`."""


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture: cells as lists of edges, their nodes numbered from the inputs (0, 1, or 0 alone) on.

    Args:
        space: Name of the space that it belongs to.
        cells: Edges of each cell type, in the order of the genotype (strongest first within a node).
        concat: Nodes whose outputs are concatenated into the cell's output.
        choices: Option names of spaces that are not made of cells.
    """

    space: str
    cells: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    concat: dict[str, tuple[int, ...]] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "genotype") -> "Genotype":
        """Read the plain form that `to_dict` writes.

        A cell of NAS-Bench-201 can be given by `arch_str` alone.

        Raises:
            GenotypeError: A field is missing, malformed or contradicts another; the message names `where`.
        """
        arch_str = data.get("arch_str") if isinstance(data, Mapping) else None
        if arch_str is not None and "cells" not in data:
            return cls.from_arch_str(str(arch_str), str(data.get("space", NASBENCH201)), f"{where}: arch_str")
        try:
            cells = {
                str(name): tuple((_node(node), str(op), _node(source)) for node, op, source in edges)
                for name, edges in data.get("cells", {}).items()
            }
            concat = {str(name): tuple(map(_node, nodes)) for name, nodes in data.get("concat", {}).items()}
            genotype = cls(str(data["space"]), cells, concat, dict(data.get("choices", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GenotypeError(
                f"{where}: not a genotype ({type(error).__name__}: {error}); expected"
                ' {"space": …, "cells": {"normal": [[node, op, source], …], …}, "concat": {…}}'
            ) from error
        if arch_str is not None and arch_str != arch_strings.render(cells, concat):
            raise GenotypeError(f"{where}: arch_str={arch_str} is another cell than the one under cells; remove one")
        module, named = modules.of_choices(genotype.choices), data.get("module_hash")
        if named is not None and (module is None or module.hash != named):
            raise GenotypeError(f"{where}: module_hash={named} is another module than that of choices; remove one")
        return genotype

    @classmethod
    def from_arch_str(cls, text: str, space: str = NASBENCH201, where: str = "genotype") -> "Genotype":
        """Read the string form of a cell of NAS-Bench-201, `|nor_conv_3x3~0|+|…|…|+|…|…|…|`.

        Args:
            text: The string.
            space: Name of the space that the genotype belongs to.
            where: Beginning of an error's message.

        Raises:
            GenotypeError: The string is not such a cell.
        """
        edges = arch_strings.parse(text.strip(), where)
        return cls(space, {arch_strings.CELL: edges}, {arch_strings.CELL: arch_strings.CONCAT})

    @classmethod
    def from_text(cls, text: str, space: str = DARTS, where: str = "genotype", member: str | None = None) -> "Genotype":
        """Read the text of a genotype: ours as JSON, a cell of NAS-Bench-201, or as another program prints it.

        Args:
            text: The text, for instance `Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), …)`;
                parsed, never run. See `genotype_texts`.
            space: Name of the space that the genotype belongs to, where the text does not name it.
            where: Beginning of an error's message.
            member: Name of the one to take, where the text holds several.

        Raises:
            GenotypeError: It is not a genotype, or holds several.
        """
        if arch_strings.is_cell(text):
            return cls.from_arch_str(text, where=where)
        plain = genotype_texts.read(text, where, member)
        if isinstance(plain, Mapping) and set(plain) == {"genotype"}:
            plain = plain["genotype"]
        if isinstance(plain, str) and (arch_strings.is_cell(plain) or genotype_texts.is_text_of_genotype(plain)):
            return cls.from_text(plain, space, where)
        if isinstance(plain, Mapping) and not plain.keys().isdisjoint(("space", "cells", "choices", "arch_str")):
            return cls.from_dict(plain, where)
        cell = arch_strings.from_groups(plain)
        if cell is not None:
            return cls.from_arch_str(cell, where=where)
        cells, concat = genotype_texts.cells_of(plain, where)
        recurrent = genotype_texts.RECURRENT_CELL in cells
        return cls(RECURRENT if recurrent and space == DARTS else space, cells, concat)

    @classmethod
    def load(cls, path: str | Path, space: str = DARTS) -> "Genotype":
        """Read a file, or the `genotype.json` of a run folder.

        Args:
            path: The file, of any form that `from_text` reads, or the folder; `FILE.py:NAME` names one of several.
            space: Name of the space that the genotype belongs to, where the file does not name it.

        Raises:
            GenotypeError: The file is missing or is not a genotype.
        """
        found = re.fullmatch(r"(.+\.(?:py|txt|log|json)):(\w+)", str(path))
        name, member = found.groups() if found else (str(path), None)
        file = Path(name) / FILE if is_directory(name) else Path(name)
        try:
            text = file.read_text("utf-8-sig")
        except (OSError, ValueError) as error:
            raise GenotypeError(f"genotype={path}: cannot read {file} ({error})") from error
        if lfs_pointer(text):
            raise GenotypeError(f"genotype={path}: {lfs_pointer(text)}")
        return cls.from_text(text, space, f"genotype={path}", member)

    @property
    def arch_str(self) -> str:
        """The string form of a cell of NAS-Bench-201, its key in tables of accuracies.

        Raises:
            GenotypeError: The genotype is not such a cell.
        """
        text = arch_strings.render(self.cells, self.concat)
        if text is None:
            raise GenotypeError(
                f"genotype of space '{self.space}' has no arch_str: it is not a cell of NAS-Bench-201; use"
                " space=nasbench201"
            )
        return text

    @property
    def architecture(self) -> str | None:
        """One line that is equal for genotypes of one architecture; None without cells.

        Of NAS-Bench-1Shot1 it is the hash of the module, of layers their options between bars, `|e6k3|e3k3|`. Of cells
        it is equal for the same edges in whatever order:

        Cell by cell `normal |sep_conv_3x3~0|skip_connect~1|`, `operation~source` of the edges into one node between
        bars, the nodes joined by `+`, as NAS-Bench-201 writes its cells.
        """
        module = modules.of_choices(self.choices)
        if module is not None:
            return module.hash
        layers = layers_of(self.choices)
        if layers is not None:
            return "".join(f"|{name}" for name in layers) + "|"
        cells: list[str] = []
        for name, edges in self.cells.items():
            nodes = sorted({node for node, _, _ in edges})
            # Nodes are told by their places, and by their numbers where some do not exist.
            gaps = bool(nodes) and (nodes[0] > 2 or nodes != list(range(nodes[0], nodes[0] + len(nodes))))
            inputs = [sorted((source, op) for n, op, source in edges if n == node) for node in nodes]
            marks = ["|" + "".join(f"{op}~{s}|" for s, op in one) for one in inputs]
            if gaps:
                marks = [f"{node}:{mark}" for node, mark in zip(nodes, marks, strict=True)]
            cells.append(f"{name} " + "+".join(marks))
        return " ".join(cells) or None

    @cached_property
    def identity(self) -> str:
        """One line that is equal for equal genotypes of a space, whatever the order of their edges.

        Unlike `architecture` it tells apart genotypes that are one architecture of NAS-Bench-101.
        """
        cells = [(name, sorted(edges), sorted(self.concat[name])) for name, edges in sorted(self.cells.items())]
        return f"{cells} {json.dumps(self.choices, sort_keys=True)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, as written to `genotype.json`.

        Cells of NAS-Bench-201 add `arch_str`, those of NAS-Bench-1Shot1 the module that is left without pruned blocks.
        """
        plain: dict[str, Any] = {"space": self.space}
        if self.cells:
            plain["cells"] = {name: [list(edge) for edge in edges] for name, edges in self.cells.items()}
            plain["concat"] = {name: list(nodes) for name, nodes in self.concat.items()}
        if self.choices:
            plain["choices"] = dict(self.choices)
        arch_str = arch_strings.render(self.cells, self.concat)
        if arch_str is not None:
            plain["arch_str"] = arch_str
        module = modules.of_choices(self.choices)
        if module is not None:
            pruned = module.pruned
            plain |= {"matrix": pruned.matrix, "operations": list(pruned.operations), "module_hash": module.hash}
        return plain

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        lines = [f"genotype in space {self.space}"]
        for name, edges in self.cells.items():
            by_node: dict[int, list[str]] = {}
            for node, op, source in edges:
                by_node.setdefault(node, []).append(f"{op}({source})")
            nodes = "   ".join(f"{node} = {' + '.join(ops)}" for node, ops in by_node.items())
            lines.append(f"  {name}: {nodes}")
        lines.extend(f"  {name}: {value}" for name, value in self.choices.items())
        arch_str = arch_strings.render(self.cells, self.concat)
        if arch_str is not None:
            lines.append(f"  {arch_str}")
        return "\n".join(lines)


def layers_of(choices: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the options of the layers of a genotype of layers; None for choices of another form.

    >>> layers_of({"layers": ["e6k3", "skip_connect"]})
    ('e6k3', 'skip_connect')
    """
    layers = choices.get("layers") if len(choices) == 1 else None
    is_list = isinstance(layers, list | tuple) and all(isinstance(name, str) for name in layers)
    return tuple(layers) if is_list and layers else None


def _node(value: Any) -> int:
    """Return a node's number, without conversion: a fraction must not become another architecture."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not the number of a node")
    return value
