"""Perturbation-based selection (DARTS-PT): what an operation is worth is what the supernet loses without it.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), Algorithm 1, and its released
code. One decision of each cell type is made every few epochs, in random order; in between the supernet is fine-tuned
with what is decided. First every edge gets its operation: each is masked in turn, the weights of the others staying as
they are, and the one whose absence hurts most is kept. Then every node gets its edges in the same way.

Where paper and released code differ: removed edges are compared with all edges in place (one-shot, as both print and do
it); `topology=greedy` removes them one after the other. Batch normalisation takes the statistics of the batch as in the
code, whose running statistics also move; here none move. The released search over S3 may choose `none`, and its parser
then takes another operation with weight zero: here `none` is a candidate only where a genotype may hold it
(NAS-Bench-201). `val` comes in one fixed order. The released code trains one epoch more after the last decision, of
which nothing is used; here the last decision ends the stage.
Shapes: R rows and O options of a choice.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core import draws
from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import BatchNormMode, OneShot
from nas_lightning.core.selector import Selector, Tuning, tuning_overrides
from nas_lightning.core.space import SearchSpace

Criterion = Literal["accuracy", "loss"]


class Perturbation(Selector):
    """Decides operations, then edges, by masking; the supernet trains on between the decisions.

    Args:
        strength: `perturbation`, or `magnitude`: the same tuning with decisions by the mean mixing weights (PT-Mag, the
            ablation of the paper).
        criterion: What is measured on `val`: the metric, or the loss.
        tune_epochs: Epochs of fine-tuning between two decisions.
        epochs: Epochs of fine-tuning in all, at most; None is what the decisions need. With fewer the last decisions
            come in the last epoch or after it: the released code for NAS-Bench-201 has its sixth after 24 epochs.
        lr: Constant learning rate of the weights; None is a tenth of the search's.
        train_arch: Whether the architecture parameters go on learning (not for `hypergradient=none`).
        batch_norm: Statistics while masking: `train` (of the batch, as released) or `eval` (running).
        topology: `one_shot` or `greedy`, as said above.
        none: Whether `none` is a candidate where a genotype may hold it.
        batches: Batches of `val` for each mask; None is all of it, as published.
        seed: Of the order of the edges; None is the run's.
    """

    def __init__(
        self,
        strength: Literal["perturbation", "magnitude"] = "perturbation",
        criterion: Criterion = "accuracy",
        tune_epochs: Annotated[int, Field(ge=0)] = 5,
        epochs: Annotated[int, Field(ge=0)] | None = None,
        lr: Annotated[float, Field(gt=0)] | None = None,
        train_arch: bool = True,
        batch_norm: BatchNormMode = "train",
        topology: Literal["one_shot", "greedy"] = "one_shot",
        none: bool = True,
        batches: Annotated[int, Field(ge=1)] | None = None,
        seed: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.strength = strength
        self.criterion: Criterion = criterion
        self.tune_epochs = tune_epochs
        self.epochs = epochs
        self.lr = lr
        self.train_arch = train_arch
        self.batch_norm: BatchNormMode = batch_norm
        self.topology = topology
        self.none = none
        self.batches = batches
        self.seed = seed

    def __call__(self, space: SearchSpace, strengths: Mixing) -> None:
        """None: the mixing weights do not tell."""
        return

    def tuning(self, space: SearchSpace, search: Any, decisions: Decisions | None = None) -> Tuning | None:
        """The stage: constant rate, new momentum, warm-ups and controls over; None where nothing is tuned.

        Args:
            space: What is searched.
            search: The section of the configuration.
            decisions: What is settled already; None for nothing.
        """
        left = _num_left(Decisions(space.choices) if decisions is None else decisions)
        needed = self.tune_epochs * max(0, left - 1)
        epochs = needed if self.epochs is None else min(self.epochs, needed)  # more would tune for nothing
        overrides = tuning_overrides(self.lr or search.weights.lr / 10, self.train_arch)
        return Tuning(epochs, overrides) if epochs else None

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Batches of `val`, of `number` in all, that its decisions measure where nothing is settled before."""
        if self.strength == "magnitude":
            return 0
        decisions, masks = Decisions(space.choices), 0
        for name, choice in decisions.choices.items():
            masks += sum(len(selectable_options(decisions, name, row, self.none)) for row in range(choice.num_rows))
            for node in _crowded(decisions, name):
                rows = len(decisions.present(name, node))
                least = rows if self.topology == "one_shot" else (choice.keep or rows) + 1
                masks += sum(range(least, rows + 1))
        return masks * min(self.batches or number, number)

    def decide(self, one_shot: OneShot, epoch: int) -> bool:
        """Make the decisions that are due before this epoch of the stage; says whether there was one.

        Args:
            one_shot: The supernet as it is.
            epoch: Of the stage, from 0.
        """
        assert one_shot.decisions is not None
        before = len(one_shot.decisions.history)
        due = epoch // self.tune_epochs + 1 if self.tune_epochs else _num_left(one_shot.decisions)
        while _num_left(one_shot.decisions) and _next_round(one_shot.decisions) < due:
            self._decide_once(one_shot, epoch)
        return len(one_shot.decisions.history) > before

    def select(self, one_shot: OneShot) -> Genotype:
        """What is left to decide, then the genotype."""
        assert one_shot.decisions is not None
        for strengths in one_shot.strengths().values():
            if strengths.isnan().any():
                raise GenotypeError(
                    "the strengths are not numbers: the search diverged; lower search.weights.lr or search.arch.lr, or"
                    " set search.weights.clip"
                )
        while _num_left(one_shot.decisions):
            self._decide_once(one_shot)
        return one_shot.space.genotype(one_shot.strengths())

    # One decision ---------------------------------------------------------------------------------------------

    def _decide_once(self, one_shot: OneShot, epoch: int | None = None) -> None:
        """One operation of every choice, or, once they are all decided, the edges of one node of every choice."""
        decisions = one_shot.decisions
        assert decisions is not None
        operations = any(map(decisions.undecided, decisions.choices))
        told = {"epoch": epoch, "round": _next_round(decisions)}
        for name in decisions.choices:
            # Draws depend on what is decided already, so that a resumed epoch repeats them.
            seed = one_shot.seed if self.seed is None else self.seed
            rng = draws.seeded_generator(seed, "order of decisions", name, len(decisions.history))
            open_ = decisions.undecided(name) if operations else _crowded(decisions, name)
            if not open_:
                continue
            chosen = open_[int(torch.randint(len(open_), (), generator=rng))]
            if operations:
                self._decide_operation(one_shot, name, chosen, told)
            else:
                self._decide_edges(one_shot, name, chosen, told)

    def _decide_operation(self, one_shot: OneShot, name: str, row: int, told: dict[str, Any]) -> None:
        decisions = one_shot.decisions
        assert decisions is not None
        options = decisions.choices[name].options[row]
        candidates = selectable_options(decisions, name, row, self.none)
        if not candidates:  # an edge that offers nothing but `none`, where no genotype may hold that
            decisions.prune(name, row, **told, measured="")
            return
        scores = self._worth(one_shot, name, [(row, option) for option in candidates])
        best = max(range(len(candidates)), key=scores.__getitem__)  # max keeps the first of equals
        measured = self._told([options[o] for o in candidates], scores)
        decisions.decide(name, row, candidates[best], **told, measured=measured)
        where = f"{name}, {decisions.choices[name].sources[row]} → {decisions.choices[name].nodes[row]}"
        one_shot.print_line(f"selection: {where} is {options[candidates[best]]} ({self._measured}: {measured})")

    def _decide_edges(self, one_shot: OneShot, name: str, node: int, told: dict[str, Any]) -> None:
        decisions = one_shot.decisions
        assert decisions is not None
        choice = decisions.choices[name]
        while len(rows := decisions.present(name, node)) > (choice.keep or len(rows)):
            scores = self._worth(one_shot, name, [(row, None) for row in rows])
            ranked = sorted(range(len(rows)), key=lambda i: -scores[i])  # stable: the lower source wins among equals
            dropped = ranked[choice.keep :] if self.topology == "one_shot" else ranked[-1:]
            measured = self._told([str(choice.sources[row]) for row in rows], scores)
            for index in sorted(dropped):
                decisions.prune(name, rows[index], **told, measured=measured)
            kept = ", ".join(str(choice.sources[row]) for row in decisions.present(name, node))
            one_shot.print_line(
                f"selection: {name}, node {node} keeps its edges from {kept} ({self._measured}: {measured})"
            )

    @property
    def _measured(self) -> str:
        return "weight" if self.strength == "magnitude" else f"{self.criterion} without"

    def _told(self, names: list[str], scores: list[float]) -> str:
        """What was measured, as it was measured."""
        sign = -1 if self.strength == "perturbation" and self.criterion == "accuracy" else 1
        return ", ".join(f"{name} {sign * score:.6g}" for name, score in zip(names, scores, strict=True))

    def _worth(self, one_shot: OneShot, name: str, masks: list[tuple[int, int | None]]) -> list[float]:
        """What each option (or each edge, for None) is worth; larger is more."""
        if self.strength == "magnitude":
            assert one_shot.decisions is not None
            mean, kept = undecided_mean(one_shot), one_shot.decisions.kept[name]
            weights = mean[name].detach().cpu()
            # Of an edge what the magnitude genotype takes: the weight of its operation times that of the edge.
            edges = edge_strengths(one_shot.decisions.choices[name], mean.get(edge_key(name)))
            return [
                float(weights[row][kept[row]].max() * edges[row] if option is None else weights[row, option])
                for row, option in masks
            ]
        return worth_by_masking(one_shot, name, masks, self.criterion, self.batch_norm, self.batches)


