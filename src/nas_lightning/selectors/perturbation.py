"""Perturbation-based selection (DARTS-PT): rank operations by the accuracy that the supernet loses without each.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), Algorithm 1, and its released
code. One decision of each cell type is made every few epochs, in random order; in between the supernet is fine-tuned
with the decisions made so far. First every edge is decided: each operation is masked in turn, with the weights of the
others unchanged, and the one whose absence costs most is kept. Then the edges of every node are decided alike.

Where paper and released code differ: edges are compared with all other edges in place (one-shot, in paper and code);
`topology=greedy` removes them one after the other. Batch normalisation uses the statistics of the batch as released
and, unlike there, leaves the running statistics unchanged. The released search over S3 may choose `none`, which its
parser replaces by another operation of weight zero: here `none` is a candidate only where a genotype may hold it
(NAS-Bench-201). `val` has one fixed order, unless `reshuffle` is set: the released code shuffles and augments it
anew for each mask. The released code trains one more epoch after the last decision, without
effect; here the last decision ends the stage.
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
    """Decides operations, then edges, by masking; fine-tunes the supernet between the decisions.

    Inputs and outputs (NAS-Bench-1Shot1) are taken by their strengths at the end.

    Args:
        strength: `perturbation`, or `magnitude`: the same tuning with decisions by the mean mixing weights (PT-Mag, the
            ablation of the paper).
        criterion: Quantity measured on `val`: the metric, or the loss.
        tune_epochs: Epochs of fine-tuning between two decisions.
        epochs: Fine-tuning epochs in total, at most; None is what the decisions need. With fewer, the last decisions
            are made in the last epoch or after it: the released code for NAS-Bench-201 makes its sixth after 24.
        lr: Constant learning rate of the weights; None is a tenth of the search's.
        train_arch: Keep training the architecture parameters (not for `hypergradient=none`).
        batch_norm: Statistics while masking: `train` (of the batch, as released) or `eval` (running).
        topology: `one_shot` or `greedy`, as above.
        none: Make `none` a candidate where a genotype may hold it.
        batches: Batches of `val` for each mask; None is all of it, as published.
        reshuffle: Shuffle and augment `val` anew for each mask, as released, instead of measuring all on the same
            batches.
        seed: Seed of the order of the edges; None is that of the run.
    """

    by_strength = ("input", "output")

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
        reshuffle: bool = False,
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
        self.reshuffle = reshuffle

    def __call__(self, space: SearchSpace, strengths: Mixing) -> None:
        """Return None: the strengths determine no genotype."""
        return

    def tuning(self, space: SearchSpace, search: Any, decisions: Decisions | None = None) -> Tuning | None:
        """Return the fine-tuning stage: constant rate, fresh momentum, no warm-ups or controls; None for no epochs.

        Args:
            space: The search space.
            search: The section `search` of the configuration.
            decisions: Decisions made already; None for none.
        """
        left = _num_left(Decisions(space.choices) if decisions is None else decisions)
        needed = self.tune_epochs * max(0, left - 1)
        epochs = needed if self.epochs is None else min(self.epochs, needed)  # more has no effect
        overrides = tuning_overrides(self.lr or search.weights.lr / 10, self.train_arch)
        return Tuning(epochs, overrides) if epochs else None

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Return the number of batches evaluated for all decisions, of `number` in `val`, if none is made before."""
        if self.strength == "magnitude":
            return 0
        decisions, masks = Decisions(space.choices), 0
        for name, choice in decisions.choices.items():
            masks += sum(len(selectable_options(decisions, name, row, self.none)) for row in range(choice.num_rows))
            for node in _crowded(decisions, name):
                rows = len(decisions.present(name, node))
                least = rows if self.topology == "one_shot" else (choice.kept_at(node) or rows) + 1
                masks += sum(range(least, rows + 1))
        return masks * min(self.batches or number, number)

    def decide(self, one_shot: OneShot, epoch: int) -> bool:
        """Make the decisions that are due before an epoch of the stage; return True if there was one.

        Args:
            one_shot: The supernet in its present state.
            epoch: Epoch of the stage, from 0.
        """
        assert one_shot.decisions is not None
        before = len(one_shot.decisions.history)
        due = epoch // self.tune_epochs + 1 if self.tune_epochs else _num_left(one_shot.decisions)
        while _num_left(one_shot.decisions) and _next_round(one_shot.decisions) < due:
            self._decide_once(one_shot, epoch)
        return len(one_shot.decisions.history) > before

    def select(self, one_shot: OneShot) -> Genotype:
        """Make the remaining decisions and return the genotype.

        Raises:
            GenotypeError: A strength is NaN.
        """
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
        """Decide one operation of every choice or, once all are decided, the edges of one node of every choice."""
        decisions = one_shot.decisions
        assert decisions is not None
        operations = any(map(decisions.undecided, decisions.choices))
        context = {"epoch": epoch, "round": _next_round(decisions)}
        for name in decisions.choices:
            # Draws are keyed by the number of decisions, so that a resumed epoch repeats them.
            seed = one_shot.seed if self.seed is None else self.seed
            rng = draws.seeded_generator(seed, "order of decisions", name, len(decisions.history))
            open_ = decisions.undecided(name) if operations else _crowded(decisions, name)
            if not open_:
                continue
            chosen = open_[int(torch.randint(len(open_), (), generator=rng))]
            if operations:
                self._decide_operation(one_shot, name, chosen, context)
            else:
                self._decide_edges(one_shot, name, chosen, context)

    def _decide_operation(self, one_shot: OneShot, name: str, row: int, context: dict[str, Any]) -> None:
        decisions = one_shot.decisions
        assert decisions is not None
        options = decisions.choices[name].options[row]
        candidates = selectable_options(decisions, name, row, self.none)
        if not candidates:  # the edge offers only `none`, which no genotype may hold
            decisions.prune(name, row, **context, measured="")
            return
        scores = self._importance(one_shot, name, [(row, option) for option in candidates])
        best = max(range(len(candidates)), key=scores.__getitem__)  # max keeps the first of equals
        measured = self._measurements(one_shot, [options[o] for o in candidates], scores)
        decisions.decide(name, row, candidates[best], **context, measured=measured)
        where = f"{name}, {decisions.choices[name].sources[row]} → {decisions.choices[name].nodes[row]}"
        one_shot.print_line(
            f"selection: {where} is {options[candidates[best]]} ({self._quantity(one_shot)}: {measured})"
        )

    def _decide_edges(self, one_shot: OneShot, name: str, node: int, context: dict[str, Any]) -> None:
        decisions = one_shot.decisions
        assert decisions is not None
        choice = decisions.choices[name]
        keep = choice.kept_at(node)
        while len(rows := decisions.present(name, node)) > (keep or len(rows)):
            scores = self._importance(one_shot, name, [(row, None) for row in rows])
            ranked = sorted(range(len(rows)), key=lambda i: -scores[i])  # stable: the lower source wins among equals
            dropped = ranked[keep:] if self.topology == "one_shot" else ranked[-1:]
            measured = self._measurements(one_shot, [str(choice.sources[row]) for row in rows], scores)
            for index in sorted(dropped):
                decisions.prune(name, rows[index], **context, measured=measured)
            kept = ", ".join(str(choice.sources[row]) for row in decisions.present(name, node))
            one_shot.print_line(
                f"selection: {name}, node {node} keeps its edges from {kept} ({self._quantity(one_shot)}: {measured})"
            )

    def _quantity(self, one_shot: OneShot) -> str:
        if self.strength == "magnitude":
            return "weight"
        metric = one_shot.goal.metric.replace("_", " ")
        return f"{metric if self.criterion == 'accuracy' else self.criterion} without"

    def _measurements(self, one_shot: OneShot, names: list[str], scores: list[float]) -> str:
        """Return the measured values by name, in their original sign."""
        masked = self.strength == "perturbation" and self.criterion == "accuracy"
        sign = -one_shot.goal.sign if masked else 1
        return ", ".join(f"{name} {sign * score:.6g}" for name, score in zip(names, scores, strict=True))

    def _importance(self, one_shot: OneShot, name: str, masks: list[tuple[int, int | None]]) -> list[float]:
        """Return the importance of each option (row, option) or edge (row, None); larger is more important."""
        if self.strength == "magnitude":
            assert one_shot.decisions is not None
            mean, kept = undecided_mean(one_shot), one_shot.decisions.kept[name]
            weights = mean[name].detach().cpu()
            # As in a magnitude genotype: the strength of an edge is its weight times that of its best operation.
            edges = edge_strengths(one_shot.decisions.choices[name], mean.get(edge_key(name)))
            return [
                float(weights[row][kept[row]].max() * edges[row] if option is None else weights[row, option])
                for row, option in masks
            ]
        return worth_by_masking(one_shot, name, masks, self.criterion, self.batch_norm, self.batches, self.reshuffle)


