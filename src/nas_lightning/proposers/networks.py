"""Small networks that predict how good a genotype is.

Sources: Yan et al., arch2vec (NeurIPS 2020), released code, for the encoder of graphs, a graph isomorphism network
(Xu et al., ICLR 2019); its decoder and the variance of its latent are left out. The head is ours.
Shapes: N genotypes, F features, M members of an ensemble; V nodes and L links of all their graphs, D labels, C cells.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from nas_lightning.core.draws import Key, hashed_seed
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace

CHUNK = 4096
"""Genotypes that are scored at once."""


@contextmanager
def initialised(*key: Key) -> Iterator[None]:
    """Initialise modules within the block by a key; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hashed_seed(*key))
        yield


class Ensemble(nn.Module):
    """Perceptrons with ReLU, side by side: inputs [N, F], or [M, N, F] for each its own → outputs [M, N].

    Args:
        inputs: Number of features F.
        hidden: Widths of the hidden layers.
        members: Number of perceptrons M.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], members: int = 1) -> None:
        super().__init__()
        sizes = [inputs, *hidden, 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            bound = 1 / sqrt(max(before, 1))  # as nn.Linear
            self.weights.append(nn.Parameter(torch.empty(members, before, after).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(members, 1, after).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all members, [M, N]."""
        h = x.expand(self.weights[0].shape[0], *x.shape[-2:])
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, torch.relu(h) if number else h, weight)
        return h.squeeze(-1)


@dataclass(frozen=True)
class Graphs:
    """The graphs of genotypes, side by side.

    Attributes:
        labels: Index of the label of each node, [V].
        links: Nodes that are linked, both directions, [2, 2L].
        graph: Index of the graph of each node, from 0 to N·C − 1, [V].
        first: First node and first link of each genotype, and the ends of all, [N + 1, 2].
        cells: Number of cells C of a genotype.
    """

    labels: Tensor
    links: Tensor
    graph: Tensor
    first: Tensor
    cells: int

    @classmethod
    def of(cls, space: SearchSpace, genotypes: Sequence[Genotype]) -> "Graphs":
        """Return the graphs of genotypes of a space."""
        index = {label: number for number, label in enumerate(space.graph_labels())}
        labels: list[int] = []
        graph: list[int] = []
        links: list[tuple[int, int]] = []
        first: list[tuple[int, int]] = [(0, 0)]
        number = cells = 0
        for genotype in genotypes:
            found = space.graphs(genotype)
            cells = len(found)
            for one in found.values():
                offset = len(labels)
                links += [(a + offset, b + offset) for pair in one.links for a, b in (pair, pair[::-1])]
                labels += [index[label] for label in one.labels]
                graph += [number] * len(one.labels)
                number += 1
            first.append((len(labels), len(links)))
        pairs = torch.tensor(links, dtype=torch.long).reshape(-1, 2).T
        return cls(torch.tensor(labels), pairs, torch.tensor(graph), torch.tensor(first), cells)

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, part: slice) -> "Graphs":
        """Return some consecutive genotypes."""
        start, stop, _ = part.indices(len(self))
        (node, link), (last, last_link) = self.first[start].tolist(), self.first[stop].tolist()
        return Graphs(
            self.labels[node:last],
            self.links[:, link:last_link] - node,
            self.graph[node:last] - start * self.cells,
            self.first[start : stop + 1] - self.first[start],
            self.cells,
        )


class _Update(nn.Module):
    """One round of messages: h ← ReLU(BN(MLP((1 + ε)·h + A·h)))."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(
            nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.BatchNorm1d(width)
        )

    def forward(self, h: Tensor, links: Tensor) -> Tensor:
        messages = torch.zeros_like(h).index_add(0, links[1], h[links[0]])
        return torch.relu(self.mlp((1 + self.epsilon) * h + messages))


class GraphEncoder(nn.Module):
    """A graph isomorphism network: graphs → the sum of the outputs of their nodes, [N, C, `outputs`].

    Isomorphic graphs have equal sums. With 7 labels (NAS-Bench-201) it has 120,724 parameters, with 11 (DARTS) 121,236.

    Args:
        labels: Number of labels D.
        width: Width of the nodes and of the perceptrons.
        rounds: Rounds of messages.
        outputs: Outputs of a node.
    """

    def __init__(self, labels: int, width: int = 128, rounds: int = 4, outputs: int = 16) -> None:
        super().__init__()
        self.num_labels = labels
        self.updates = nn.ModuleList(_Update(width if number else labels, width) for number in range(rounds))
        self.out = nn.Linear(width, outputs)

    def forward(self, graphs: Graphs) -> Tensor:
        """Return the sums, [N, C, `outputs`]."""
        h = nn.functional.one_hot(graphs.labels, self.num_labels).to(self.out.weight)
        for update in self.updates:
            h = update(h, graphs.links)
        nodes = self.out(h)
        sums = nodes.new_zeros(len(graphs) * graphs.cells, nodes.shape[1]).index_add(0, graphs.graph, nodes)
        return sums.unflatten(0, (len(graphs), graphs.cells))


class GraphScorer(nn.Module):
    """Graph encoder and a perceptron over the sums of all cells: graphs → scores [1, N].

    Args:
        labels: Number of labels D.
        cells: Number of cells C of a genotype.
        hidden: Width of the perceptron.
    """

    def __init__(self, labels: int, cells: int, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = GraphEncoder(labels)
        self.head = nn.Sequential(
            nn.Linear(cells * self.encoder.out.out_features, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, graphs: Graphs) -> Tensor:
        """Return the scores, [1, N]."""
        return self.head(self.encoder(graphs).flatten(1)).T