def worth_by_masking(
    one_shot: OneShot,
    name: str,
    masks: list[tuple[int, int | None]],
    criterion: Criterion = "accuracy",
    batch_norm: BatchNormMode = "train",
    batches: int | None = None,
) -> list[float]:
    """What the one-shot model loses without an option (row, option), or without a whole edge (row, None).

    The other weights stay as they are: nothing is renormalised. What is masked is not computed; with partial channels
    an edge without any operation loses its bypass, too.

    Returns:
        −(metric without it), or its loss without it: larger is more important.
    """
    decisions = one_shot.decisions
    assert decisions is not None
    mean = one_shot.mean()
    scores: list[float] = []
    for row, option in masks:
        weights = mean[name].clone()
        active = {choice: kept.clone() for choice, kept in decisions.kept.items()}
        where = slice(None) if option is None else option
        weights[row, where] = 0
        active[name][row, where] = False
        candidate = {**mean, name: weights}
        if criterion == "accuracy":
            scores.append(-one_shot.accuracy(candidate, active, batches, batch_norm))
        else:
            assert one_shot.loss is not None
            scores.append(one_shot.loss(candidate, active, batches, batch_norm))
    return scores


def selectable_options(decisions: Decisions, name: str, row: int, none: bool = True) -> list[int]:
    """Open options of a row that a genotype may hold; `none=False` leaves that operation out where another is left."""
    options = decisions.choices[name].options[row]
    allowed = [o for o, yes in enumerate(decisions.selectable(name)[row].tolist()) if yes]
    others = [o for o in allowed if options[o] != "none"]
    return allowed if none else others or allowed


