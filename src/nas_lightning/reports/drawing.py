"""Draw cells: inputs on the left, output on the right, every operation's name on its edge.

The layout is the layered one of Sugiyama, Tagawa and Toda (1981). Nodes stand in columns by depth, columns of
labels stand between them, and an edge is a chain of places, one a column. Places of one column never overlap
and edges bend only between columns, so labels do not overlap and no edge crosses a node or a label of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any, Protocol

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from nas_lightning.core.genotypes import layers_of
from nas_lightning.core.modules import Module, of_choices
from nas_lightning.runs.files import replacing

Edge = tuple[int, str, int]  # node, operation, source

# Families of operations and their colours (Okabe and Ito, 2008: colour-blind readers tell them apart). The
# first mark found in an operation's name decides.
_FAMILIES = (
    (("sep", "tanh", "k3"), "#0072B2"),
    (("dil", "relu", "k5"), "#D55E00"),
    (("pool", "sigmoid", "k7"), "#009E73"),
    (("skip", "identity"), "#CC79A7"),
    (("none", "zero", "noise"), "#7F7F7F"),
)
_OTHER = "#E69F00"  # plain convolutions and unknown operations
_INK, _WIRE = "#222222", "#9A9A9A"

# Sizes in inches, which are also the units of the drawing.
_NODE_WIDTH, _NODE_HEIGHT, _LABEL_HEIGHT, _WIRE_HEIGHT = 0.62, 0.46, 0.27, 0.1
_SPACE, _MARGIN, _TITLE = 0.15, 0.2, 0.36
_CHARACTER = 0.078  # width of a character of a label


class HasCells(Protocol):
    """The part of a genotype that a drawing needs."""

    @property
    def space(self) -> str:
        """Name of the search space."""

    @property
    def cells(self) -> Mapping[str, tuple[Edge, ...]]:
        """Edges of each type of cell."""

    @property
    def choices(self) -> Mapping[str, Any]:
        """Choices of spaces that are not made of cells."""

    @property
    def concat(self) -> Mapping[str, tuple[int, ...]]:
        """Nodes that each type of cell joins into its output."""


@dataclass
class _Place:
    """A point at which a node or an edge meets a column; `text` names the node or the operation, bends have none."""

    column: int
    height: float
    text: str = ""
    y: float = 0.0
    computes: bool = False  # a node that is an operation


@dataclass
class _Route:
    """An edge (or, without an operation, a wire to the output) and its places from left to right."""

    places: list[_Place]
    op: str = ""


def draw_cell(
    edges: Sequence[Edge],
    concat: Sequence[int],
    title: str,
    inputs: Sequence[str] = ("c_{k-2}", "c_{k-1}"),
) -> Figure:
    """Draw one cell.

    Args:
        edges: `(node, operation, source)` for every operation.
        concat: The nodes that are joined into the output, `c_k`.
        title: Of the drawing.
        inputs: Names of nodes 0, 1, … in mathematical notation; the others show their number in the genotype.

    Returns:
        A figure that belongs to no window; `save_svg` writes it.
    """
    return _drawn(*_build(edges, concat, inputs), title)


def draw_module(module: Module, title: str) -> Figure:
    """Draw a module of NAS-Bench-101, whose nodes are operations, without the pruned ones; otherwise as `draw_cell`."""
    graph = module.pruned
    last = len(graph.parents) - 1
    nodes: list[_Place] = []
    routes: list[_Route] = []
    for node, parents in enumerate(graph.parents):
        column = max((nodes[parent].column + 2 for parent in parents), default=0)
        text = "$c_{k-1}$" if node == 0 else "$c_k$" if node == last else graph.operations[node - 1]
        nodes.append(_Place(column, _NODE_HEIGHT, text, computes=0 < node < last))
    for node, parents in enumerate(graph.parents):
        for parent in parents:
            start, end = nodes[parent], nodes[node]
            bends = [_Place(column, _WIRE_HEIGHT) for column in range(start.column + 1, end.column)]
            routes.append(_Route([start, *bends, end]))
    return _drawn(nodes, routes, title)


def draw_layers(layers: Sequence[str], title: str) -> Figure:
    """Draw a chain of layers from left to right, each with the name of its option; otherwise as `draw_cell`."""
    texts = ["$x$", *layers, "$y$"]
    nodes = [
        _Place(2 * place, _NODE_HEIGHT, text, computes=0 < place <= len(layers)) for place, text in enumerate(texts)
    ]
    links = pairwise(nodes)
    return _drawn(nodes, [_Route([one, _Place(one.column + 1, _WIRE_HEIGHT), other]) for one, other in links], title)


def _drawn(nodes: Sequence[_Place], routes: Sequence[_Route], title: str) -> Figure:
    places = {id(place): place for route in routes for place in route.places}
    places |= {id(place): place for place in nodes}
    columns: list[list[_Place]] = [[] for _ in range(1 + max(place.column for place in nodes))]
    for place in places.values():
        columns[place.column].append(place)
    _arrange(columns, routes)

    x, widths = _abscissae(columns, routes)
    bottom = min(place.y - place.height / 2 for place in places.values()) - _MARGIN
    top = max(place.y + place.height / 2 for place in places.values()) + _MARGIN + _TITLE
    right = x[-1] + widths[-1] / 2 + _MARGIN
    figure = Figure(figsize=(right, top - bottom), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, right), ylim=(bottom, top))
    axes.set_axis_off()
    axes.text(_MARGIN, top - _MARGIN, title, va="top", size=11, weight="bold", color=_INK, parse_math=False)
    for node in nodes:
        arriving = sorted((route for route in routes if route.places[-1] is node), key=lambda r: -r.places[-2].y)
        for index, route in enumerate(arriving):
            port = ((len(arriving) - 1) / 2 - index) * min(0.14, 0.36 / len(arriving))
            _draw_route(axes, route, node.y + port, x, widths)
    for place in nodes:
        if place.computes:
            _box(axes, x[place.column], place, _text_width(place.text), "white", _colour(place.text), 9)
        else:
            _box(axes, x[place.column], place, _NODE_WIDTH, "#F2F2F2" if place.column else "#DCE6EE", _INK, 11)
    return figure


def draw_genotype(genotype: HasCells, title: str | None = None) -> dict[str, Figure]:
    """Draw every type of cell of a genotype, by its name; the title, by default the space, stands before the name."""
    module = of_choices(genotype.choices)
    if module is not None:
        return {"module": draw_module(module, f"{title or genotype.space}: module")}
    layers = layers_of(genotype.choices)
    if layers is not None:
        return {"layers": draw_layers(layers, f"{title or genotype.space}: layers")}
    figures = {}
    for name, edges in genotype.cells.items():
        # The first nodes, which nothing leads to, are the inputs: two in DARTS, one in NAS-Bench-201. A node that does
        # not exist is no input: no edge leaves it.
        first = min((node for node, _, _ in edges), default=2)
        count = max(min(first, 2), 1 + max((source for _, _, source in edges if source < first), default=0))
        inputs = ("c_{k-2}", "c_{k-1}")[-count:] if count <= 2 else tuple(f"x_{i}" for i in range(count))
        figures[name] = draw_cell(edges, genotype.concat[name], f"{title or genotype.space}: {name}", inputs)
    return figures


def save_genotype(genotype: HasCells, folder: FilePath, title: str | None = None) -> list[FilePath]:
    """Write `cell_<name>.svg` for every type of cell of a genotype, titled as by `draw_genotype`; return the paths.

    The same genotype gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [save_svg(figure, folder / f"cell_{name}.svg") for name, figure in draw_genotype(genotype, title).items()]


