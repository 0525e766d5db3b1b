"""Genotypes of cell spaces: derive them from strengths or paths, check them, count them.

All functions read the choices of operations by cell type; a `Genotype` stores the edges that they return.
Shapes: E edges and O options of a choice, N nodes that have incoming edges, S sources of the last of them.
"""

from collections.abc import Mapping
from itertools import combinations
from math import prod

import torch
from torch import Tensor

from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotypes import Edge, Genotype

Cells = dict[str, tuple[Edge, ...]]
"""Edges (node, operation, source) by cell type."""


def strongest_edges(choices: Mapping[str, Choice], scores: Mapping[str, Tensor], keep: int | None = None) -> Cells:
    """Select the best option of each edge but `none`, and of each node the strongest edges by that option.

    Ties go to the lower option and to the lower source; edges are in the order of their strength (the rule of the
    DARTS paper and code). Where edges have weights, the strength of an edge is its weight times that of its option
    (the rule of the PC-DARTS code).

    Args:
        choices: The choices of operations, by cell type.
        scores: Strengths of the options by choice, each [E, O], and of the edges into each node under their key, each
            [N, S], where they are weighted.
        keep: Number of edges that a node keeps; None takes that of the choice.

    Raises:
        GenotypeError: A strength is not a number.
    """
    cells: Cells = {}
    for name, choice in choices.items():
        table = strengths_of(scores, name)
        weights = strengths_of(scores, edge_key(name)) if edge_key(name) in scores else None
        edges: list[Edge] = []
        for node_row, (node, rows) in enumerate(choice.rows_of_node.items()):
            ranked: list[tuple[float, str, int]] = []
            for place, row in enumerate(rows):
                candidates = [
                    (score, op) for score, op in zip(table[row], choice.options[row], strict=False) if op != "none"
                ]
                if candidates:
                    strength, op = max(candidates, key=lambda pair: pair[0])  # max keeps the first of equals
                    strength *= 1.0 if weights is None else weights[node_row][place]
                    ranked.append((strength, op, choice.sources[row]))
            ranked.sort(key=lambda edge: -edge[0])  # stable: the lower source stays first among equals
            edges += [(node, op, source) for _, op, source in ranked[: choice.kept_at(node, keep)]]
        cells[name] = tuple(edges)
    return cells


def edges_above(
    choices: Mapping[str, Choice], scores: Mapping[str, Tensor], threshold: float, options: int = 1, every: bool = False
) -> Cells:
    """Select of each node the strongest edges by their best option, and of each the options that reach a threshold.

    Unlike `strongest_edges`, it may leave an edge without an option, and a node without an edge: edges that leave such
    a node go with it. Ties go to the lower option and to the lower source, and `none` is never selected. Edges are in
    the order of node, strength of the edge, strength of the option. Weights of edges are not read.

    Source: Chu et al., FairDARTS (ECCV 2020), released code: `threshold_sparse` (one option, two edges a node) and
    `threshold_edge` (two options, every edge, in the order of the sources).

    Args:
        choices: The choices of operations, by cell type.
        scores: Strengths of the options by choice, each [E, O].
        threshold: Least strength of an option that is selected.
        options: Most options of an edge.
        every: Consider every edge of a node, not only as many as the choice keeps.

    Raises:
        GenotypeError: A strength is not a number.
    """
    cells: Cells = {}
    for name, choice in choices.items():
        table = strengths_of(scores, name)
        present, edges = set(range(min(choice.nodes))), []
        for node, rows in choice.rows_of_node.items():
            ranked: list[list[Edge]] = []
            strengths: list[float] = []
            for row in rows:
                pairs = zip(table[row], choice.options[row], strict=False)
                best = sorted(((score, op) for score, op in pairs if op != "none"), key=lambda pair: -pair[0])
                strengths.append(best[0][0] if best else float("-inf"))
                ranked.append([(node, op, choice.sources[row]) for score, op in best[:options] if score >= threshold])
            order = sorted(range(len(rows)), key=lambda place: -strengths[place])
            taken = range(len(rows)) if every else order[: choice.keep]
            found = [edge for place in taken for edge in ranked[place] if edge[2] in present]
            edges += found
            if found:
                present.add(node)
        cells[name] = tuple(edges)
    return cells


