"""By how much skip connections outweigh convolutions.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), figure 2.3 of the thesis.
"""

from collections.abc import Mapping, Sequence

from nas_lightning.core.choices import Choice


def skip_gap(mixing: Mapping[str, Sequence[Sequence[float]]], choices: Mapping[str, Choice]) -> float | None:
    """Mean over the edges of (weight of skip_connect − mean weight of the convolutions), averaged over the choices.

    Edges count that offer both; convolutions are the operations with `conv` in their name. With one convolution an edge
    (S2) it is the published quantity; with several (DARTS' space) their mean and the average over the cell types are
    ours.

    Args:
        mixing: Mixing weights by choice, [R][O].
        choices: The choices of the space.

    Returns:
        From −1 to 1; None where no edge offers both.
    """
    means: list[float] = []
    for name, choice in choices.items():
        gaps: list[float] = []
        for row, options in enumerate(choice.options if choice.kind == "op" else ()):
            weights = [float(weight) for weight in mixing[name][row][: len(options)]]
            convolutions = [weight for weight, op in zip(weights, options, strict=True) if "conv" in op]
            if "skip_connect" in options and convolutions:
                gaps.append(weights[options.index("skip_connect")] - sum(convolutions) / len(convolutions))
        if gaps:
            means.append(sum(gaps) / len(gaps))
    return sum(means) / len(means) if means else None
