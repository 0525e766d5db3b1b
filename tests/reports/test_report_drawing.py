import random
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cases import BLOCK_SPACES, block_space
from nas_lightning.core.modules import OPERATIONS, of_choices
from nas_lightning.reports.drawing import draw_cell, draw_module, save_genotype, save_svg
from nas_lightning.spaces.enumeration import random_genotype

V1_NORMAL = (
    (2, "sep_conv_3x3", 1),
    (2, "sep_conv_3x3", 0),
    (3, "skip_connect", 0),
    (3, "sep_conv_3x3", 1),
    (4, "skip_connect", 0),
    (4, "sep_conv_3x3", 1),
    (5, "sep_conv_3x3", 0),
    (5, "skip_connect", 2),
)
V2_NORMAL = (
    (2, "sep_conv_3x3", 0),
    (2, "sep_conv_3x3", 1),
    (3, "sep_conv_3x3", 0),
    (3, "sep_conv_3x3", 1),
    (4, "sep_conv_3x3", 1),
    (4, "skip_connect", 0),
    (5, "skip_connect", 0),
    (5, "dil_conv_3x3", 2),
)
V2_REDUCE = (
    (2, "max_pool_3x3", 0),
    (2, "max_pool_3x3", 1),
    (3, "skip_connect", 2),
    (3, "max_pool_3x3", 1),
    (4, "max_pool_3x3", 0),
    (4, "skip_connect", 2),
    (5, "skip_connect", 2),
    (5, "max_pool_3x3", 1),
)
ONE_NODE = ((2, "dil_conv_5x5", 0), (2, "noise", 1))
OPS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
ALL_EDGES = tuple((node, OPS[(node + 3 * source) % 7], source) for node in range(2, 6) for source in range(node))
CELLS = {
    "v1_normal": (V1_NORMAL, (2, 3, 4, 5)),
    "v2_normal": (V2_NORMAL, (2, 3, 4, 5)),
    "v2_reduce": (V2_REDUCE, (2, 3, 4, 5)),
    "one_node": (ONE_NODE, (2,)),
    "all_edges": (ALL_EDGES, (2, 3, 4, 5)),
    "two_edges_between_one_pair": (((2, "sep_conv_3x3", 0), (2, "skip_connect", 0)), (2,)),
    "no_edge": ((), ()),
}


@dataclass
class Cells:
    space: str = "darts"
    cells: dict = field(default_factory=lambda: {"normal": V2_NORMAL, "reduce": V2_REDUCE})
    concat: dict = field(default_factory=lambda: {"normal": (2, 3, 4, 5), "reduce": (2, 3, 4, 5)})
    choices: dict = field(default_factory=dict)


def random_cell(seed):
    """Two edges a node, as DARTS keeps them."""
    draw = random.Random(seed)
    edges = [(n, draw.choice(OPS), s) for n in range(2, 6) for s in draw.sample(range(n), 2)]
    return tuple(edges), (2, 3, 4, 5)


