"""Compare the likeliest paths by their one-shot accuracy (SETN).

Source: Dong & Yang, SETN (ICCV 2019), and its released code for NAS-Bench-201, which lists all 15,625 architectures.
Here the k likeliest are found without enumerating the others, so that any space can be searched.
Shapes: R rows and O options of a choice.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import Annotated

import torch
from pydantic import Field

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import BatchNormMode, OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.selectors.paths import batches_of, score_path

Edges = tuple[tuple[int, int], ...]
"""Taken edges of a choice: (row, option) each."""


def best_sums(lists: Sequence[Sequence[float]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield sums of one number of each list, largest first, with the places of the numbers; of equals the first places.

    Lazy: each sum costs one heap operation per list, however many sums exist. Every tuple of places has exactly one
    predecessor, in which its last non-zero place is one less and whose sum is at least as large; so none is pushed
    twice and the heap always holds the next largest sum.

    Args:
        lists: Numbers, largest first in each; minus infinity is allowed.

    >>> [(round(total, 1), places) for total, places in best_sums([[0.0, -0.5], [0.0, -0.3, -0.4]])][:4]
    [(0.0, (0, 0)), (-0.3, (0, 1)), (-0.4, (0, 2)), (-0.5, (1, 0))]
    """
    if not all(lists):
        return
    heap = [(-_sum(numbers[0] for numbers in lists), (0,) * len(lists))]
    while heap:
        negative, places = heapq.heappop(heap)
        yield -negative, places
        last = max((i for i, place in enumerate(places) if place), default=0)
        for i in range(last, len(lists)):
            if places[i] + 1 < len(lists[i]):
                changed = (*places[:i], places[i] + 1, *places[i + 1 :])
                total = _sum(numbers[place] for numbers, place in zip(lists, changed, strict=True))
                heapq.heappush(heap, (-total, changed))


def _sum(numbers: Iterator[float]) -> float:
    """Return the exact sum, rounded once, so that it is monotone in every number despite rounding."""
    return math.fsum(numbers)


def likeliest_edges(
    choice: Choice, strengths: Sequence[Sequence[float]], limit: int
) -> list[list[tuple[float, Edges]]]:
    """Return the independent decisions of a choice, each as its alternatives, likeliest first.

    A node that keeps fewer edges than can enter it decides its edges and their options jointly; elsewhere every edge
    is decided separately.

    Args:
        choice: The choice.
        strengths: Probability of each option, R rows of O; options of probability 0 are excluded.
        limit: Largest number of alternatives of a decision.

    Returns:
        For each decision its alternatives (Σ log p, edges), at most `limit`.
    """
    allowed = choice.selectable.tolist()
    ranked: dict[int, list[tuple[float, int]]] = {}  # by row: (log p, option), likeliest first
    for row, probabilities in enumerate(strengths):
        options = [(math.log(p), o) for o, p in enumerate(probabilities) if p > 0 and allowed[row][o]]
        ranked[row] = sorted(options, key=lambda option: -option[0])  # stable: the first of equals stays first
    groups: list[list[tuple[float, Edges]]] = []
    for node, rows in choice.rows_of_node.items():
        eligible = [row for row in rows if ranked[row]]
        keep = min(choice.kept_at(node) or len(eligible), len(eligible))
        if keep == len(eligible):
            groups += [[(p, ((row, option),)) for p, option in ranked[row][:limit]] for row in eligible]
        else:
            subsets = [_alternatives(subset, ranked) for subset in combinations(eligible, keep)]
            merged = heapq.merge(*subsets, key=lambda alternative: -alternative[0])
            groups.append(list(islice(merged, limit)))
    return groups


def likeliest_subsets(
    choice: Choice, strengths: Sequence[Sequence[float]], limit: int
) -> list[list[tuple[float, Edges]]]:
    """Return the decisions of a choice of inputs or outputs, a row each, their alternatives likeliest first.

    Arguments and result: see `likeliest_edges`. The probability of taking several options is the product of theirs.
    """
    groups: list[list[tuple[float, Edges]]] = []
    for row, (probabilities, k) in enumerate(zip(strengths, choice.taken, strict=True)):
        offered = [o for o, p in enumerate(probabilities) if p > 0]
        subsets = [
            (_sum(math.log(probabilities[o]) for o in subset), tuple((row, o) for o in subset))
            for subset in combinations(offered, k)
        ]
        groups.append(sorted(subsets, key=lambda subset: -subset[0])[:limit])  # stable
    return groups


