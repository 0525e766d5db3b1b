"""Sources of graphs with labelled nodes, and the built-in one, made of handwritten digits.

Shapes: G graphs; of one, n nodes, F features of a node, e edges, K labels of a node.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.batches import Graphs
from nas_lightning.core.draws import hashed_seed
from nas_lightning.core.errors import DataError
from nas_lightning.core.space import Kind
from nas_lightning.data.base import NAMED
from nas_lightning.data.loading import Collated
from nas_lightning.data.source import DataSource
from nas_lightning.data.splits import stratified_cut

GraphPart = Literal["train", "valid", "test"]
PARTS: tuple[GraphPart, ...] = ("train", "valid", "test")
Count = Annotated[int, Field(ge=1)]
SHADES = 16
"""The darkest shade of the digits' pixels."""


class Graph(NamedTuple):
    """A graph with labelled nodes.

    Attributes:
        x: Features, float32 [n, F].
        edge_index: Edges, int64 [2, e], from the first row to the second, each once, none to its own node.
        labels: 0 or 1, float32 [n, K].
    """

    x: Tensor
    edge_index: Tensor
    labels: Tensor


def union(graphs: Sequence[Graph]) -> tuple[Graphs, Tensor]:
    """Return graphs as one of several parts, and the labels of all nodes, [n, K]."""
    sizes = torch.tensor([len(graph.x) for graph in graphs])
    starts = (sizes.cumsum(0) - sizes).tolist()
    edges = [graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)]
    inputs = Graphs(torch.cat([graph.x for graph in graphs]), torch.cat(edges, dim=1), sizes)
    return inputs, torch.cat([graph.labels for graph in graphs])


class GraphSet(Collated[Graph]):
    """Graphs, a batch of which is their union; nothing is drawn when they are read."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.graphs = graphs

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> Graph:
        """Return a graph."""
        return self.graphs[index]

    def collate(self, items: Sequence[Graph]) -> tuple[Graphs, Tensor]:
        """Return their union; see `union`."""
        return union(items)


class GraphData(DataSource):
    """Graphs with labelled nodes, in a training and a test part, and some in a part to validate on.

    Constructors only keep their arguments. A subclass writes `_load`, which sets every attribute below, and `_graphs`.

    Attributes:
        in_channels: F.
        num_classes: K.
        train_labels: A zero for each training graph: there is one class of graphs, so splits are at random.
        test_labels: Likewise, of the test part.
        pools: Number of the pool of nodes that each training graph is made of, from 0, int64 [G]; graphs of one pool
            may share nodes, so a search does not split them.
    """

    kind: ClassVar[Kind] = "graphs"
    loader_keys = ("num_workers", "prefetch_factor", "split", "val_fraction")

    in_channels: int
    test_labels: np.ndarray
    pools: np.ndarray

    _graphs: dict[GraphPart, list[Graph]]

    def found(self) -> str:
        """Return one line about the graphs: their number, nodes, edges and labels."""
        self.prepare()
        names = ", ".join(self.class_names[:NAMED]) + (", …" if self.num_classes > NAMED else "")
        parts = ", ".join(f"{len(self._graphs[part])} {part}" for part in PARTS)
        every = [graph for part in PARTS for graph in self._graphs[part]]
        nodes, edges = sum(len(graph.x) for graph in every), sum(graph.edge_index.shape[1] for graph in every)
        share = sum(float(graph.labels.sum()) for graph in every) / (nodes * self.num_classes)
        return " · ".join(
            [
                f"{len(every)} graphs ({parts}) of {nodes} nodes with {self.in_channels} features and {edges} edges",
                f"{self.num_classes} labels, {share:.0%} of them true: {names}",
            ]
        )

    def dataset(self, part: GraphPart, augment: bool = False, cutout: int = 0) -> GraphSet:
        """Return a dataset of graphs; those of the part `train` come before those to validate on.

        Args:
            part: The graphs; `train` has those to validate on behind its own.
            augment: Without effect: graphs are not altered.
            cutout: 0: graphs have no pixels that could be blanked.

        Raises:
            DataError: The graphs cannot be used, or something is to be blanked.
        """
        self.prepare()
        if cutout:
            raise DataError(f"cutout={cutout}: graphs have no pixels to blank; use cutout=0")
        return GraphSet(self._graphs[part] + (self._graphs["valid"] if part == "train" else []))

    def number(self, part: GraphPart) -> int:
        """Return how many graphs a part has."""
        self.prepare()
        return len(self._graphs[part])

    def sizes(self) -> tuple[int, ...]:
        """Return features, mean nodes and edges of a training graph, and labels."""
        return self.in_channels, *self._mean_sizes(), self.num_classes

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> tuple[Graphs, Tensor]:
        """Return so many graphs of the mean sizes of training, with arbitrary content."""
        nodes, edges = self._mean_sizes()
        # Every node has as many edges, to those behind it.
        targets = torch.arange(edges, device=device) % nodes
        behind = 1 + torch.arange(edges, device=device) // nodes
        links = torch.stack([(targets + behind) % nodes, targets])
        x = torch.randn(nodes, self.in_channels, device=device)
        return union([Graph(x, links, torch.zeros(nodes, self.num_classes, device=device))] * batch_size)

    def fingerprint(self) -> dict[str, Any]:
        """Return sizes and a hash of all that the graphs hold."""
        return {"features": int(self.in_channels), "labels": int(self.num_classes)} | {
            part: {"graphs": len(self._graphs[part]), "content": _hashed(self._graphs[part])} for part in PARTS
        }

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way graphs differ from those of a kept fingerprint; "" if they are the same."""
        for part in PARTS:
            old, new = kept.get(part, found[part]), found[part]
            if old["graphs"] != new["graphs"]:
                return f"{new['graphs']} {part} graphs, not {old['graphs']}"
            if old != new:
                return f"other {part} graphs"
        return super().difference(kept, found)

    def _take(self, graphs: dict[GraphPart, list[Graph]], pools: np.ndarray | None = None) -> None:
        """Keep graphs by part and the pools of those to train on, each its own if not given; set what follows."""
        self._graphs = graphs
        self.pools = np.arange(len(graphs["train"])) if pools is None else pools
        first = graphs["train"][0]
        self.in_channels, self.num_classes = first.x.shape[1], first.labels.shape[1]
        self.train_labels, self.test_labels = (np.zeros(len(graphs[p]), dtype=np.int64) for p in ("train", "test"))

    def _mean_sizes(self) -> tuple[int, int]:
        graphs = self._graphs["train"]
        edges = sum(graph.edge_index.shape[1] for graph in graphs)
        return round(sum(len(graph.x) for graph in graphs) / len(graphs)), round(edges / len(graphs))


