"""Ranking: propose what a predictor ranks first that has learnt from pairs of candidates.

Source: Wang et al., RANK-NOSH (ICCV 2021); arch2vec (NeurIPS 2020) for the encoder. No code is published:
loss, sizes and training are ours. The predictor is fitted anew in each round.
Shapes: N genotypes, P pairs.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged, Proposer, candidates_of
from nas_lightning.core.space import SearchSpace
from nas_lightning.proposers.drawing import unseen
from nas_lightning.proposers.encodings import one_hot
from nas_lightning.proposers.networks import CHUNK, Ensemble, Graphs, GraphScorer, initialised
from nas_lightning.proposers.pairs import ordered_pairs, ranking_loss
from nas_lightning.spaces.enumeration import architectures, count

Predictor = Literal["mlp_onehot", "gin"]
Encoded = Any
"""Genotypes as a predictor reads them: it has a length and gives parts by slices."""


def _mlp(space: SearchSpace, encoded: Tensor) -> nn.Module:
    return Ensemble(encoded.shape[1], (64, 64))


def _gin(space: SearchSpace, encoded: Graphs) -> nn.Module:
    return GraphScorer(len(space.graph_labels()), encoded.cells)


PREDICTORS: dict[str, tuple[Callable[[SearchSpace, Sequence[Genotype]], Encoded], Callable[..., nn.Module]]] = {
    "mlp_onehot": (one_hot, _mlp),
    "gin": (Graphs.of, _gin),
}
"""How each predictor reads genotypes, and how it is built; it returns scores [1, N]."""


class Ranking(Proposer):
    """Fits a predictor to the pairs of all candidates and proposes what it ranks first of the unknown genotypes.

    Args:
        initial: Random candidates at the beginning; None is `candidates.initial` of the run, 16 outside of one.
        predictor: `mlp_onehot`, a perceptron on the decisions, or `gin`, which reads the graphs of the cells.
        every: Size of the largest space of which all genotypes are ranked.
        candidates: Genotypes that are drawn and ranked in a larger one.
        margin: Scores of a level that differ by less make no pair.
        lr: Learning rate of Adam.
        epochs: Passes over the pairs.
        batch: Pairs in a step.
    """

    def __init__(
        self,
        initial: Annotated[int, Field(ge=1)] | None = None,
        predictor: Predictor = "mlp_onehot",
        every: Annotated[int, Field(ge=0)] = 20_000,
        candidates: Annotated[int, Field(ge=1)] = 10_000,
        margin: Annotated[float, Field(ge=0)] = 0.0,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        epochs: Annotated[int, Field(ge=1)] = 100,
        batch: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        self.initial = 16 if initial is None else initial
        self.predictor = predictor
        self.every = every
        self.candidates = candidates
        self.margin = margin
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self._whole: tuple[SearchSpace, list[Genotype], Encoded] | None = None  # only saves time

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return random candidates up to `initial`, then the first of a new ranking."""
        seen = {judged.genotype.identity for judged in history}
        tried = candidates_of(history)
        random = min(k, self.initial - len(tried)) if tried else k
        found = list(islice(unseen(space, seen, seed, len(history)), max(random, 0)))
        if len(found) == k or not tried:
            return found
        genotypes, encoded = self._ranked(space, seen, seed, len(history))
        scores = self.scores(self.fitted(space, tried, seed), encoded)
        for place in torch.argsort(scores, descending=True, stable=True).tolist():
            if len(found) == k:
                break
            if genotypes[place].identity not in seen:
                seen.add(genotypes[place].identity)
                found.append(genotypes[place])
        return found + list(islice(unseen(space, seen, seed, len(history)), k - len(found)))

    def fitted(self, space: SearchSpace, history: Sequence[Judged], seed: int) -> nn.Module:
        """Return a predictor that is fitted to the pairs of candidates."""
        encode, build = PREDICTORS[self.predictor]
        inputs = encode(space, [judged.genotype for judged in history])
        with initialised(seed, "ranking", "weights", len(history)):
            module = build(space, inputs)
        pairs = ordered_pairs(history, self.margin)
        rng = draws.seeded_generator(seed, "ranking", "order", len(history))
        optimizer = torch.optim.Adam(module.parameters(), self.lr)
        for _ in range(self.epochs):
            for batch in torch.randperm(pairs.shape[1], generator=rng).split(self.batch):
                if len(batch):  # there may be nothing but ties
                    optimizer.zero_grad()
                    ranking_loss(module(inputs), pairs[:, batch]).backward()
                    optimizer.step()
        return module.eval()

    def scores(self, module: nn.Module, encoded: Encoded) -> Tensor:
        """Return the scores of a predictor, [N]."""
        with torch.no_grad():
            return torch.cat([module(encoded[at : at + CHUNK]).mean(0) for at in range(0, len(encoded), CHUNK)])

    def _ranked(self, space: SearchSpace, seen: set[str], seed: int, number: int) -> tuple[list[Genotype], Encoded]:
        """Return the genotypes that are ranked: all of a small space, otherwise a sample of the unknown ones."""
        encode, _ = PREDICTORS[self.predictor]
        if count(space) > self.every:
            drawn = list(islice(unseen(space, set(seen), seed, number * self.candidates), self.candidates))
            return drawn, encode(space, drawn)
        if self._whole is None or self._whole[0] is not space:
            genotypes = list(architectures(space))
            self._whole = space, genotypes, encode(space, genotypes)
        return self._whole[1:]