def save_svg(figure: Figure, path: FilePath) -> FilePath:
    """Write a figure with its text as text; the bytes depend on the drawing alone."""
    with matplotlib.rc_context({"svg.hashsalt": "nas_lightning", "svg.fonttype": "none"}), replacing(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    return path


def _colour(op: str) -> str:
    return next((colour for marks, colour in _FAMILIES if any(mark in op for mark in marks)), _OTHER)


def _build(edges: Sequence[Edge], concat: Sequence[int], inputs: Sequence[str]) -> tuple[list[_Place], list[_Route]]:
    """Assign every node its column (even ones; odd ones are for labels) and every edge its route."""
    count = 1 + max([len(inputs) - 1, *concat, *(node for node, _, _ in edges)])
    depth = [0] * count
    for node in range(len(inputs), count):  # sources have smaller numbers, so they are known
        depth[node] = 1 + max((depth[source] for target, _, source in edges if target == node), default=0)
    texts = [f"${name}$" for name in inputs] + [str(node) for node in range(len(inputs), count)]
    nodes = [_Place(2 * column, _NODE_HEIGHT, text) for column, text in zip(depth, texts, strict=True)]
    output = _Place(2 * max(depth) + 2, _NODE_HEIGHT, "$c_k$")

    routes = []
    for node, op, source in sorted(edges, key=lambda edge: (edge[0], edge[2], edge[1])):
        start, end = nodes[source], nodes[node]
        bends = [_Place(column, _WIRE_HEIGHT) for column in range(start.column + 1, end.column - 1)]
        label = _Place(end.column - 1, _LABEL_HEIGHT, op)
        routes.append(_Route([start, *bends, label, end], op))
    for node in concat:
        start = nodes[node]
        bends = [_Place(column, _WIRE_HEIGHT) for column in range(start.column + 1, output.column)]
        routes.append(_Route([start, *bends, output]))
    return [*nodes, output], routes


def _arrange(columns: list[list[_Place]], routes: Sequence[_Route], sweeps: int = 30) -> None:
    """Set the heights: alternate sweeps pull places to the mean of their neighbours; the best sweep is kept."""
    links = [pair for route in routes for pair in zip(route.places, route.places[1:], strict=False)]
    before: dict[int, list[_Place]] = {}
    after: dict[int, list[_Place]] = {}
    for left, right in links:
        after.setdefault(id(left), []).append(right)
        before.setdefault(id(right), []).append(left)

    def pull(column: list[_Place], *sides: Mapping[int, list[_Place]]) -> None:
        wishes = []
        for place in column:
            near = [other for side in sides for other in side.get(id(place), ())]
            # Long edges are straight where nothing hinders them: bends hold on to bends.
            weights = [1.0 if place.text or other.text else 8.0 for other in near]
            total = sum(weight * other.y for weight, other in zip(weights, near, strict=True))
            wishes.append(total / sum(weights) if near else place.y)
        _spread(column, wishes)

    for column in columns:
        _spread(column, [-float(index) for index in range(len(column))])
    best = float("inf")
    heights: list[tuple[_Place, float]] = []
    # To the right, to the left, and so on, which untangles; then both sides at once, which straightens.
    for sweep in range(2 * sweeps):
        sides = (before, after) if sweep >= sweeps else (after,) if sweep % 2 else (before,)
        for column in reversed(columns) if sides == (after,) else columns:
            pull(column, *sides)
        if (cost := _cost(links, len(columns))) < best - 1e-9:
            best, heights = cost, [(place, place.y) for column in columns for place in column]
    for place, y in heights:
        place.y = y


def _cost(links: Sequence[tuple[_Place, _Place]], columns: int) -> float:
    """Return the number of crossings, with the total rise and fall of the edges as a tie-break."""
    crossings = 0
    for column in range(columns):
        here = [(left.y, right.y) for left, right in links if left.column == column]
        crossings += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for i, a in enumerate(here) for b in here[:i])
    return crossings + 0.01 * sum(abs(left.y - right.y) for left, right in links)