def _alternatives(rows: Sequence[int], ranked: dict[int, list[tuple[float, int]]]) -> Iterator[tuple[float, Edges]]:
    """Yield combinations of one option of each of these rows, likeliest first."""
    for total, places in best_sums([[p for p, _ in ranked[row]] for row in rows]):
        yield total, tuple((row, ranked[row][place][1]) for row, place in zip(rows, places, strict=True))


def likeliest_paths(space: SearchSpace, strengths: Mixing, count: int) -> list[Mixing]:
    """Return the likeliest architectures of a space, likeliest first.

    The probability of an architecture is the product of those of its operations, inputs and outputs; the selection of
    edges has no probability of its own.

    Args:
        space: The space.
        strengths: Probabilities of the options by choice, each [R, O]; 0 excludes an option.
        count: Number of architectures.

    Returns:
        Paths by choice, each [R, O] on the CPU: zeros and ones, but for weights of edges the strengths themselves.
        Fewer than `count` if the space has no more.

    Raises:
        GenotypeError: A strength is NaN.
    """
    groups: list[tuple[str, list[tuple[float, Edges]]]] = []
    for name, choice in space.choices.items():
        if torch.isnan(strengths[name]).any():
            raise GenotypeError(
                f"the strengths of '{name}' are not numbers: the search diverged; lower search.weights.lr or"
                " search.arch.lr, or set search.weights.clip"
            )
        if choice.kind != "edge":
            table = strengths[name].detach().double().cpu().tolist()
            decisions = likeliest_edges if choice.kind == "op" else likeliest_subsets
            groups += [(name, group) for group in decisions(choice, table, count)]
    paths: list[Mixing] = []
    for _, places in islice(best_sums([[p for p, _ in group] for _, group in groups]), count):
        path = {
            name: strengths[name].detach().cpu()
            if choice.kind == "edge"
            else torch.zeros(choice.num_rows, choice.num_options)
            for name, choice in space.choices.items()
        }
        for (name, group), place in zip(groups, places, strict=True):
            for row, option in group[place][1]:
                path[name][row, option] = 1.0
        paths.append(path)
    return paths


class Likeliest(Selector):
    """Selects the likely architecture with the best one-shot metric on `val`.

    Args:
        candidates: Number of architectures compared, the likeliest ones.
        batches: Batches of `val` to score each; null is all of `val`.
        fresh_batches: Score each on different batches, consecutive in the order of `val`, as released, instead of all
            on the first ones.
        batch_norm: Statistics of batch normalisation while scoring: `eval`, running, or `train`, of the batch (the
            code of the benchmark without tracked statistics).
        batch_size: Images per batch while scoring; null is `search.batch_size`. The benchmark's code has one batch of
            512.

    Raises:
        ConfigError: Fresh batches although each is scored on all of `val`.
    """

    def __init__(
        self,
        candidates: Annotated[int, Field(ge=1)] = 100,
        batches: Annotated[int, Field(ge=1)] | None = 8,
        fresh_batches: bool = True,
        batch_norm: BatchNormMode = "train",
        batch_size: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        if fresh_batches and batches is None:
            raise ConfigError(
                f"{self.key}.fresh_batches=true: with {self.key}.batches=null each candidate sees all of val;"
                f" use {self.key}.fresh_batches=false"
            )
        self.candidates = candidates
        self.batches = batches
        self.fresh_batches = fresh_batches
        self.batch_norm: BatchNormMode = batch_norm
        self.batch_size = batch_size

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype:
        """Return the genotype of the likeliest architecture.

        Raises:
            GenotypeError: A strength is NaN.
        """
        return space.genotype_of(likeliest_paths(space, strengths, 1)[0])

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Return the largest number of batches evaluated; `val` has `number`."""
        return self.candidates * min(self.batches or number, number)

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype of the best candidate; of equals the likelier one.

        Raises:
            GenotypeError: A strength is NaN.
        """
        paths = likeliest_paths(one_shot.space, one_shot.strengths(), self.candidates)
        scores = [
            score_path(
                one_shot,
                paths[index],
                None if self.batches is None else batches_of(index, self.batches, self.fresh_batches),
                self.batch_norm,
            )
            for index in one_shot.track(range(len(paths)), "likeliest architectures")
        ]
        return one_shot.space.genotype_of(paths[scores.index(max(scores))])