def _hashed(graphs: Sequence[Graph]) -> str:
    content = hashlib.blake2b(digest_size=8)
    for graph in graphs:
        for part in graph:
            content.update(np.ascontiguousarray(part.numpy()).tobytes())
    return content.hexdigest()


class GraphDigits(GraphData):
    """Graphs whose nodes are the handwritten digits of scikit-learn, built in: nothing to download.

    A node has the pixels of a digit, and its labels say which digits its neighbours show: label k is true where some
    neighbour shows a k. Edges are drawn at random and lead both ways, so a node's own pixels say nothing of its labels.
    The best that a model can do by them is to call every label true, for a micro-F1 of 41.4 % on the training and of
    43.5 % on the test graphs; logistic regression on a node's pixels calls hardly one true and has 0.0 %, on the mean
    of its neighbours' pixels 73 %, on their sum 83 %. What a network has to learn is to recognise digits, and to ask
    the neighbours.

    The digits of the test graphs are in no training graph. Those of the training graphs are cut into as many pools as
    there are graphs, if they suffice for that, or else into fewer, each of which makes several graphs; a search gives
    whole pools to its halves and to val, so no digit is in two of them. Graphs are the same for every seed of a run.

    Args:
        train_graphs: Graphs to train on.
        test_graphs: Graphs to test on.
        nodes: Nodes of a graph.
        degree: Mean number of neighbours of a node; some have none.
        test_fraction: Share of each class of digits that the test graphs are made of.
    """

    name = "graphs_digits"

    def __init__(
        self,
        train_graphs: Annotated[int, Field(ge=2)] = 160,
        test_graphs: Count = 40,
        nodes: Annotated[int, Field(ge=2)] = 24,
        degree: Annotated[float, Field(gt=0)] = 3.0,
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    ) -> None:
        self.numbers: dict[GraphPart, int] = {"train": train_graphs, "valid": 0, "test": test_graphs}
        self.nodes = nodes
        self.degree = degree
        self.test_fraction = test_fraction

    def _load(self) -> None:
        from sklearn.datasets import load_digits  # importing takes a second; other data need not wait

        digits = load_digits()
        pixels, shown = (digits.data / SHADES).astype(np.float32), digits.target
        test, train = stratified_cut(shown, np.arange(len(shown)), self.test_fraction)
        self._check(len(train), len(test))
        # As many graphs of a pool as make all pools large enough.
        together = -(-self.numbers["train"] // (len(train) // self.nodes))
        pools = np.arange(self.numbers["train"]) // together
        shuffled = np.random.default_rng(hashed_seed("graphs_digits", "pools")).permutation(train)
        parts = np.array_split(shuffled, pools[-1] + 1)
        self._take(
            {
                "train": [self._drawn(pixels, shown, parts[p], "train", index) for index, p in enumerate(pools)],
                "valid": [],
                "test": [self._drawn(pixels, shown, test, "test", index) for index in range(self.numbers["test"])],
            },
            pools,
        )
        self.class_names = tuple(f"beside {name}" for name in digits.target_names)

    def _check(self, train: int, test: int) -> None:
        """Refuse graphs that so many digits cannot make, of two pools to train on, or whose edges are too many."""
        most, share = min(train // 2, test), f"data.test_fraction={self.test_fraction}"
        if self.nodes > most:
            raise DataError(
                f"data.nodes={self.nodes}: {share} leaves {train} digits to two or more pools of training graphs and"
                f" {test} to the test graphs, each once a graph; use at most data.nodes={most}, or another"
                " data.test_fraction"
            )
        if self.degree > self.nodes - 1:
            raise DataError(
                f"data.degree={self.degree}: a node of data.nodes={self.nodes} has at most {self.nodes - 1} neighbours;"
                f" use at most data.degree={self.nodes - 1}, or more data.nodes"
            )

    def _drawn(self, pixels: np.ndarray, shown: np.ndarray, digits: np.ndarray, part: str, index: int) -> Graph:
        rng = np.random.default_rng(hashed_seed("graphs_digits", part, index))
        nodes = rng.choice(digits, self.nodes, replace=False)
        pairs = np.triu(rng.random((self.nodes, self.nodes)) < self.degree / (self.nodes - 1), 1)
        beside = pairs | pairs.T
        labels = beside @ np.eye(10, dtype=np.int64)[shown[nodes]] > 0
        edges = np.stack(np.nonzero(beside))
        return Graph(torch.from_numpy(pixels[nodes]), torch.from_numpy(edges), torch.from_numpy(labels).float())
