"""The mixing weights of a discrete architecture, to ask a supernet what it loses when it is discretised.

Source: Zela et al., RobustDARTS (ICLR 2020), figure 6: the supernet keeps its weights, its mixing weights
become zeros and ones, and the drop of the accuracy on `val` grows with the dominant eigenvalue.
"""

from collections.abc import Mapping

import torch

from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.genotypes import Genotype


def discrete_mixing(genotype: Genotype, choices: Mapping[str, Choice]) -> tuple[Mixing, Active]:
    """One for the operations that a genotype holds, zero for all others.

    Where edges have weights, those that are kept weigh one, as in the discrete network.

    Args:
        genotype: Of cells that are choices of kind `op`.
        choices: Those of the supernet.

    Returns:
        Mixing weights and active options, each [R, O] by choice. What is zero is not active either: an edge that is
        gone has no bypass of partial channels.
    """
    mixing = {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in choices.items()}
    for name, edges in genotype.cells.items():
        choice = choices[name]
        row_of = {edge: row for row, edge in enumerate(zip(choice.nodes, choice.sources, strict=True))}
        rows_of_node = choice.rows_of_node
        for node, op, source in edges:
            row = row_of[node, source]
            mixing[name][row, choice.options[row].index(op)] = 1
            if f"{name}_edge" in choices:
                mixing[f"{name}_edge"][list(rows_of_node).index(node), rows_of_node[node].index(row)] = 1
    return mixing, {name: mixing[name] > 0 for name, choice in choices.items() if choice.kind == "op"}