def assert_legible(figure, edges, concat):
    """No text over another, no box over another, and no edge through a box but its own label."""
    texts = [text.get_window_extent() for text in figure.axes[0].texts]
    for one, other in combinations(texts, 2):
        assert not one.overlaps(other)
    for text in texts:
        assert figure.bbox.padded(1).contains(text.x0, text.y0)
        assert figure.bbox.padded(1).contains(text.x1, text.y1)

    patches = figure.axes[0].patches
    boxes = [patch.get_path().get_extents() for patch in patches if isinstance(patch, FancyBboxPatch)]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    arrows = [patch for patch in patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(edges) + len(concat)
    crossed = []
    for arrow in arrows:
        line = max(arrow.get_path().to_polygons(closed_only=False), key=len)  # the shaft, without the head
        steps = np.linspace(0, len(line) - 1, 50 * len(line))
        x, y = (np.interp(steps, np.arange(len(line)), line[:, axis]) for axis in (0, 1))
        inner = [box.padded(-0.02) for box in boxes]
        crossed.append(sum(bool(((b.x0 < x) & (x < b.x1) & (b.y0 < y) & (y < b.y1)).any()) for b in inner))
    assert sorted(crossed) == [0] * len(concat) + [1] * len(edges)


@pytest.mark.parametrize("name", CELLS)
def test_cell_is_legible_and_complete(name, tmp_path):
    edges, concat = CELLS[name]
    figure = draw_cell(edges, concat, f"darts: {name}")
    assert_legible(figure, edges, concat)
    svg = save_svg(figure, tmp_path / "cell.svg").read_text()
    for op in {op for _, op, _ in edges}:
        assert svg.count(f">{op}</text>") == sum(other == op for _, other, _ in edges)
    for text in ("$c_{k-2}$", "$c_{k-1}$", "$c_k$", f"darts: {name}"):
        assert text in svg


@pytest.mark.parametrize("seed", range(40))
def test_any_cell_is_legible(seed):
    edges, concat = random_cell(seed)
    assert_legible(draw_cell(edges, concat, "random"), edges, concat)


@pytest.mark.parametrize("seed", range(12))
def test_modules_have_their_operations_in_the_nodes(seed, tmp_path):
    genotype = random_genotype(block_space(BLOCK_SPACES[seed % 3]), seed)
    module = of_choices(genotype.choices).pruned
    figure = draw_module(module, "module")
    assert_legible(figure, (), [parent for parents in module.parents for parent in parents])
    (path,) = save_genotype(genotype, tmp_path)
    assert path.name == "cell_module.svg"
    svg = path.read_text()
    for op in OPERATIONS:
        assert svg.count(f">{op}</text>") == module.operations.count(op)


def test_labels_fit_their_boxes():
    figure = draw_cell(ALL_EDGES, (2, 3, 4, 5), "")
    to_inches = figure.axes[0].transData.inverted()
    boxes = [p.get_path().get_extents() for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    for text in figure.axes[0].texts[1:]:
        extent = text.get_window_extent().transformed(to_inches)
        assert any(box.x0 < extent.x0 and extent.x1 < box.x1 for box in boxes if box.contains(*text.get_position()))


def test_families_have_colours_of_their_own():
    ops = ("sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "skip_connect", "noise", "nor_conv_3x3")
    figure = draw_cell([(2 + i, op, 0) for i, op in enumerate(ops)], (), "")
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len({arrow.get_edgecolor() for arrow in arrows}) == len(ops)


def test_genotype_gives_one_file_a_cell(tmp_path):
    paths = save_genotype(Cells(), tmp_path / "plots")
    assert [path.name for path in paths] == ["cell_normal.svg", "cell_reduce.svg"]
    assert all(path.parent == tmp_path / "plots" for path in paths)
    assert ">dil_conv_3x3</text>" in paths[0].read_text()
    assert ">max_pool_3x3</text>" in paths[1].read_text()


def test_cell_with_one_input(tmp_path):
    edges = tuple((node, "nor_conv_3x3", source) for node in range(1, 4) for source in range(node))
    (path,) = save_genotype(Cells("nasbench201", {"cell": edges}, {"cell": (3,)}), tmp_path)
    svg = path.read_text()
    assert "$c_{k-1}$" in svg
    assert "c_{k-2}" not in svg
    assert svg.count(">nor_conv_3x3</text>") == 6


def test_same_genotype_same_bytes(tmp_path):
    here = [path.read_bytes() for path in save_genotype(Cells(), tmp_path / "a")]
    again = [path.read_bytes() for path in save_genotype(Cells(), tmp_path / "b")]
    assert here == again
    assert b"<dc:date>" not in here[0]


@pytest.mark.slow
def test_other_process_same_bytes(tmp_path):
    save_svg(draw_cell(V2_NORMAL, (2, 3, 4, 5), "cell"), tmp_path / "here.svg")
    code = (
        "import sys; from pathlib import Path\n"
        "from nas_lightning.reports.drawing import draw_cell, save_svg\n"
        f"save_svg(draw_cell({V2_NORMAL}, (2, 3, 4, 5), 'cell'), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there.svg")], check=True)
    assert (tmp_path / "here.svg").read_bytes() == (tmp_path / "there.svg").read_bytes()