def _spread(column: list[_Place], wishes: Sequence[float]) -> None:
    """Sort a column by the wished heights, top first, and moves its places as little as keeps them apart.

    Least squares under an order (pool adjacent violators): neighbours that are too close become one block,
    which stands where its members wish on average.
    """
    order = sorted(range(len(column)), key=lambda index: -wishes[index])
    blocks: list[list[float]] = []  # offset-free wishes of the members
    offsets: list[float] = []
    for position, index in enumerate(order):
        if position:
            gap = (column[order[position - 1]].height + column[index].height) / 2 + _SPACE
            offsets.append(offsets[-1] - gap)
        else:
            offsets.append(0.0)
        blocks.append([wishes[index] - offsets[-1]])
        while len(blocks) > 1 and _mean(blocks[-2]) < _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [_mean(block) for block in blocks for _ in block]
    column[:] = [column[index] for index in order]
    for place, level, offset in zip(column, levels, offsets, strict=True):
        place.y = level + offset


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _text_width(text: str) -> float:
    return _CHARACTER * len(text) + 0.24


def _abscissae(columns: Sequence[Sequence[_Place]], routes: Sequence[_Route]) -> tuple[list[float], list[float]]:
    """Return centres and widths of the columns; the steeper the edges between two columns, the wider their gap."""
    widths = []
    for index, column in enumerate(columns):
        longest = max((len(place.text) for place in column if place.text), default=0)
        if index % 2 == 0:
            widths.append(max([_NODE_WIDTH, *(_text_width(place.text) for place in column if place.computes)]))
        else:
            widths.append(_CHARACTER * longest + 0.16 * bool(longest))
    x = [_MARGIN + widths[0] / 2]
    for index in range(1, len(columns)):
        rises = [
            abs(left.y - right.y)
            for route in routes
            for left, right in zip(route.places, route.places[1:], strict=False)
            if right.column == index
        ]
        gap = min(max(0.35, 0.45 * max(rises, default=0.0)), 1.0)
        x.append(x[-1] + widths[index - 1] / 2 + gap + widths[index] / 2)
    return x, widths


