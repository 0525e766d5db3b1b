"""Progressive shrinking (DrNAS): a stage of the search starts with fewer options per edge."""

from collections.abc import Sequence
from typing import Annotated, Any

import lightning as L
import torch
from pydantic import Field

from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError


class ProgressiveShrinking(Control, L.Callback):
    """Keeps the strongest options of each row at the start of a stage, by the mean mixing weights.

    Kept options keep their architecture parameters and moments; the others are no longer sampled or computed. The
    width is left to `regularizer.partial_channels`, whose supernet grows where a stage makes it wider.

    Source: Chen et al., DrNAS (ICLR 2021), section 3.4 and released code, which continues to sample the dropped options
    and renormalises: the same distribution, with more noise in the gradients of the dropped ones.

    Args:
        options: Options that each row keeps from this stage on; None keeps all. Ties go to the earlier one. At
            least one of them is an option that a genotype may hold.
    """

    decides = True
    shrinks = True
    key = "control.progressive_shrinking"

    def __init__(self, options: Annotated[int, Field(ge=1)] | None = None) -> None:
        self.options = options

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse to shrink before anything is learned.

        Raises:
            ConfigError: The first stage would shrink.
        """
        if self.options is not None and module.progress.stage == 0:
            raise ConfigError(
                f"{self.key}.options={self.options}: nothing is learned when the first stage starts; give it to a"
                f" later one, search.stages=[…, {{name: …, epochs: …, overrides: {{{self.key}.options:"
                f" {self.options}}}}}]"
            )

    def at_stage_start(self, module: Any) -> None:
        """Drop the weakest options, once per stage: a resumed stage has done so."""
        if self.options is None:
            return
        strengths = module.mean()
        for name, kept in module.decisions.kept.items():
            weights = strengths[name].detach().cpu().masked_fill(~kept, -1.0)
            strongest = weights.argsort(dim=1, descending=True, stable=True)[:, : self.options]
            keep = torch.zeros_like(kept).scatter(1, strongest, True)
            # If only `none` survived in a row, no genotype could be derived from it: the last place goes to the
            # strongest option that a genotype may hold.
            real = module.decisions.selectable(name)
            for row in ((~(keep & real).any(dim=1)) & real.any(dim=1)).nonzero()[:, 0].tolist():
                keep[row, strongest[row, -1]] = False
                keep[row, weights[row].masked_fill(~real[row], -1.0).argmax()] = True
            module.decisions.shrink(name, keep)
        module.settle()
