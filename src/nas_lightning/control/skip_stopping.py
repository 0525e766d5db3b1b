"""Early stopping at a number of skip connections, or once the ranking of operations is stable (DARTS+)."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import lightning as L
from pydantic import Field

from nas_lightning.core.choices import Choice
from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype, layers_of
from nas_lightning.searches.progress import Rollback
from nas_lightning.spaces.weighted_operations import weighted_operations

log = logging.getLogger(__name__)

SKIP = "skip_connect"


class SkipStopping(Control, L.Callback):
    """Ends the search when the cell that would now be derived has too many skip connections, one epoch before that.

    An epoch whose cell has fewer than `limit` is one to return to. The search ends at the first epoch after such a one
    whose cell has `limit` or more, and returns the end of the epoch before. A cell that has too many from the start, by
    the random initial parameters, stops nothing; nor do epochs in which the architecture is not trained.

    With `patience`, the search also ends, where it is, after so many epochs in which no row of the cell has changed the
    order of its parametric options: those with weights, without skip connections.

    Source: Liang et al., DARTS+ (2019), whose searches take one of the two criteria. No code was released; which tables
    the ranking is about is not said, here it is that of the same cell.

    Args:
        limit: Skip connections that end the search.
        cell: Kind of cell that is looked at; None is the first of the space: `normal`, or `cell`.
        patience: Epochs of a stable ranking that end the search, too; None is none.
        start_epoch: First search epoch that is looked at.
    """

    goes_back = True
    key = "control.skip_stopping"

    def __init__(
        self,
        limit: Annotated[int, Field(ge=1)] = 2,
        cell: str | None = None,
        patience: Annotated[int, Field(ge=1)] | None = None,
        start_epoch: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.limit = limit
        self.cell = cell
        self.patience = patience
        self.start_epoch = start_epoch
        self.last: int | None = None
        self.ranking: list[list[int]] | None = None
        self.since = 0

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a search that can never be stopped.

        Raises:
            ConfigError: There is no genotype after an epoch, no such cell, or it cannot have so many skip connections.
        """
        if module.genotype() is None:
            raise ConfigError(
                f"{self.key}: selector {type(module.selector).__name__} derives no genotype after an epoch; use"
                " selector=magnitude"
            )
        names = [name for name, choice in module.space.choices.items() if choice.kind == "op"]
        if self.cell is not None and self.cell not in names:
            raise ConfigError(f"{self.key}.cell={self.cell}: no kind of cell; allowed: {', '.join(names)}, null")
        largest = _most_skips(module.space.choices[self._name(module)])
        if self.patience is not None and not weighted_operations(module.supernet):
            raise ConfigError(
                f"{self.key}.patience={self.patience}: no operation of space={module.space.name} has weights, so there"
                f" is no ranking; use ~{self.key}"
            )
        if largest < self.limit and self.patience is None:
            other = f"{self.key}.patience=10 or " if weighted_operations(module.supernet) else ""
            raise ConfigError(
                f"{self.key}.limit={self.limit}: cells of space={module.space.name} have at most {largest} skip"
                f" connections; use {other}~{self.key}"
            )

    def _name(self, module: Any) -> str:
        name: str = self.cell or next(name for name, choice in module.space.choices.items() if choice.kind == "op")
        return name

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Keep the state of the epoch before."""
        return 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """End the search by a rollback, or where it is, if a criterion is met."""
        epoch = pl_module.search_epoch
        if epoch < self.start_epoch or not pl_module.learns_arch:
            return
        genotype = pl_module.genotype()
        if genotype is None:  # of a selector that found none in this epoch
            return
        skips = skips_of(genotype, self._name(pl_module))
        if skips < self.limit:
            self.last = epoch
        elif self.last is not None:
            log.info("epoch %d: %d skip connections; the search ends with epoch %d", epoch, skips, self.last)
            pl_module.rollback = Rollback(self.last, end=True)
            return
        if self.patience is not None and self._is_stable(pl_module, epoch, self.patience):
            log.info("epoch %d: the ranking is that of %d epochs ago; the search ends", epoch, epoch - self.since)
            pl_module.progress.stopped = True

    def _is_stable(self, module: Any, epoch: int, patience: int) -> bool:
        ranking = ranking_of(module, self._name(module))
        if ranking != self.ranking:
            self.ranking, self.since = ranking, epoch
        return epoch - self.since >= patience

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume or a rollback restores."""
        return {"last": self.last, "ranking": self.ranking, "since": self.since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.last, self.ranking, self.since = (state_dict[name] for name in ("last", "ranking", "since"))


def skips_of(genotype: Genotype, cell: str) -> int:
    """Count the skip connections of a cell, or of a chain of layers."""
    operations = [operation for _, operation, _ in genotype.cells.get(cell, ())]
    return [*operations, *(layers_of(genotype.choices) or ())].count(SKIP)


def ranking_of(module: Any, name: str) -> list[list[int]]:
    """Return the parametric options of each row of a choice, the strongest first, the lower one of equals."""
    strengths = module.decisions.fixed(module.relaxation.strengths(module.arch))[name].tolist()
    places = {(place.row, place.option) for place in weighted_operations(module.supernet) if place.choice == name}
    return [
        sorted((option for option in range(len(row)) if (index, option) in places), key=lambda option: -row[option])
        for index, row in enumerate(strengths)
    ]


def _most_skips(choice: Choice) -> int:
    """Return how many skip connections a cell can have."""
    found = 0
    for node, rows in choice.rows_of_node.items():
        offered = sum(SKIP in choice.options[row] for row in rows)
        found += min(choice.kept_at(node) or offered, offered)
    return found
