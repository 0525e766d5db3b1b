"""Genotypes printed in papers, by name."""

import difflib
import re

from nas_lightning.core.arch_strings import is_cell
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotype_texts import RECURRENT_CELL, is_text_of_genotype
from nas_lightning.core.genotypes import DARTS, RECURRENT, Edge, Genotype
from nas_lightning.core.paths import exists, path_of, shown

_SHORT = {"sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}
_SHORT |= {"skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "none": "none"}


def _cell(text: str) -> tuple[Edge, ...]:
    """Parse 'sep3 0, skip 1; …': the edges of node 2, then of node 3, and so on, as (operation, source)."""
    edges: list[Edge] = []
    for node, incoming in enumerate(text.split(";"), start=2):
        for pair in incoming.split(","):
            op, source = pair.split()
            edges.append((node, _SHORT.get(op, op), int(source)))
    return tuple(edges)


def _triples(text: str) -> tuple[Edge, ...]:
    """Parse 'sep3 2 0, max 4 0, …': (operation, node, source), where nodes may have none to several inputs."""
    return tuple((int(node), _SHORT[op], int(source)) for op, node, source in map(str.split, text.split(",")))


def _sparse(normal: str, reduce: str) -> Genotype:
    cells = {"normal": _triples(normal), "reduce": _triples(reduce)}
    return Genotype("darts", cells, {name: tuple(sorted({n for n, _, _ in edges})) for name, edges in cells.items()})


def _darts(normal: str, reduce: str) -> Genotype:
    concat = (2, 3, 4, 5)
    cells = {"normal": _cell(normal), "reduce": _cell(reduce)}
    return Genotype("darts", cells, {"normal": concat, "reduce": concat})


def _recurrent(text: str) -> Genotype:
    """Parse 'relu 0, tanh 1, …': activation and source of node 1, then of node 2, and so on."""
    pairs = [pair.split() for pair in text.split(",")]
    edges = tuple((node, op, int(source)) for node, (op, source) in enumerate(pairs, start=1))
    return Genotype(RECURRENT, {RECURRENT_CELL: edges}, {RECURRENT_CELL: tuple(node for node, _, _ in edges)})


def _layers(text: str) -> Genotype:
    """Parse 'e6k3 e3k3 …': the block of each layer."""
    return Genotype("mobilenet", choices={"layers": text.split()})


def _points(text: str, space: str = "points") -> Genotype:
    """Parse 'edge_conv 0, skip 1; …', as `_cell`."""
    return Genotype(space, {"cell": _cell(text)}, {"cell": (2, 3, 4)})


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
    # Chen et al., P-DARTS (ICCV 2019), released code.
    "pdarts": _darts(
        "skip 0, dil3 1; skip 0, sep3 1; sep3 1, sep3 3; sep3 0, dil5 4",
        "avg 0, sep5 1; sep3 0, dil5 2; max 0, dil3 1; dil3 1, dil5 3",
    ),
    # Chen & Hsieh, SDARTS (ICML 2020), released code: random smoothing and adversarial, in the space of DARTS.
    "sdarts_rs_cifar10": _darts(
        "sep3 1, sep3 0; sep5 1, skip 0; sep3 3, skip 1; sep3 1, dil3 2",
        "max 0, sep3 1; skip 2, max 0; dil5 3, max 0; sep3 2, sep5 3",
    ),
    "sdarts_adv_cifar10": _darts(
        "sep3 0, sep3 1; sep3 1, skip 0; sep5 0, dil3 3; dil3 4, skip 0",
        "max 0, sep5 1; skip 2, max 0; skip 3, skip 2; skip 2, sep5 4",
    ),
    # Chu et al., FairDARTS (ECCV 2020), released code: seven searches in the space of DARTS without none. In the normal
    # cells of c and g, an edge from node 3, which has no inputs, is left out, as their network does.
    "fair_darts_a": _sparse(
        "sep3 2 0, sep5 2 1, max 4 0, sep3 5 0",
        "max 2 0, avg 2 1, avg 3 0, dil5 3 1, avg 4 0, sep5 4 1, skip 5 0, skip 5 1",
    ),
    "fair_darts_b": _sparse(
        "sep3 2 0, sep3 2 1, sep3 3 1, dil3 4 0, sep5 4 1, dil5 5 1",
        "skip 2 0, dil3 2 1, skip 3 0, dil3 3 1, max 4 0, sep3 4 1, skip 5 2, max 5 0",
    ),
    "fair_darts_c": _sparse(
        "max 2 0, sep5 2 1, dil3 4 0, dil5 4 2, sep3 5 0",
        "dil3 2 1, dil5 2 0, dil3 3 0, sep3 3 1, sep5 4 0, sep5 4 3, sep5 5 0, skip 5 1",
    ),
    "fair_darts_d": _sparse(
        "sep3 2 0, sep5 2 1, dil3 3 1, max 3 0, dil3 4 0, dil3 4 1, sep3 5 0, dil5 5 1",
        "max 2 0, sep5 2 1, avg 3 0, dil5 3 2, dil3 4 3, avg 4 0, avg 5 0, skip 5 3",
    ),
    "fair_darts_e": _sparse(
        "sep3 2 0, sep3 2 1, dil3 4 1, dil3 4 2, dil3 5 0, dil5 5 1",
        "max 2 1, max 2 0, max 3 1, max 3 0, sep5 4 1, max 4 0, avg 5 0, dil5 5 1",
    ),
    "fair_darts_f": _sparse(
        "max 2 0, sep3 2 1, dil3 3 1, sep5 4 1, sep3 5 0, sep3 5 1",
        "max 2 0, max 2 1, max 3 0, dil3 3 1, dil3 4 2, max 4 0, max 5 0, sep3 5 1",
    ),
    "fair_darts_g": _sparse(
        "sep3 2 0, sep3 2 1, sep5 4 1, dil3 5 0, sep3 5 1",
        "avg 2 1, skip 2 0, skip 3 2, max 3 1, sep5 4 3, max 4 0, dil3 5 1, dil3 5 4",
    ),
    # Xiao et al., Shapley-NAS (CVPR 2022), released code.
    "shapley_nas": _darts(
        "sep3 0, sep3 1; sep3 1, dil3 0; dil3 2, skip 3; sep3 1, dil5 3",
        "sep3 1, max 0; dil5 2, sep3 0; sep3 2, max 0; dil3 3, skip 2",
    ),
    # Movahedi et al., Λ-DARTS (ICLR 2023), released code: four searches with the correlation of the layers.
    "lambda_darts_0": _darts(
        "sep5 0, skip 1; sep3 2, sep5 1; sep3 1, max 0; dil3 2, max 0",
        "skip 1, skip 0; max 0, dil3 2; dil5 3, dil5 1; skip 1, sep5 2",
    ),
    "lambda_darts_1": _darts(
        "sep3 0, sep5 1; sep3 1, sep3 0; sep3 1, skip 0; skip 0, sep3 1",
        "max 0, max 1; max 0, max 1; max 0, dil5 3; dil5 4, dil5 3",
    ),
    "lambda_darts_2": _darts(
        "sep3 0, sep3 1; sep3 1, skip 0; sep3 1, skip 0; sep3 4, dil3 3",
        "skip 0, max 1; max 0, sep5 1; dil5 3, max 0; dil5 3, dil5 4",
    ),
    "lambda_darts_3": _darts(
        "sep3 0, sep3 1; sep3 0, skip 1; sep3 1, sep3 0; dil5 4, max 1",
        "skip 0, skip 1; dil5 2, sep3 1; dil5 3, avg 0; skip 1, dil5 4",
    ),
    # Gu et al., DOTS (CVPR 2021), released code.
    "dots_cifar10": _darts(
        "skip 0, sep3 1; sep3 0, sep3 1; sep3 0, sep3 1; skip 1, dil3 3",
        "sep3 0, sep3 1; max 0, max 1; max 0, dil5 3; max 0, dil5 4",
    ),
    "dots_cifar100": _darts(
        "sep3 0, sep3 1; skip 0, sep3 1; sep3 1, sep3 3; sep3 1, dil3 4",
        "avg 0, avg 1; sep5 0, sep5 1; sep3 0, dil5 3; sep3 3, dil3 4",
    ),
    "dots_imagenet": _darts(
        "dil5 0, skip 1; skip 0, sep3 1; sep3 0, sep3 1; sep3 0, sep5 1",
        "sep5 0, sep3 1; sep3 0, sep5 1; max 0, dil5 3; sep3 0, max 1",
    ),
    # Jiang et al., OLES (NeurIPS 2023), released code.
    "oles_cifar10": _darts(
        "sep3 1, sep3 0; sep5 0, sep3 1; sep3 0, sep5 1; sep3 0, dil3 1",
        "max 0, sep3 1; avg 0, skip 2; skip 2, avg 0; skip 2, skip 3",
    ),
    "oles_cifar100": _darts(
        "skip 0, sep3 1; skip 0, sep5 1; skip 0, skip 1; skip 0, sep3 1",
        "skip 0, sep5 1; max 0, skip 2; max 0, skip 2; skip 2, max 0",
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
    # Chu et al., NoisyDARTS, released code: searched on ImageNet in the space of MobileNetV2's blocks.
    "noisy_darts_a": _layers(
        "e6k3 e3k3 e6k5 e6k3 e6k3 e6k3 e6k5 e6k7 e6k3 e6k3 e6k3 e6k3 e6k3 e6k3 e6k3 e6k7 e6k7 e6k7 e6k7"
    ),
    # Liu et al., DARTS (ICLR 2019), released code: recurrent cells, first order (v1) and second order (v2).
    "darts_v1_rnn": _recurrent("relu 0, relu 1, tanh 2, relu 3, relu 4, identity 1, relu 5, relu 1"),
    "darts_v2_rnn": _recurrent("sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5"),
    # Chen & Hsieh, SDARTS (ICML 2020), released code: random smoothing and adversarial, recurrent cells.
    "sdarts_rs_rnn": _recurrent("sigmoid 0, sigmoid 1, identity 2, sigmoid 1, tanh 2, tanh 2, sigmoid 0, sigmoid 3"),
    "sdarts_adv_rnn": _recurrent("relu 0, relu 1, tanh 2, relu 3, identity 2, relu 1, tanh 2, relu 7"),
    # Li et al., SGAS (CVPR 2020), released code for point clouds: the best of ten searches by each criterion on
    # ModelNet10, and the best of ten random genotypes.
    "sgas_modelnet_cri1": _points("edge_conv 0, skip 1; mr_conv 0, mr_conv 2; gin 1, conv_1x1 3"),
    "sgas_modelnet_cri2": _points("edge_conv 0, mr_conv 1; skip 1, gat 2; conv_1x1 0, gat 3"),
    "sgas_modelnet_random": _points("edge_conv 1, edge_conv 0; semi_gcn 1, conv_1x1 0; gat 0, mr_conv 2"),
    # The same, released code for graphs: on PPI.
    "sgas_ppi_cri1": _points("edge_conv 0, mr_conv 1; mr_conv 0, gin 1; semi_gcn 2, edge_conv 3", "graphs"),
    "sgas_ppi_cri2": _points("rel_sage 0, mr_conv 1; edge_conv 0, edge_conv 1; rel_sage 1, edge_conv 3", "graphs"),
    "sgas_ppi_random": _points("mr_conv 1, gin 0; skip 1, conv_1x1 0; rel_sage 2, rel_sage 0", "graphs"),
}


OTHER_NAMES = {
    "pc_darts_cifar": "pc_darts_cifar10",
    "pc_darts_image": "pc_darts_imagenet",
    "c10_s5_random": "sdarts_rs_cifar10",
    "c10_s5_pgd": "sdarts_adv_cifar10",
    "shapley_nas_cifar10": "shapley_nas",
    "dots_final_c10": "dots_cifar10",
    "dots_final_c100": "dots_cifar100",
    **{f"lambdadarts_corr_{n}": f"lambda_darts_{n}" for n in range(4)},
}
"""Names of the released codes that are not ours."""


def published_name(name: str) -> str | None:
    """Return our name of a published genotype, however it is spelled; None if none has that name.

    >>> published_name("P-DARTS"), published_name("DARTS_V2"), published_name("PC_DARTS_cifar")
    ('pdarts', 'darts_v2', 'pc_darts_cifar10')
    """
    plain = {_letters(one): one for one in PUBLISHED} | {_letters(one): ours for one, ours in OTHER_NAMES.items()}
    return plain.get(_letters(name))


def _letters(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


def genotype(name: str, space: str = DARTS) -> Genotype:
    """Load a genotype by its published name, from a text that is one, or from a file or a run folder.

    Args:
        name: A published name in any capitals; a NAS-Bench-201 string; what another program prints,
            `Genotype(normal=…)`, its fields or nested lists; a file with any of these (`FILE.py:NAME` for one of
            several), or a run folder.
        space: Name of the space that it belongs to, where neither text nor file names one.

    Raises:
        GenotypeError: No published genotype has that name, the text is malformed, or no such file or folder exists.
    """
    path = path_of(name)
    if name not in PUBLISHED and exists(path):  # a folder SNAS is meant where there is one
        return Genotype.load(path, space)
    known = published_name(name)
    if known is not None:
        return PUBLISHED[known]
    if is_cell(name):
        return Genotype.from_arch_str(name)
    if is_text_of_genotype(name):
        return Genotype.from_text(name, space, f"genotype={shown(name)}")
    if "/" in name or re.search(r"\.(json|py|txt|log)(:\w+)?$", name):
        return Genotype.load(path, space)
    near = difflib.get_close_matches(name.lower(), PUBLISHED, n=3, cutoff=0.3) or list(PUBLISHED)
    raise GenotypeError(
        f"genotype={shown(name)}: no published genotype has this name (nearest: {', '.join(near)}); allowed: one of"
        f" {', '.join(PUBLISHED)}, a NAS-Bench-201 string in quotes, the text Genotype(normal=…) in quotes, a JSON file"
        " or another with such a text, or a run folder: genotype=PATH/genotype.json"
    )