def _draw_route(axes: Axes, route: _Route, port: float, x: Sequence[float], widths: Sequence[float]) -> None:
    """Draw an edge that ends at height `port`: level in a column, an S between two, its label on top."""
    start, *inner, end = route.places
    points = [(x[start.column] + widths[start.column] / 2, start.y)]
    codes = [Curve.MOVETO]
    for place in [*inner, end]:
        left = x[place.column] - widths[place.column] / 2
        middle = (points[-1][0] + left) / 2
        y = port if place is end else place.y
        points += [(middle, points[-1][1]), (middle, y), (left, y)]
        codes += [Curve.CURVE4] * 3
        if place is not end:
            points.append((x[place.column] + widths[place.column] / 2, place.y))
            codes.append(Curve.LINETO)
    colour = _colour(route.op) if route.op else _WIRE
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(points, codes),
            arrowstyle="-|>,head_length=5,head_width=2.2",
            mutation_scale=1,
            linewidth=1.5 if route.op else 1.1,
            linestyle=":" if colour == _colour("none") else "-",
            color=colour,
            zorder=1,
        )
    )
    for place in inner:
        if place.text:
            _box(axes, x[place.column], place, widths[place.column], "white", colour, 9)


def _box(axes: Axes, x: float, place: _Place, width: float, face: str, line: str, size: int) -> None:
    """Draw a rounded box and its text."""
    rounding = place.height / 2 if size < 11 else 0.1
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, place.y - place.height / 2),
            width,
            place.height,
            boxstyle=f"round,pad=0,rounding_size={rounding}",
            facecolor=face,
            edgecolor=line,
            linewidth=1.2,
            zorder=2,
        )
    )
    axes.text(x, place.y, place.text, ha="center", va="center_baseline", size=size, color=_INK, zorder=3)
