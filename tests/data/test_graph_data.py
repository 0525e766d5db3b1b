"""Graphs as data: the built-in ones by a loop over their edges, their union, and the splits of a search."""

import numpy as np
import pytest
import torch

from nas_lightning.core.batches import Graphs
from nas_lightning.core.errors import DataError
from nas_lightning.data import GraphDigits
from nas_lightning.data.graph_modules import GraphEvaluationData, GraphSearchData
from nas_lightning.data.graphs import Graph, GraphSet, union
from nas_lightning.data.modules import evaluation_module, search_module


@pytest.fixture(scope="module")
def data():
    made = GraphDigits(train_graphs=30, test_graphs=6, nodes=12)
    made.prepare()
    return made


def shown_by(pixels):
    """The digits, by their pixels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    known = {row.tobytes(): int(label) for row, label in zip(digits.data, digits.target, strict=True)}
    return [known[(row * 16).astype(np.float64).tobytes()] for row in pixels]


def test_labels_of_a_node_are_the_digits_beside_it(data):
    for graph in data.dataset("test").graphs:
        shown = shown_by(graph.x.numpy())
        expected = np.zeros((12, 10))
        for source, target in graph.edge_index.t().tolist():
            expected[target, shown[source]] = 1
        assert graph.labels.numpy().tolist() == expected.tolist()


def test_edges_lead_both_ways_once_and_to_no_node_itself(data):
    degrees = []
    for graph in data.dataset("train").graphs:
        pairs = [tuple(pair) for pair in graph.edge_index.t().tolist()]
        assert len(set(pairs)) == len(pairs)
        assert {(target, source) for source, target in pairs} == set(pairs)
        assert all(source != target for source, target in pairs)
        degrees += np.bincount([target for _, target in pairs], minlength=12).tolist()
    assert np.mean(degrees) == pytest.approx(3.0, abs=0.3)
    assert min(degrees) == 0


def test_no_digit_of_a_test_graph_is_in_a_training_graph(data):
    rows = [
        {row.tobytes() for graph in data.dataset(part).graphs for row in graph.x.numpy()} for part in ("train", "test")
    ]
    assert rows[0].isdisjoint(rows[1])


@pytest.mark.parametrize(
    ("sizes", "loading"),
    [
        ({}, {"split": "stratified"}),
        ({}, {"split": "stratified", "val_fraction": 0.2}),
        ({}, {"split": "halves_by_order", "val_fraction": 0.1}),
        ({"train_graphs": 9, "nodes": 300}, {"split": "stratified", "val_fraction": 0.3}),
        ({"train_graphs": 11, "nodes": 40, "test_fraction": 0.9}, {"split": "stratified"}),
        ({"train_graphs": 2, "nodes": 5}, {"split": "stratified"}),
    ],
)
def test_parts_of_a_search_share_no_digit(sizes, loading):
    made = GraphDigits(test_graphs=1, **sizes)
    module = search_module(made, 1, 0, loading)
    module.setup("fit")
    split, graphs = module.split, made.dataset("train").graphs
    parts = [split.train, split.arch, *([split.val] if "val_fraction" in loading else [])]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(graphs)))
    assert (split.val is split.arch) == (len(parts) == 2)
    seen = [{row.tobytes() for index in part for row in graphs[index].x.numpy()} for part in parts]
    for one in range(len(seen)):
        assert all(seen[one].isdisjoint(other) for other in seen[:one])
    if not sizes:
        share = loading.get("val_fraction", 0)
        assert [len(part) / 160 for part in parts] == pytest.approx(
            [(1 - share) / 2] * 2 + [share][: share > 0], abs=0.02
        )


def test_training_graphs_share_no_digit_while_these_suffice(data):
    rows = [row.tobytes() for graph in data.dataset("train").graphs for row in graph.x.numpy()]
    assert len(set(rows)) == len(rows) == 360
    assert data.pools.tolist() == list(range(30))


def test_a_search_on_everything_reads_all_graphs_twice(data):
    module = search_module(data, 4, 0, {"split": "whole"})
    module.setup("fit")
    assert module.split.train.tolist() == module.split.arch.tolist() == list(range(30))


def test_pixels_of_a_node_say_nothing_of_its_labels_and_those_beside_it_do():
    """Least squares on a node's own pixels against least squares on the sum of its neighbours' pixels."""
    made = GraphDigits(train_graphs=80, test_graphs=20)

    def part(name, beside):
        graphs = made.dataset(name).graphs
        sums = [torch.zeros_like(g.x).index_add(0, g.edge_index[1], g.x[g.edge_index[0]]) for g in graphs]
        x = torch.cat(sums if beside else [g.x for g in graphs]).double().numpy()
        return np.c_[x, np.ones(len(x))], torch.cat([g.labels for g in graphs]).numpy()

    def score(beside):
        (x, y), (tested, true) = part("train", beside), part("test", beside)
        weights = np.linalg.lstsq(x, y, rcond=None)[0]
        said = tested @ weights > 0.5
        return 2 * (said & (true > 0)).sum() / (said.sum() + true.sum())

    every = float(torch.cat([graph.labels for graph in made.dataset("test").graphs]).mean())
    assert 2 * every / (1 + every) == pytest.approx(0.43, abs=0.02)  # of a model that calls everything true
    assert score(beside=False) < 0.02
    assert score(beside=True) > 0.6


def test_graphs_are_the_same_whatever_was_drawn_before(data):
    np.random.seed(3)
    again = GraphDigits(train_graphs=30, test_graphs=6, nodes=12)
    again.prepare()
    assert again.difference(data.fingerprint(), again.fingerprint()) == ""


def test_other_graphs_are_told_apart(data):
    kept = data.fingerprint()
    fewer = GraphDigits(train_graphs=29, test_graphs=6, nodes=12)
    fewer.prepare()
    assert fewer.difference(kept, fewer.fingerprint()) == "29 train graphs, not 30"
    denser = GraphDigits(train_graphs=30, test_graphs=6, nodes=12, degree=4.0)
    denser.prepare()
    assert denser.difference(kept, denser.fingerprint()) == "other train graphs"


def test_a_batch_is_the_union_of_its_graphs():
    one = Graph(torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]]), torch.zeros(3, 4))
    two = Graph(2 * torch.ones(2, 2), torch.tensor([[1], [0]]), torch.ones(2, 4))
    inputs, labels = union([one, two, one])
    assert isinstance(inputs, Graphs)
    assert inputs.x[:, 0].tolist() == [1, 1, 1, 2, 2, 1, 1, 1]
    assert inputs.edge_index.tolist() == [[0, 1, 4, 5, 6], [1, 2, 3, 6, 7]]
    assert inputs.sizes.tolist() == [3, 2, 3]
    assert labels[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_the_line_and_the_sizes(data):
    assert data.found().startswith("36 graphs (30 train, 0 valid, 6 test) of 432 nodes with 64 features and ")
    assert "10 labels" in data.found()
    features, nodes, edges, labels = data.sizes()
    assert (features, nodes, labels) == (64, 12, 10)
    inputs, targets = data.example(3)
    assert inputs.x.shape == (36, 64)
    assert inputs.edge_index.shape == (2, 3 * edges)
    assert (inputs.edge_index[0] != inputs.edge_index[1]).all()
    assert inputs.edge_index.max() < 36
    assert targets.shape == (36, 10)
    assert data.unit().x.shape == (12, 64)


@pytest.mark.parametrize("workers", [0, 2])
def test_streams_pass_through_whole_graphs_in_keyed_order(data, workers):
    module = search_module(data, 4, 0, {"split": "stratified", "num_workers": workers})
    assert isinstance(module, GraphSearchData)
    module.setup("fit")
    assert not set(module.split.train) & set(module.split.arch)
    batches = list(module.train_dataloader()["train"])
    assert [len(inputs.sizes) for inputs, _ in batches] == [4, 4, 4, 3]
    content = {graph.x.numpy().tobytes() for graph in data.dataset("train").graphs}
    for inputs, labels in batches:
        assert all(part.numpy().tobytes() in content for part in inputs.x.split(inputs.sizes.tolist()))
        assert len(labels) == len(inputs.x)
    again = list(module.train_dataloader()["train"])
    assert all(torch.equal(a.x, b.x) for (a, _), (b, _) in zip(batches, again, strict=True))


class WithValid(GraphDigits):
    """Two graphs to validate on."""

    def _load(self):
        super()._load()
        self._take({**self._graphs, "valid": self._graphs["test"][:2]})


def test_the_published_split_gives_the_architecture_the_graphs_to_validate_on():
    data = WithValid(train_graphs=8, test_graphs=3, nodes=6)
    module = search_module(data, 6, 0, {"split": "published"})
    module.setup("fit")
    assert (module.split.train.tolist(), module.split.arch.tolist()) == (list(range(8)), [8, 9])
    assert module.split.val.tolist() == [8, 9]
    loaders = module.train_dataloader()
    assert len(loaders["train"]) == len(loaders["arch"]) == 2
    valid = {graph.x.numpy().tobytes() for graph in data.dataset("test").graphs[:2]}
    for inputs, _ in loaders["arch"]:
        assert {part.numpy().tobytes() for part in inputs.x.split(6)} == valid  # both, in either batch
    retraining = evaluation_module(data, 1, 0, {"split": "published"}, images="full")
    assert isinstance(retraining, GraphEvaluationData)
    retraining.setup("fit")
    assert len(retraining.train_dataloader()) == 8
    assert len(retraining.test_dataloader()) == 3
    halves = evaluation_module(data, 1, 0, {"split": "published"}, images="search_halves")
    halves.setup("fit")
    assert len(halves.train_dataloader()) == 8
    assert {inputs.x.numpy().tobytes() for inputs, _ in halves.test_dataloader()} == valid


@pytest.mark.parametrize(
    ("loading", "message"),
    [
        ({"split": "published"}, r"data\.split=published: data=graphs_digits has no graphs .*; use data\.split=strat"),
        ({"split": "published", "val_fraction": 0.2}, r"data\.val_fraction=0\.2: data\.split=published has graphs"),
        ({"split": "stratified", "batch": 16}, r"search\.batch_size=16: more than the 15"),
    ],
)
def test_splits_that_do_not_fit_are_refused(data, loading, message):
    size = loading.pop("batch", 4)
    with pytest.raises(DataError, match=message):
        search_module(data, size, 0, loading).setup("fit")


def test_a_recurring_item_is_the_graph_itself(data):
    graphs = data.dataset("test")
    assert isinstance(graphs, GraphSet)
    assert len(graphs) == 6
    assert graphs[2] is graphs.graphs[2]


def test_what_graphs_cannot_be_is_refused(data):
    with pytest.raises(DataError, match="cutout=4: graphs have no pixels to blank; use cutout=0"):
        data.dataset("train", augment=True, cutout=4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"nodes": 360},
            r"^data\.nodes=360: .* leaves 1438 digits .* and 359 to the test .* at most data\.nodes=359, or",
        ),
        ({"nodes": 91, "test_fraction": 0.9}, r"^data\.nodes=91: data\.test_fraction=0\.9 leaves 180 .*data\.nodes=90"),
        (
            {"nodes": 4, "degree": 3.5},
            r"^data\.degree=3\.5: a node of data\.nodes=4 has at most 3 neighbours; use at most",
        ),
    ],
)
def test_graphs_that_the_digits_cannot_make_are_refused(sizes, message):
    with pytest.raises(DataError, match=message) as caught:
        GraphDigits(**sizes).prepare()
    assert "\n" not in str(caught.value)


def test_a_node_may_be_beside_all_others():
    made = GraphDigits(train_graphs=2, test_graphs=1, nodes=4, degree=3)
    made.prepare()
    assert all(graph.edge_index.shape[1] == 12 for graph in made.dataset("train").graphs)
