"""Decisions that a search has made before its end: dropped options, decided rows, pruned edges.

Decisions stand between the relaxation and the supernet. Progressive shrinking (DrNAS) drops options; greedy search
(SGAS) and perturbation-based selection (DARTS-PT) decide one row after the other and prune the edges that a node does
not keep. All of them write it here; relaxations, perturbations and supernets only read it.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nas_lightning.core.choices import Active, Choice, Mixing, operation_key
from nas_lightning.core.placed import placed


class Decisions:
    """The options that are still open, by choice of kind `op`; other choices are never decided.

    Where edges have weights, the weights of pruned edges are redistributed to the remaining edges.

    Args:
        choices: The choices of the space.

    Attributes:
        kept: Boolean [R, O]: options that are still open. A decided row has one, a pruned row none.
        offered: Boolean [R, O]: options that shrinking has kept, whatever is decided among them.
        decided: Boolean [R]: settled rows, pruned ones included.
        history: Decisions in order, as plain dictionaries: the rows of decisions.csv.
    """

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self.choices = {name: choice for name, choice in choices.items() if choice.kind == "op"}
        self.edges = {name: c for name, c in choices.items() if c.kind == "edge" and operation_key(name) in choices}
        self.kept = {name: choice.mask.clone() for name, choice in self.choices.items()}
        self.offered = {name: choice.mask.clone() for name, choice in self.choices.items()}
        self.decided = {name: torch.zeros(choice.num_rows, dtype=torch.bool) for name, choice in self.choices.items()}
        self.history: list[dict[str, Any]] = []

    # Deciding -------------------------------------------------------------------------------------------------

    def decide(self, name: str, row: int, option: int, **details: Any) -> None:
        """Settle a row on one option; `details` become columns of its row in `history`."""
        assert self.kept[name][row, option]
        self.kept[name][row] = False
        self.kept[name][row, option] = True
        self.decided[name][row] = True
        self._note("operation", name, row, self.choices[name].options[row][option], details)

    def prune(self, name: str, row: int, **details: Any) -> None:
        """Remove an edge; `details` become columns of its row in `history`."""
        self.kept[name][row] = False
        self.decided[name][row] = True
        self._note("pruned", name, row, "", details)

    def complete(self, name: str, row: int, epoch: int) -> None:
        """Remove the other open edges of a node once a genotype can keep no more than it has decided.

        Args:
            name: Name of the choice.
            row: A row of the node that has just been decided.
            epoch: The search epoch, for the columns of `history`.
        """
        choice = self.choices[name]
        node = choice.nodes[row]
        rows = choice.rows_of_node[node]
        settled = [r for r in rows if self.decided[name][r] and self.kept[name][r].any()]
        if len(settled) == choice.kept_at(node):
            for other in rows:
                if not self.decided[name][other]:
                    self.prune(name, other, epoch=epoch, measured="")

    def shrink(self, name: str, keep: Tensor) -> None:
        """Drop the options outside `keep`, boolean [R, O], from undecided rows."""
        settled = self.decided[name][:, None]
        narrowed = self.kept[name] & keep
        assert (narrowed.any(dim=1, keepdim=True) | settled).all()
        self.kept[name] = torch.where(settled, self.kept[name], narrowed)
        self.offered[name] = torch.where(settled, self.offered[name], self.offered[name] & keep)

    def _note(self, kind: str, name: str, row: int, option: str, details: dict[str, Any]) -> None:
        choice = self.choices[name]
        edge = {"choice": name, "row": row, "source": choice.sources[row], "node": choice.nodes[row]}
        self.history.append({"kind": kind, **edge, "option": option, **details})

    # Reading --------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """True while nothing is decided: the search is then bitwise the one without decisions."""
        return all(torch.equal(self.kept[name], choice.mask) for name, choice in self.choices.items())

    @property
    def settled(self) -> bool:
        """True where every row is decided."""
        return all(bool(rows.all()) for rows in self.decided.values())

    def undecided(self, name: str) -> list[int]:
        """Return the rows of a choice that are not settled, in index order."""
        return [row for row, settled in enumerate(self.decided[name].tolist()) if not settled]

    def present(self, name: str, node: int) -> list[int]:
        """Return the rows that enter a node and are not pruned, in index order."""
        rows = self.choices[name].rows_of_node[node]
        return [row for row in rows if self.kept[name][row].any()]

    def selectable(self, name: str) -> Tensor:
        """Return a boolean [R, O]: options that are open and that a genotype may hold."""
        return self.kept[name] & self.choices[name].selectable

    @property
    def held(self) -> dict[str, Tensor]:
        """Boolean [R, O]: architecture parameters that no step may move, those of decided rows and dropped options."""
        return {name: self.decided[name][:, None] | ~self.offered[name] for name in self.choices}

    @property
    def restriction(self) -> dict[str, Tensor]:
        """Boolean [R, O] by choice: open options and present edges, the only ones that a relaxation may give weight."""
        restriction = dict(self.kept)
        for name, choice in self.edges.items():
            rows_of_node = self.choices[operation_key(name)].rows_of_node
            present = choice.mask.clone()
            for row, node in enumerate(choice.nodes):
                for place, edge in enumerate(rows_of_node[node]):
                    present[row, place] = self.kept[operation_key(name)][edge].any()
            restriction[name] = present
        return restriction

    def fixed(self, mixing: Mixing) -> Mixing:
        """Return the mixing weights with decisions applied: 0 for a dropped option, 1 for the option of a decided row.

        No gradient reaches a decided row. Open rows are not renormalised here: the relaxation does that.
        """
        if self.open:
            return mixing
        fixed = dict(mixing)
        for name, kept in self.kept.items():
            weights = mixing[name]
            kept = placed(kept, weights.device)
            settled = placed(self.decided[name], weights.device)[:, None]
            fixed[name] = torch.where(settled, kept.to(weights.dtype), weights * kept)
        return fixed

    def active(self, active: Active | None = None) -> Active | None:
        """Return the options to compute, boolean [R, O]: those of `active` (None: all) that are open; None for all."""
        if self.open:
            return active
        if active is None:
            return {name: kept.clone() for name, kept in self.kept.items()}
        return active | {name: active[name] & placed(kept, active[name].device) for name, kept in self.kept.items()}

    def narrowed(self, choices: Mapping[str, Choice]) -> Mapping[str, Choice]:
        """Return the choices with masks of the open options only; a pruned row keeps its first option."""
        if self.open:
            return choices
        narrowed = dict(choices)
        for name, kept in self.kept.items():
            mask = kept.clone()
            mask[~kept.any(dim=1), 0] = True
            narrowed[name] = self.choices[name].restricted(mask)
        return narrowed

    # State ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return plain tensors, dictionaries and numbers."""
        return {
            "kept": {name: kept.clone() for name, kept in self.kept.items()},
            "offered": {name: offered.clone() for name, offered in self.offered.items()},
            "decided": {name: rows.clone() for name, rows in self.decided.items()},
            "history": [dict(row) for row in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.kept = {name: kept.clone() for name, kept in state["kept"].items()}
        self.offered = {name: offered.clone() for name, offered in state["offered"].items()}
        self.decided = {name: rows.clone() for name, rows in state["decided"].items()}
        self.history = [dict(row) for row in state["history"]]


@contextmanager
def held_entries(optimizer: torch.optim.Optimizer, entries: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Hold entries, and their optimizer state, bitwise while the optimizer steps within the block.

    Args:
        optimizer: Its state by parameter may hold tensors of the parameter's shape (moments) among others.
        entries: Boolean [R, O] by parameter [R, O], or [R] for whole rows: True where held.
    """
    held = [(tensor, _of_entries(mask, tensor)) for tensor, mask in entries.items() if mask.any()]
    values = [tensor.detach().clone() for tensor, _ in held]
    moments = [{key: moment.clone() for key, moment in _moments(optimizer, tensor).items()} for tensor, _ in held]
    yield
    # Restored rather than masked out of the gradient: Adam moves an entry without a gradient too, by its momentum and
    # weight decay. All entries are kept and the held ones restored: a GPU would wait to know how many these are.
    with torch.no_grad():
        for (tensor, mask), value, before in zip(held, values, moments, strict=True):
            tensor.copy_(torch.where(mask, value, tensor))
            for key, moment in _moments(optimizer, tensor).items():
                moment.copy_(torch.where(mask, before.get(key, torch.zeros_like(moment)), moment))


def _of_entries(mask: Tensor, tensor: Tensor) -> Tensor:
    """Place a mask [R, O], or [R] for whole rows, where the tensor [R, O] is, in a shape that fits all its entries."""
    return placed(mask, tensor.device).view(*mask.shape, *(1,) * (tensor.dim() - mask.dim()))


def _moments(optimizer: torch.optim.Optimizer, tensor: Tensor) -> dict[str, Tensor]:
    """Return the optimizer state of a parameter that has one number for each of its entries."""
    state = optimizer.state.get(tensor, {})
    return {key: value for key, value in state.items() if isinstance(value, Tensor) and value.shape == tensor.shape}
