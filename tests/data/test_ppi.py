"""PPI from files in the published format, generated here, small."""

import json
import logging

import networkx as nx
import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data import Ppi
from nas_lightning.data.ppi import PUBLISHED

PARTS = {"train": (3, 7), "valid": (1, 5), "test": (2, 6)}
"""Graphs, and nodes of each, by part."""
FEATURES, LABELS = 4, 3


def stored(folder, directed=True, parts=PARTS, **changed):
    """Write the files; graph numbers begin at 1 and go on from part to part, nodes of graphs stand mixed."""
    folder.mkdir(exist_ok=True)
    rng, first, written = np.random.default_rng(0), 1, {}
    for part, (graphs, nodes) in parts.items():
        owners = rng.permutation(np.repeat(np.arange(first, first + graphs), nodes))
        first += graphs
        count = len(owners)
        kind = nx.DiGraph if directed else nx.Graph
        net = kind(nx.gnp_random_graph(count, 0.3, seed=1, directed=directed))
        net.add_edge(0, 0)  # left out, as links between graphs are
        content = nx.node_link_data(net, edges="links")
        content["links"] += content["links"][:1]  # a link that stands twice
        x, y = rng.standard_normal((count, FEATURES)), rng.integers(0, 2, (count, LABELS))
        (folder / f"{part}_graph.json").write_text(json.dumps(content))
        for name, array in (("feats", x), ("labels", y), ("graph_id", owners)):
            np.save(folder / f"{part}_{name}.npy", array)
        written[part] = (net, x, y, owners)
    for name, array in changed.items():
        np.save(folder / f"{name}.npy", array)
    return written


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("below", [".", "ppi"])
def test_graphs_are_those_of_networkx(directed, below, tmp_path):
    written = stored(tmp_path / below, directed)
    data = Ppi(str(tmp_path))
    data.prepare()
    assert (data.in_channels, data.num_classes, len(data.class_names)) == (FEATURES, LABELS, LABELS)
    for part, (net, x, y, owners) in written.items():
        assert data.number(part) == PARTS[part][0]
        net = nx.DiGraph(net)  # of an undirected one both ways, as PyTorch Geometric reads it
        for graph, owner in zip(data._graphs[part], np.unique(owners), strict=True):
            mine = np.flatnonzero(owners == owner)
            assert torch.equal(graph.x, torch.from_numpy(x[mine]).float())
            assert torch.equal(graph.labels, torch.from_numpy(y[mine]).float())
            place = {node: index for index, node in enumerate(mine.tolist())}
            expected = {(place[a], place[b]) for a, b in net.subgraph(mine.tolist()).edges if a != b}
            found = [tuple(pair) for pair in graph.edge_index.t().tolist()]
            assert len(found) == len(set(found))
            assert set(found) == expected


def test_training_graphs_come_before_those_to_validate_on(tmp_path):
    stored(tmp_path)
    data = Ppi(str(tmp_path))
    assert len(data.dataset("train")) == 4
    assert data.dataset("train")[3] is data._graphs["valid"][0]
    assert len(data.train_labels) == 3
    assert len(data.test_labels) == 2