def edges_of_path(space: str, choices: Mapping[str, Choice], path: Mixing) -> Cells:
    """Return exactly the edges of a path, `none` included, in the order of the rows.

    Args:
        space: Name of the space, for messages.
        choices: The choices of operations, by cell type.
        path: By choice [E, O]: which option of which edge is taken; any value but zero counts as taken.

    Raises:
        GenotypeError: An edge has several options, or one that it does not offer, or a node has no edge.
    """
    cells: Cells = {}
    for name, choice in choices.items():
        edges: list[Edge] = []
        for row, weights in enumerate(path[name].tolist()):
            taken = [column for column, weight in enumerate(weights) if weight != 0]
            node, source, options = choice.nodes[row], choice.sources[row], choice.options[row]
            if len(taken) > 1 or any(column >= len(options) for column in taken):
                raise GenotypeError(
                    f"path of space '{space}': the edge from {source} to {node} of the {name} cell takes"
                    f" options {taken}; one of {len(options)} can be taken"
                )
            edges += [(node, options[column], source) for column in taken]
        empty = sorted(set(choice.nodes) - {node for node, _, _ in edges})
        if empty:
            raise GenotypeError(f"path of space '{space}': no edge enters nodes {empty} of the {name} cell")
        cells[name] = tuple(edges)
    return cells


def check_genotype(space: str, choices: Mapping[str, Choice], genotype: Genotype) -> None:
    """Check that a genotype can be built with these choices of operations.

    Args:
        space: Name of the space, for messages.
        choices: The choices of operations, by cell type.
        genotype: The genotype.

    Raises:
        GenotypeError: It names another set of cells, or an edge or an operation that the choices do not have, or a node
            without inputs is used.
    """
    where = f"genotype of space '{genotype.space}' does not belong to space '{space}'"
    hint = "" if genotype.space == space else f"; choose its own space: space={genotype.space}"
    for field in ("cells", "concat"):
        given = set(getattr(genotype, field))
        if given != set(choices):
            raise GenotypeError(f"{where}: it has {field} for {sorted(given)}, not for {sorted(choices)}{hint}")
    for name, choice in choices.items():
        allowed = {
            (node, source): options
            for node, source, options in zip(choice.nodes, choice.sources, choice.options, strict=True)
        }
        for node, op, source in genotype.cells[name]:
            if op not in allowed.get((node, source), ()):
                options = ", ".join(allowed.get((node, source), ())) or "no edge at all"
                raise GenotypeError(
                    f"{where}: {name} cell has {op} from {source} to {node}, the space has {options} there{hint}"
                )
        fed = [node for node, _, _ in genotype.cells[name]]
        edges = genotype.cells[name]
        twice = next((edge for edge in edges if edges.count(edge) > 1), None)
        if twice is not None:
            raise GenotypeError(f"{where}: {name} cell has the edge from {twice[2]} to {twice[0]} twice{hint}")
        concat = genotype.concat[name]
        used = (set(concat) | {source for _, _, source in edges}) & set(choice.nodes)
        if not used <= set(fed) or fed != sorted(fed):
            raise GenotypeError(
                f"{where}: {name} cell feeds nodes {fed}; every node of {sorted(set(choice.nodes))} needs an"
                f" input, in order, unless neither the output nor an edge uses it{hint}"
            )
        if len(set(concat)) < len(concat) or not concat or not set(genotype.concat[name]) <= set(choice.nodes):
            raise GenotypeError(f"{where}: {name} cell concatenates {genotype.concat[name]}{hint}")


def count_genotypes(choices: Mapping[str, Choice]) -> int:
    """Count the genotypes that `strongest_edges` can return."""
    total = 1
    for choice in choices.values():
        for node, rows in choice.rows_of_node.items():
            sizes = [sum(op != "none" for op in choice.options[row]) for row in rows]
            sizes = [size for size in sizes if size]  # an edge without operations is never kept
            keep = min(choice.kept_at(node) or len(rows), len(sizes))
            total *= sum(prod(subset) for subset in combinations(sizes, keep))
    return total


def path_of_cells(choices: Mapping[str, Choice], genotype: Genotype) -> Mixing:
    """Return the path of a genotype of cells, zeros and ones by choice, each [R, O].

    Where edges are weighted, those that are kept have weight 1.

    Args:
        choices: Of operations by cell type and, where the space has them, of edges.
        genotype: A genotype that was checked.
    """
    path = {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in choices.items()}
    for name, edges in genotype.cells.items():
        choice = choices[name]
        row_of = {edge: row for row, edge in enumerate(zip(choice.nodes, choice.sources, strict=True))}
        rows_of_node = choice.rows_of_node
        for node, op, source in edges:
            row = row_of[node, source]
            path[name][row, choice.options[row].index(op)] = 1
            if edge_key(name) in choices:
                path[edge_key(name)][list(rows_of_node).index(node), rows_of_node[node].index(row)] = 1
    return path


def strengths_of(scores: Mapping[str, Tensor], name: str) -> list[list[float]]:
    """Read the strengths of a choice as a table of numbers.

    Raises:
        GenotypeError: A strength is not a number.
    """
    if torch.isnan(scores[name]).any():
        raise GenotypeError(
            f"the strengths of '{name}' are not numbers: the search diverged; lower search.weights.lr or"
            " search.arch.lr, or set search.weights.clip"
        )
    return scores[name].detach().double().cpu().tolist()
