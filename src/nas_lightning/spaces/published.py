"""Genotypes printed in papers, by name."""

import difflib
from pathlib import Path

from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotypes import Edge, Genotype

_SHORT = {"sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}
_SHORT |= {"skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "none": "none"}


def _cell(text: str) -> tuple[Edge, ...]:
    """Parse 'sep3 0, skip 1; …': the edges of node 2, then of node 3, and so on, as (operation, source)."""
    edges: list[Edge] = []
    for node, incoming in enumerate(text.split(";"), start=2):
        for pair in incoming.split(","):
            op, source = pair.split()
            edges.append((node, _SHORT[op], int(source)))
    return tuple(edges)


def _darts(normal: str, reduce: str) -> Genotype:
    concat = (2, 3, 4, 5)
    cells = {"normal": _cell(normal), "reduce": _cell(reduce)}
    return Genotype("darts", cells, {"normal": concat, "reduce": concat})


PUBLISHED: dict[str, Genotype] = {
    # Liu et al., DARTS (ICLR 2019), released code: first order (v1) and second order (v2) on CIFAR-10.
    "darts_v1": _darts(
        "sep3 1, sep3 0; skip 0, sep3 1; skip 0, sep3 1; sep3 0, skip 2",
        "max 0, max 1; skip 2, max 0; max 0, skip 2; skip 2, avg 0",
    ),
    "darts_v2": _darts(
        "sep3 0, sep3 1; sep3 0, sep3 1; sep3 1, skip 0; skip 0, dil3 2",
        "max 0, max 1; skip 2, max 1; max 0, skip 2; skip 2, max 1",
    ),
    # Xu et al., PC-DARTS (ICLR 2020), released code.
    "pc_darts_cifar10": _darts(
        "sep3 1, skip 0; sep3 0, dil3 1; sep5 0, sep3 1; avg 0, dil3 1",
        "sep5 1, max 0; sep5 1, sep5 2; sep3 0, sep3 3; sep3 1, sep3 2",
    ),
    "pc_darts_imagenet": _darts(
        "skip 1, sep3 0; sep3 0, skip 1; sep3 1, sep3 3; sep3 1, dil5 4",
        "sep3 0, skip 1; dil5 2, max 1; sep3 2, sep3 1; sep5 0, sep3 3",
    ),
    # Chen et al., DrNAS (ICLR 2021), released code.
    "drnas_cifar10": _darts(
        "sep3 0, sep5 1; sep3 1, sep3 2; skip 0, sep3 1; sep3 2, dil5 3",
        "max 0, sep5 1; dil5 2, sep5 1; sep5 1, dil5 3; skip 4, sep5 1",
    ),
    "drnas_imagenet": _darts(
        "sep3 1, sep3 0; sep3 0, sep3 1; sep3 0, dil3 3; skip 0, sep3 1",
        "max 0, sep3 1; sep3 0, skip 2; sep3 0, sep3 2; sep3 3, sep3 1",
    ),
    # Dong & Yang, GDAS (CVPR 2019), released code.
    "gdas_v1": _darts(
        "skip 0, skip 1; skip 0, sep5 2; sep3 3, skip 0; sep5 4, sep3 3",
        "sep5 0, sep3 1; sep5 2, sep5 1; dil5 2, sep3 1; sep5 0, sep5 1",
    ),
    # Xie et al., SNAS (ICLR 2019), as the released codes of later papers print it.
    "snas": _darts(
        "sep3 0, sep3 1; skip 0, dil3 1; skip 1, skip 0; skip 0, sep3 1",
        "max 0, max 1; max 1, skip 2; skip 2, max 1; max 0, dil5 2",
    ),
    # Dong & Yang, NAS-Bench-201 (ICLR 2020): what DARTS ends with there, skip connections alone (54.30 % on CIFAR-10).
    "nasbench201_darts": Genotype.from_arch_str(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    ),
    # The one cell that has the accuracies reported by Chen et al., DrNAS (ICLR 2021): 94.36, 73.51 and 46.34 % on
    # CIFAR-10, CIFAR-100 and ImageNet16-120.
    "nasbench201_drnas": Genotype.from_arch_str(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    ),
}


def genotype(name: str) -> Genotype:
    """Load a genotype by its published name, from its NAS-Bench-201 string, or from a JSON file or a run folder.

    Raises:
        GenotypeError: No published genotype has that name, the string is malformed, or no such file or folder exists.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if name.startswith("|"):
        return Genotype.from_arch_str(name)
    if "/" in name or name.endswith(".json") or Path(name).exists():
        return Genotype.load(name)
    near = difflib.get_close_matches(name, PUBLISHED, n=3, cutoff=0.3) or list(PUBLISHED)
    raise GenotypeError(
        f"genotype={name}: no published genotype has this name (nearest: {', '.join(near)}); allowed: one of"
        f" {', '.join(PUBLISHED)}, a NAS-Bench-201 string in quotes, a JSON file, or a run folder:"
        " genotype=PATH/genotype.json"
    )
