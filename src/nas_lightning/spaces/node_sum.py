"""The sum of the terms that enter a node, put together once all of them are known.

Shapes: B images, C channels, N = B·H·W pixels.
"""

from collections.abc import Hashable

import torch
from torch import Tensor

from nas_lightning.spaces.depthwise import from_phases
from nas_lightning.spaces.matrices import image, rows, scaled_sum
from nas_lightning.spaces.normed_sums import Term, normed_sum


class NodeSum:
    """Collects weighted terms, then sums those of a kind in one go.

    Terms of a kind share one `normed_sum`: all of them images or phases, all with or without a 1×1 convolution, of one
    width, and with normalisations of one mode, ε and momentum. Phases are put back into images once a sum, since that
    is a permutation of pixels, which commutes with sums and with the statistics over all pixels.
    """

    def __init__(self) -> None:
        self._terms: dict[tuple[Hashable, ...], list[Term]] = {}
        self._scaled: list[tuple[Tensor, Tensor]] = []

    def add_normed(self, term: Term, phased: bool = False) -> None:
        """Add a normalised term, of an image or of its phases."""
        norm = term.norm
        kind = (phased, term.pointwise is None, term.x.shape[1], norm.training, norm.eps, norm.momentum)
        self._terms.setdefault(kind, []).append(term)

    def add(self, x: Tensor, weight: Tensor) -> None:
        """Add a scalar times [B, C, H, W]."""
        self._scaled.append((x, weight))

    def value(self) -> Tensor | None:
        """Compute the sum [B, C, H, W]; None without terms."""
        total: Tensor | None = None
        like: torch.Size | None = None
        for (phased, *_), terms in self._terms.items():
            y, like = normed_sum(terms), terms[0].x.shape
            if phased:
                y, like = from_phases(y, like), torch.Size((like[0] // 4, like[1], 2 * like[2], 2 * like[3]))
            total = y if total is None else total + y
        if self._scaled:
            like = self._scaled[0][0].shape
            total = scaled_sum(total, [rows(x) for x, _ in self._scaled], [weight for _, weight in self._scaled])
        return None if total is None or like is None else image(total, like)
