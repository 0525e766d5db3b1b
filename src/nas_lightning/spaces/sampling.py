"""Draw architectures uniformly, as paths through the supernet.

Source: Li & Talwalkar, Random search and reproducibility for NAS (UAI 2019), section 3 and released code: of each node
`keep` distinct incoming edges, of each of these an operation. The cells of a space are drawn independently.
A recurrent cell is the same rule with keep = 1. Ours: rows that take k options draw k distinct ones.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.choices import Choice, Mixing


def sample_rows(
    choice: Choice, generator: Generator | None = None, none: bool = True, kept: Tensor | None = None
) -> Tensor:
    """Draw `keep` distinct rows of each node uniformly, without replacement, and an option of each row uniformly.

    Args:
        choice: The table to draw from; a row's options are its own, however long the other rows are.
        generator: The generator to draw from, on any device; None is torch's global one.
        none: Whether to draw the option `none` like any other, where the choice has it drawn at all. Without it, rows
            that have no other are not drawn.
        kept: Boolean [R, O] on the CPU: the options that can be drawn; None is all of them. Rows without any are not
            drawn.

    Returns:
        Zeros and ones [R, O] on the CPU. A node with fewer than `keep` rows to draw from has a one in each of these.
    """
    none = none and choice.none_drawn
    open_options = (choice.mask if kept is None else kept).tolist()
    allowed = [
        [i for i, op in enumerate(row) if open_options[r][i] and (none or op != "none")]
        for r, row in enumerate(choice.options)
    ]
    device = "cpu" if generator is None else generator.device
    # One draw a row and purpose, whatever is kept: single precision, because not every device has double.
    order, pick = torch.rand((2, choice.num_rows), generator=generator, device=device).tolist()
    path = torch.zeros(choice.num_rows, choice.num_options)
    for node, rows in choice.rows_of_node.items():
        eligible = sorted((row for row in rows if allowed[row]), key=order.__getitem__)
        for row in eligible[: choice.kept_at(node)]:
            path[row, allowed[row][int(pick[row] * len(allowed[row]))]] = 1.0
    return path


def sample_options(choice: Choice, generator: Generator | None = None, kept: Tensor | None = None) -> Tensor:
    """Draw for each row as many distinct options as it takes, uniformly.

    Args:
        choice: The table to draw from.
        generator: The generator to draw from, on any device; None is torch's global one.
        kept: Boolean [R, O] on the CPU: the options that can be drawn; None is all of them.

    Returns:
        Zeros and ones [R, O] on the CPU.
    """
    allowed = choice.mask if kept is None else kept
    device = "cpu" if generator is None else generator.device
    order = torch.rand((choice.num_rows, choice.num_options), generator=generator, device=device).cpu()
    ranked = order.masked_fill(~allowed, torch.inf).argsort(dim=1)
    path = torch.zeros(choice.num_rows, choice.num_options)
    for row, k in enumerate(choice.taken):
        path[row, ranked[row, :k]] = 1.0
    return path


def sample_path(
    choices: Mapping[str, Choice],
    generator: Generator | None = None,
    none: bool = True,
    kept: Mapping[str, Tensor] | None = None,
) -> Mixing:
    """Draw a path by choice, each [R, O]: `sample_rows` for operations, `sample_options` for inputs and outputs.

    Weights of edges are equal.

    Args:
        choices: The choices, drawn one after the other.
        generator: The generator to draw from; None is torch's global one.
        none: Whether to draw the option `none` like any other.
        kept: The options that can be drawn or that share the weight, boolean [R, O] by choice; choices that are not
            named are unrestricted.
    """
    path: Mixing = {}
    for name, choice in choices.items():
        allowed = None if kept is None else kept.get(name)
        if choice.kind == "op":
            path[name] = sample_rows(choice, generator, none, allowed)
        elif choice.kind == "edge":
            path[name] = choice.uniform(allowed)
        else:
            path[name] = sample_options(choice, generator, allowed)
    return path
