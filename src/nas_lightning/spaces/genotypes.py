"""A genotype: the discrete architecture that a search ends with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas_lightning.errors import GenotypeError

Edge = tuple[int, str, int]
"""(node, operation, source): the operation's output is added to `node`, its input is `source`."""


@dataclass(frozen=True)
class Genotype:
    """Cells as lists of edges. Nodes are numbered from the cell's inputs (0, 1) on.

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

        Raises:
            GenotypeError: A field is missing or malformed; the message names `where`.
        """
        try:
            cells = {
                str(name): tuple((_node(node), str(op), _node(source)) for node, op, source in edges)
                for name, edges in data.get("cells", {}).items()
            }
            concat = {str(name): tuple(map(_node, nodes)) for name, nodes in data.get("concat", {}).items()}
            return cls(str(data["space"]), cells, concat, dict(data.get("choices", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GenotypeError(
                f"{where}: not a genotype ({type(error).__name__}: {error}); expected"
                ' {"space": …, "cells": {"normal": [[node, op, source], …], …}, "concat": {…}}'
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> "Genotype":
        """Read a JSON file, or the `genotype.json` of a run folder.

        Raises:
            GenotypeError: The file is missing, is not JSON or is not a genotype.
        """
        file = Path(path) / "genotype.json" if Path(path).is_dir() else Path(path)
        try:
            data = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise GenotypeError(f"genotype={path}: cannot read {file} ({error})") from error
        return cls.from_dict(data, where=f"genotype={path}")

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dictionaries, as written to `genotype.json`."""
        plain: dict[str, Any] = {"space": self.space}
        if self.cells:
            plain["cells"] = {name: [list(edge) for edge in edges] for name, edges in self.cells.items()}
            plain["concat"] = {name: list(nodes) for name, nodes in self.concat.items()}
        if self.choices:
            plain["choices"] = dict(self.choices)
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
        return "\n".join(lines)


def _node(value: Any) -> int:
    """A node's number, as it stands: a fraction must not become another architecture."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not the number of a node")
    return value
