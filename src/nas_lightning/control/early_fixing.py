"""Fix an operation for good as soon as its probability leads (Hu et al., DSNAS, CVPR 2020)."""

from typing import Annotated, Any

import lightning as L
from pydantic import Field

from nas_lightning.core.control import Control


class EarlyFixing(Control, L.Callback):
    """After an epoch, decide every row whose two largest mean weights differ by the margin: it takes the larger.

    Rows with the largest difference come first. Once as many edges of a node are decided as a genotype keeps, the
    others are removed: DSNAS' space of layers has no such choice, so that rule is that of SGAS.

    Source: DSNAS and its released code, which fixes layers between two steps. Left out: the limit on
    multiply-accumulates.

    Args:
        margin: Least difference of the two largest weights.
    """

    key = "control.early_fixing"
    decides = True

    def __init__(self, margin: Annotated[float, Field(gt=0, lt=1)] = 0.3) -> None:
        self.margin = margin

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Decide the rows that are due."""
        if not pl_module.learns_arch:
            return
        decisions, mean = pl_module.decisions, pl_module.mean()
        due = []
        for name, choice in decisions.choices.items():
            table = mean[name].detach().cpu().double()
            for row in decisions.undecided(name):
                if choice.num_options < 2 or not decisions.selectable(name)[row, int(table[row].argmax())]:
                    continue
                first, second = table[row].topk(2).values.tolist()
                if first - second >= self.margin:
                    due.append((first - second, name, row, int(table[row].argmax())))
        for lead, name, row, option in sorted(due, key=lambda one: -one[0]):
            if not decisions.decided[name][row]:  # removed meanwhile
                self._decide(pl_module, name, row, option, lead)
        if due:
            pl_module.settle()

    def _decide(self, module: Any, name: str, row: int, option: int, lead: float) -> None:
        decisions, epoch = module.decisions, module.search_epoch
        decisions.decide(name, row, option, epoch=epoch, measured=f"lead {lead:.6g}")
        decisions.complete(name, row, epoch=epoch)
