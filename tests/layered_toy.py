"""Small spaces of layers, and a supernet of theirs in float64."""

import torch

from nas_lightning.layered import LayerSpace

SIZES = {
    "widths": [4, 6], "depths": [2, 2], "strides": [1, 2], "expansions": [2, 3], "kernels": [3, 5],
    "stem_width": 4, "stem_stride": 1, "first_width": 4, "tail_width": 8,
}  # fmt: skip
SMALLEST = [
    "space.widths=[4,4,8]", "space.depths=[1,2,1]", "space.strides=[1,2,2]", "space.expansions=[2,3]",
    "space.kernels=[3]", "space.stem_width=4", "space.stem_stride=1", "space.first_width=4", "space.tail_width=8",
    "search.init_channels=null", "search.layers=null", "evaluation.init_channels=null", "evaluation.layers=null",
]  # fmt: skip
"""Overrides of a space of four layers, two of which may be skipped; the sizes of cells are taken back."""


def toy(**changes):
    """Four layers: the first, second and fourth keep the shape."""
    return LayerSpace("toy", **{**SIZES, **changes})


def toy_supernet(space, **sizes):
    """A supernet in float64 and train mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return space.supernet(**{"num_classes": 3, **sizes}).double()
