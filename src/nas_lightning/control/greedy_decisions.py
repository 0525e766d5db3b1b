"""Greedy decisions (SGAS): edges get their operations one after the other during the search."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import lightning as L
from pydantic import Field
from torch import Tensor

from nas_lightning.core.choices import Choice
from nas_lightning.core.control import Control
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.space import SearchSpace
from nas_lightning.searches.one_shot import OneShotModel, one_shot_of
from nas_lightning.selectors.certainty import Criterion, edge_scores
from nas_lightning.selectors.perturbation import selectable_options, undecided_mean, worth_by_masking

log = logging.getLogger(__name__)

Epochs = Annotated[int, Field(ge=0)]


class GreedyDecisions(Control, L.Callback):
    """Decides the edge with the best score of each cell type at regular epochs; a complete node drops its other edges.

    A decided edge has its operation with weight one; its architecture parameters and their optimizer state stay as
    they are, to the bit. Both cell types decide in the same epochs.

    Source: Li et al., SGAS (CVPR 2020), released code: after epochs 9, 14, … 44 of 50, batches 8 larger each time. With
    `operation=perturbation` the edge is SGAS' choice and its operation DARTS-PT's (Wang et al., 2021, section 4.2; not
    in its released code). Left out: freezing by `requires_grad`, which has the same effect.

    Args:
        criterion: Criterion 1: importance × certainty; criterion 2: also × stability.
        first_epoch: Search epoch after which the first decision is made.
        interval: Search epochs between two decisions.
        batch_growth: Images added to the batch size at each decision.
        history: Past epochs that the stability is computed over.
        scale_over: Rows over which scores are scaled: `all`, as released, or the `undecided` ones.
        operation: Choice of the edge's operation: `magnitude`, or `perturbation`: the one without which the metric on
            all of `val`, with the batch's statistics, is worst.
    """

    decides = True
    key = "control.greedy_decisions"

    def __init__(
        self,
        criterion: Criterion = "importance_certainty",
        first_epoch: Epochs = 9,
        interval: Annotated[int, Field(ge=1)] = 5,
        batch_growth: Annotated[int, Field(ge=0)] = 8,
        history: Annotated[int, Field(ge=1)] = 4,
        scale_over: Literal["all", "undecided"] = "all",
        operation: Literal["magnitude", "perturbation"] = "magnitude",
    ) -> None:
        self.criterion: Criterion = criterion
        self.first_epoch = first_epoch
        self.interval = interval
        self.batch_growth = batch_growth
        self.history = history
        self.scale_over = scale_over
        self.operation = operation
        self.num_decided = 0
        self.batches = 0
        self.seen: dict[str, list[Tensor]] = {}

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse decisions that the search is too short for, and warn if some do not fit.

        Raises:
            ConfigError: No decision would ever be made, or the first before anything is learned.
        """
        epochs = module.settings.epochs
        due = len(range(self.first_epoch, epochs, self.interval))
        warmup = module.settings.arch.warmup_epochs
        if self.first_epoch < warmup:
            raise ConfigError(
                f"{self.key}.first_epoch={self.first_epoch}: the architecture is not trained before epoch {warmup};"
                f" use {self.key}.first_epoch={warmup} or search.arch.warmup_epochs=0"
            )
        if due == 0:
            raise ConfigError(
                f"{self.key}.first_epoch={self.first_epoch}: the search has epochs 0 to {epochs - 1}; use"
                f" {self.key}.first_epoch=0 or more search.epochs"
            )
        needed = max(map(_num_edges, module.decisions.choices.values()))
        if due < needed:
            log.warning("%s: %d of %d decisions fit into %d search epochs", self.key, due, needed, epochs)

    def val_batches(self, space: SearchSpace, number: int, epochs: int) -> int:
        """Return how many batches of `val`, of `number` in all, the decisions of so many epochs evaluate."""
        if self.operation == "magnitude":
            return 0
        decisions, masks = Decisions(space.choices), 0
        for name, choice in decisions.choices.items():
            due = min(len(range(self.first_epoch, epochs, self.interval)), _num_edges(choice))
            masks += due * max(len(selectable_options(decisions, name, r, none=False)) for r in range(choice.num_rows))
        return masks * number

    def at_fresh_stage(self) -> None:
        """Forget the distributions of earlier epochs; decisions stay, and with them the batch size that they allow."""
        self.seen = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Restore the batch size that earlier decisions have led to."""
        self._grow(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Decide if this epoch is due, and record the distributions of the epoch for the stability."""
        epoch, decisions = pl_module.search_epoch, pl_module.decisions
        model = OneShotModel(pl_module, trainer.datamodule, trainer)  # type: ignore[attr-defined]
        one_shot = one_shot_of(pl_module, model)
        weights = undecided_mean(one_shot)
        since = pl_module.progress.position - self.first_epoch  # a fresh stage counts its own epochs
        due = since >= 0 and since % self.interval == 0
        decided = False
        for name, choice in decisions.choices.items():
            undecided = decisions.undecided(name)
            rows = list(range(choice.num_rows)) if self.scale_over == "all" else undecided
            if not rows:
                continue
            history = self.seen.setdefault(name, [])
            scores, q = edge_scores(weights[name], choice, history, self.criterion, rows)
            candidates = [row for row in undecided if decisions.selectable(name)[row].any()]
            if due and candidates:
                row = max(candidates, key=scores.tolist().__getitem__)  # max keeps the first of equals
                self._decide(one_shot, name, row, q, float(scores[row]), epoch)
                decided = True
            self.seen[name] = [*history, q][-self.history :]
        self.batches += model.batches
        if decided:
            self.num_decided += 1
            pl_module.settle()
            self._grow(trainer, pl_module)

    def _decide(self, one_shot: OneShot, name: str, row: int, q: Tensor, score: float, epoch: int) -> None:
        decisions = one_shot.decisions
        assert decisions is not None
        choice = decisions.choices[name]
        options = selectable_options(decisions, name, row, none=False)
        if self.operation == "perturbation":
            worth = worth_by_masking(one_shot, name, [(row, option) for option in options])
            sign = -one_shot.goal.sign
        else:
            sign = 1
            worth = [float(q[row, option]) for option in options]
        best = options[max(range(len(options)), key=worth.__getitem__)]
        measured = ", ".join(f"{choice.options[row][o]} {sign * w:.6g}" for o, w in zip(options, worth, strict=True))
        decisions.decide(name, row, best, epoch=epoch, measured=measured)
        edge = f"{choice.sources[row]} → {choice.nodes[row]}"
        one_shot.print_line(f"decided: {name}, {edge} is {choice.options[row][best]} (score {score:.4f}; {measured})")
        decisions.complete(name, row, epoch=epoch)

    def _grow(self, trainer: L.Trainer, module: Any) -> None:
        """Set the batch size of the next epoch's loaders: fewer paths need less memory (SGAS, released code)."""
        trainer.datamodule.batch_size = module.settings.batch_size + self.batch_growth * self.num_decided  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of decisions, of evaluated batches, and the recorded distributions."""
        seen = {name: list(seen) for name, seen in self.seen.items()}
        return {"num_decided": self.num_decided, "batches": self.batches, "seen": seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.num_decided = state_dict["num_decided"]
        self.batches = state_dict["batches"]
        self.seen = {name: list(seen) for name, seen in state_dict["seen"].items()}


def _num_edges(choice: Choice) -> int:
    """Return the number of edges of a genotype's cell, each of which is decided once."""
    return sum(min(choice.kept_at(node) or len(rows), len(rows)) for node, rows in choice.rows_of_node.items())