def worth_by_masking(
    one_shot: OneShot,
    name: str,
    masks: list[tuple[int, int | None]],
    criterion: Criterion = "accuracy",
    batch_norm: BatchNormMode = "train",
    batches: int | None = None,
    reshuffle: bool = False,
) -> list[float]:
    """Return the importance of options (row, option) or whole edges (row, None): the cost of masking each.

    The other weights do not change: nothing is renormalised. Masked options are not computed; with partial channels an
    edge without any operation loses its bypass, too.

    Returns:
        The loss without each, or the metric with the sign that makes smaller better: larger is more important.
    """
    decisions = one_shot.decisions
    assert decisions is not None
    mean = one_shot.mean()
    scores: list[float] = []
    for number, (row, option) in enumerate(masks):
        # A decision follows every set of masks, so the two numbers name a mask once in a search; a resume repeats them.
        order = f"{len(decisions.history)}.{number}" if reshuffle else None
        weights = mean[name].clone()
        active = {choice: kept.clone() for choice, kept in decisions.kept.items()}
        where = slice(None) if option is None else option
        weights[row, where] = 0
        active[name][row, where] = False
        candidate = {**mean, name: weights}
        if criterion == "accuracy":
            scores.append(-one_shot.accuracy(candidate, active, batches, batch_norm, order))
        else:
            assert one_shot.loss is not None
            scores.append(one_shot.loss(candidate, active, batches, batch_norm, order))
    return scores