def undecided_mean(one_shot: OneShot) -> Mixing:
    """The mean mixing weights as if nothing had been decided among the options that are offered, each [R, O]."""
    decisions, relaxation = one_shot.decisions, one_shot.relaxation
    if decisions is None:
        return relaxation.mean(one_shot.arch)
    relaxation.restrict(decisions.offered)
    try:
        return relaxation.mean(one_shot.arch)
    finally:
        relaxation.restrict(decisions.restriction)


def edge_strengths(choice: Choice, weights: Tensor | None) -> list[float]:
    """The weight of each edge among those into its node, R numbers; ones where edges have none.

    Args:
        choice: The choice of the operations.
        weights: The mixing weights of its edges, a row a node.
    """
    strengths = [1.0] * choice.num_rows
    if weights is not None:
        for rows, row_of_node in zip(choice.rows_of_node.values(), weights.tolist(), strict=True):
            for place, row in enumerate(rows):
                strengths[row] = row_of_node[place]
    return strengths


def _crowded(decisions: Decisions, name: str) -> list[int]:
    """Nodes of a choice that have more edges than a genotype keeps."""
    choice = decisions.choices[name]
    if choice.keep is None:
        return []
    return [node for node in choice.rows_of_node if len(decisions.present(name, node)) > choice.keep]


def _next_round(decisions: Decisions) -> int:
    """Number of the next decision of this stage: what was decided during the search before it has none."""
    return 1 + max((row["round"] for row in decisions.history if "round" in row), default=-1)


def _num_left(decisions: Decisions) -> int:
    """Decisions that are left: an operation of every choice each time, then a node of every choice."""
    names = decisions.choices
    operations = max(len(decisions.undecided(name)) for name in names)
    return operations + max(len(_crowded(decisions, name)) for name in names)
