"""BANANAS: mutations of the best candidates, chosen by samples from what an ensemble predicts.

Source: White et al., BANANAS: Bayesian optimization with neural architectures for NAS (AAAI 2021), and its released
code naszilla: path encoding, five perceptrons, mean absolute error, independent Thompson sampling.
Deviations: perceptrons of 3 × 64 with weight decay; the published ones of 10 × 20 without are selected by `hidden`.
Scores are standardised, so that the learning rate does not depend on their unit. All neighbours of the best are looked
at, there random mutations of them. Candidates of several levels, which the paper does not know, are predicted by their
places in the order of all.
Shapes: N candidates, F features, M perceptrons.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged, Proposer, candidates_of
from nas_lightning.core.space import SearchSpace
from nas_lightning.proposers.drawing import unseen
from nas_lightning.proposers.encodings import features, ways
from nas_lightning.proposers.networks import Ensemble, initialised

BATCH = 32
"""Candidates in a step of the ensemble."""


class Bananas(Proposer):
    """Fits an ensemble to the candidates and proposes the neighbours of the best that are best in a sample of it.

    Args:
        initial: Random candidates at the beginning; None is `candidates.initial` of the run, 10 outside of one.
        candidates: Neighbours of the best candidates that are looked at.
        members: Perceptrons of the ensemble.
        hidden: Widths of their hidden layers.
        lr: Learning rate of Adam.
        weight_decay: Weight decay, decoupled.
        epochs: Passes over the candidates.
    """

    def __init__(
        self,
        initial: Annotated[int, Field(ge=1)] | None = None,
        candidates: Annotated[int, Field(ge=1)] = 100,
        members: Annotated[int, Field(ge=1)] = 5,
        hidden: Sequence[Annotated[int, Field(ge=1)]] = (64, 64, 64),
        lr: Annotated[float, Field(gt=0)] = 0.01,
        weight_decay: Annotated[float, Field(ge=0)] = 0.01,
        epochs: Annotated[int, Field(ge=1)] = 150,
    ) -> None:
        self.initial = 10 if initial is None else initial
        self.candidates = candidates
        self.members = members
        self.hidden = tuple(hidden)
        self.lr = lr
        self.weight_decay = weight_decay
        self.epochs = epochs

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return random candidates up to `initial`, then the neighbours that are first in a sample of predictions."""
        seen = {judged.genotype.identity for judged in history}
        tried = candidates_of(history)
        random = min(k, self.initial - len(tried)) if tried else k
        found = list(islice(unseen(space, seen, seed, len(history)), max(random, 0)))
        if len(found) < k and tried:
            around = self._around(space, tried, seen, max(self.candidates, k - len(found)), seed)
            if around:
                values = self._sampled(space, tried, around, seed)
                order = torch.argsort(values, descending=True, stable=True)[: k - len(found)].tolist()
                found += [around[place] for place in order]
        return found

    def _around(
        self, space: SearchSpace, history: Sequence[Judged], seen: set[str], number: int, seed: int
    ) -> list[Genotype]:
        """Return unknown neighbours of the best candidates, of the best first; random genotypes where these run out."""
        around: dict[str, Genotype] = {}
        for judged in sorted(history, key=lambda one: (*(-value for value in one.merit), one.index)):
            near = [one for one in space.neighbours(judged.genotype) if one.identity not in seen]
            rng = draws.seeded_generator(seed, "bananas", "neighbours", len(history), judged.index)
            for place in torch.randperm(len(near), generator=rng).tolist():
                around.setdefault(near[place].identity, near[place])
                if len(around) == number:
                    return list(around.values())
        further = unseen(space, seen | set(around), seed, len(history))
        return [*around.values(), *islice(further, number - len(around))]

    def _sampled(self, space: SearchSpace, history: Sequence[Judged], around: Sequence[Genotype], seed: int) -> Tensor:
        """Return a sample of the predicted value of each neighbour: independent and normal, [N]."""
        existing = [ways(space, judged.genotype) for judged in history]
        vocabulary = sorted(set().union(*existing))
        ensemble = self.fitted(features(existing, vocabulary), targets(history), seed)
        with torch.no_grad():
            predicted = ensemble(features([ways(space, one) for one in around], vocabulary))
        rng = draws.seeded_generator(seed, "bananas", "sample", len(history))
        return predicted.mean(0) + predicted.std(0, correction=0) * torch.randn(len(around), generator=rng)

    def fitted(self, inputs: Tensor, values: Tensor, seed: int) -> Ensemble:
        """Return an ensemble that is fitted by Adam to the mean absolute error, each member in an order of its own.

        Args:
            inputs: Path encoding of the candidates, [N, F].
            values: What is predicted, [N].
            seed: Seed of the run; N is a part of the key, too.
        """
        number = len(inputs)
        with initialised(seed, "bananas", "weights", number):
            ensemble = Ensemble(inputs.shape[1], self.hidden, self.members)
        rng = draws.seeded_generator(seed, "bananas", "order", number)
        optimizer = torch.optim.AdamW(ensemble.parameters(), self.lr, weight_decay=self.weight_decay)
        for _ in range(self.epochs):
            order = torch.rand(self.members, number, generator=rng).argsort(1)
            for batch in order.split(BATCH, dim=1):
                optimizer.zero_grad()
                (ensemble(inputs[batch]) - values[batch]).abs().mean(1).sum().backward()
                optimizer.step()
        return ensemble


def targets(history: Sequence[Judged]) -> Tensor:
    """Return what is predicted of candidates, of mean 0 and deviation 1, [N]: scores, or places where levels differ.

    A score that is not finite counts as the lowest that is.
    """
    if len({judged.level for judged in history}) == 1:
        values = torch.tensor([judged.score for judged in history], dtype=torch.float64)
        finite = values[values.isfinite()]
        values = torch.where(values.isfinite(), values, finite.min() if len(finite) else torch.zeros(()).double())
    else:
        places = {merit: place for place, merit in enumerate(sorted({judged.merit for judged in history}))}
        values = torch.tensor([places[judged.merit] for judged in history], dtype=torch.float64)
    return ((values - values.mean()) / values.std(correction=0).clamp(min=1e-12)).float()