def selectable_options(decisions: Decisions, name: str, row: int, none: bool = True) -> list[int]:
    """Return open options of a row that a genotype may hold; `none=False` omits `none` where another is open."""
    options = decisions.choices[name].options[row]
    allowed = [o for o, yes in enumerate(decisions.selectable(name)[row].tolist()) if yes]
    others = [o for o in allowed if options[o] != "none"]
    return allowed if none else others or allowed


def undecided_mean(one_shot: OneShot) -> Mixing:
    """Return the mean mixing weights over all offered options, as if nothing were decided, each [R, O]."""
    decisions, relaxation = one_shot.decisions, one_shot.relaxation
    if decisions is None:
        return relaxation.mean(one_shot.arch)
    relaxation.restrict(decisions.offered)
    try:
        return relaxation.mean(one_shot.arch)
    finally:
        relaxation.restrict(decisions.restriction)


def edge_strengths(choice: Choice, weights: Tensor | None) -> list[float]:
    """Return the weight of each edge among those into its node, R numbers; ones without edge weights.

    Args:
        choice: The choice of the operations.
        weights: The mixing weights of its edges, one row for each node; None without edge weights.
    """
    strengths = [1.0] * choice.num_rows
    if weights is not None:
        for rows, row_of_node in zip(choice.rows_of_node.values(), weights.tolist(), strict=True):
            for place, row in enumerate(rows):
                strengths[row] = row_of_node[place]
    return strengths


def _crowded(decisions: Decisions, name: str) -> list[int]:
    """Return the nodes of a choice with more edges than a genotype keeps."""
    choice = decisions.choices[name]
    present = {node: len(decisions.present(name, node)) for node in choice.rows_of_node}
    return [node for node, rows in present.items() if rows > (choice.kept_at(node) or rows)]


def _next_round(decisions: Decisions) -> int:
    """Return the index of the next decision of the stage; decisions made during the search have no round."""
    return 1 + max((row["round"] for row in decisions.history if "round" in row), default=-1)


def _num_left(decisions: Decisions) -> int:
    """Return the number of decisions left, each an operation, later a node, of every choice."""
    names = decisions.choices
    operations = max(len(decisions.undecided(name)) for name in names)
    return operations + max(len(_crowded(decisions, name)) for name in names)
