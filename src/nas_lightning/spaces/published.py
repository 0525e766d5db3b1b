"""Genotypes printed in papers, by name."""

import difflib
from pathlib import Path

from nas_lightning.errors import GenotypeError
from nas_lightning.spaces.genotypes import Edge, Genotype

_SHORT = {"sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}
_SHORT |= {"skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "none": "none"}


def _cell(text: str) -> tuple[Edge, ...]:
    """'sep3 0, skip 1; …': the edges of node 2, then of node 3, and so on, as (operation, source)."""
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
}


def genotype(name: str) -> Genotype:
    """A genotype by its published name, or from a JSON file or a run folder.

    Raises:
        GenotypeError: No published genotype has that name and no such file or folder exists.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if "/" in name or name.endswith(".json") or Path(name).exists():
        return Genotype.load(name)
    near = difflib.get_close_matches(name, PUBLISHED, n=3, cutoff=0.3) or list(PUBLISHED)
    raise GenotypeError(
        f"genotype={name}: no published genotype has this name (nearest: {', '.join(near)}); allowed: one of"
        f" {', '.join(PUBLISHED)}, a JSON file, or a run folder: genotype=PATH/genotype.json"
    )