def test_counts_unlike_the_published_ones_are_warned_of(tmp_path, caplog):
    stored(tmp_path)
    with caplog.at_level(logging.WARNING):
        Ppi(str(tmp_path)).prepare()
    assert "not the published set: 3/1/2 graphs, not 20/2/2; 38 nodes, not 56944; 4 features, not 50;" in caplog.text
    caplog.clear()
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        for key, value in {"graphs": "3/1/2", "nodes": "38", "features": "4", "labels": "3"}.items():
            patch.setitem(PUBLISHED, key, value)
        Ppi(str(tmp_path)).prepare()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_feats": np.zeros((20, 4))}, r"the shapes \(20, 4\), \(21, 3\) and \(21,\), not N x F, N x K and N"),
        ({"train_feats": np.full((21, 4), np.nan)}, "train_feats.npy has numbers that are not finite"),
        ({"train_feats": np.full((21, 4), 1e300)}, "train_feats.npy has numbers that are not finite in float32"),
        ({"train_feats": np.zeros((21, 4), complex)}, r"train_feats.npy is no array of real numbers \(complex128\)"),
        ({"train_feats": np.full((21, 4), "a")}, "train_feats.npy is no array of real numbers"),
        ({"train_feats": np.zeros((21, 0))}, r"\(21, 0\), .* with at least one node, feature and label"),
        ({"train_labels": np.zeros((21, 0))}, "with at least one node, feature and label"),
        ({"train_graph_id": np.full(21, np.nan)}, "train_graph_id.npy has others than whole numbers"),
        ({"valid_labels": np.full((5, 3), 2)}, "valid_labels.npy others than 0 and 1"),
        ({"test_feats": np.zeros((12, 5))}, "parts have different numbers of features or labels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message, tmp_path):
    stored(tmp_path, **changed)
    with pytest.raises(DataError, match=message) as caught:
        Ppi(str(tmp_path)).prepare()
    assert "\n" not in str(caught.value)


NODES = [{"id": index} for index in range(21)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"train_graph\.json has no readable links"),
        ("[]", r"train_graph\.json has no readable links"),
        ({"links": []}, r"train_graph\.json has no readable links \('directed'\)"),
        ({"directed": True, "links": []}, r"train_graph\.json has no readable links \('nodes'\)"),
        ({"directed": True, "nodes": NODES, "links": [{"source": 0}]}, "no readable links"),
        ({"directed": "false", "nodes": NODES, "links": []}, "says directed=false, not true or false"),
        ({"directed": 1, "nodes": NODES, "links": []}, "says directed=1, not true or false"),
        (
            {"directed": True, "nodes": NODES, "links": [{"source": 0, "target": 21}]},
            "links node 21, which is not among",
        ),
        (
            {"directed": True, "nodes": NODES, "links": [{"source": 0, "target": 1.5}]},
            r"names a node 1\.5, not by a whole",
        ),
        ({"directed": True, "nodes": NODES, "links": [{"source": True, "target": 2}]}, "names a node True, not by"),
        ({"directed": True, "nodes": [*NODES[1:], {"id": "0"}], "links": []}, "names a node 0, not by"),
        ({"directed": True, "nodes": NODES[1:], "links": []}, "has 20 nodes of 20 ids, and there are 21 features"),
        ({"directed": True, "nodes": [*NODES[1:], {"id": 3}], "links": []}, "has 21 nodes of 20 ids, and there are 21"),
    ],
)
def test_links_that_do_not_fit_are_refused(content, message, tmp_path):
    stored(tmp_path)
    (tmp_path / "train_graph.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        Ppi(str(tmp_path)).prepare()
    assert "\n" not in str(caught.value)


def test_an_archive_in_the_place_of_an_array_is_refused(tmp_path):
    stored(tmp_path)
    with (tmp_path / "train_feats.npy").open("wb") as file:
        np.savez(file, np.zeros((21, 4)))
    with pytest.raises(DataError, match=r"train_feats\.npy is no array of real numbers \(an archive of several\)"):
        Ppi(str(tmp_path)).prepare()


def test_links_are_of_nodes_by_their_names(tmp_path):
    """The same graph with its nodes named otherwise, in the order of their features."""
    stored(tmp_path / "plain")
    stored(tmp_path / "named")
    names = np.random.default_rng(1).permutation(21) + 5
    file = tmp_path / "named" / "train_graph.json"
    content = json.loads(file.read_text())
    for node in content["nodes"]:
        node["id"] = int(names[node["id"]])
    for link in content["links"]:
        link |= {end: int(names[link[end]]) for end in ("source", "target")}
    file.write_text(json.dumps(content))
    plain, named = Ppi(str(tmp_path / "plain")), Ppi(str(tmp_path / "named"))
    plain.prepare()
    named.prepare()
    assert named.difference(plain.fingerprint(), named.fingerprint()) == ""


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.path=null: data=ppi needs the files .*data=graphs_digits"):
        Ppi().prepare()
    with pytest.raises(DataError, match=r"none: nothing there; give the folder with train_graph\.json"):
        Ppi(str(tmp_path / "none")).prepare()
    stored(tmp_path)
    (tmp_path / "test_graph_id.npy").unlink()
    with pytest.raises(DataError, match=r"no file test_graph_id\.npy; give another folder"):
        Ppi(str(tmp_path)).prepare()
    (tmp_path / "test_graph_id.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"test_graph_id\.npy is not a readable array"):
        Ppi(str(tmp_path)).prepare()
