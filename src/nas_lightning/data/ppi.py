"""Protein-protein interactions, from files: 24 graphs, one for each of so many human tissues.

Source: Zitnik and Leskovec (Bioinformatics 2017), as prepared for GraphSAGE (Hamilton et al., NeurIPS 2017) and packed
by DGL, whose archive `ppi.zip` PyTorch Geometric reads, too. Of each part (train, valid, test) a folder has

    PART_graph.json     links in networkx' format, and nodes, where the i-th has the `id` that links name it by and the
                        i-th row of the arrays; `directed`, true or false, says whether a link leads one way or both
    PART_feats.npy      features of its N nodes, [N, F]
    PART_labels.npy     their labels, 0 or 1, [N, K]
    PART_graph_id.npy   the graph of each node, [N]

As in PyTorch Geometric, links between graphs and from a node to itself are left out, and a link counts once.
"""

import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, is_file, path_of, shown
from nas_lightning.data.arrays import UNREADABLE
from nas_lightning.data.graphs import PARTS, Graph, GraphData, GraphPart

log = logging.getLogger(__name__)

PUBLISHED = {"graphs": "20/2/2", "nodes": "56944", "features": "50", "labels": "121"}
"""Counts of the published set; those of the graphs by part."""


class Ppi(GraphData):
    """Graphs of a folder in the layout of `ppi.zip`; counts other than the published ones are warned of.

    Args:
        path: The folder, or the one that holds it as `ppi`.
    """

    name = "ppi"
    missing: ClassVar[dict[str, str]] = {
        "path": "data.path={given}: nothing there; give the folder with train_graph.json, …, data.path=PATH"
    }

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def _load(self) -> None:
        if self.path is None:
            raise DataError(
                "data.path=null: data=ppi needs the files of ppi.zip; give the folder with data.path=PATH, or use"
                " data=graphs_digits, which is built in"
            )
        folder = path_of(self.path)
        if not is_directory(folder):
            raise DataError(self.missing["path"].format(given=shown(self.path)))
        folder = folder / "ppi" if is_directory(folder / "ppi") else folder
        graphs = {part: self._of_part(folder, part) for part in PARTS}
        widths = {(graph.x.shape[1], graph.labels.shape[1]) for part in PARTS for graph in graphs[part]}
        if len(widths) > 1:
            raise self._error(f"parts have different numbers of features or labels, {sorted(widths)}")
        self._take(graphs)
        self.class_names = tuple(f"label {index}" for index in range(self.num_classes))
        found = {
            "graphs": "/".join(str(len(graphs[part])) for part in PARTS),
            "nodes": str(sum(len(graph.x) for part in PARTS for graph in graphs[part])),
            "features": str(self.in_channels),
            "labels": str(self.num_classes),
        }
        unlike = [f"{found[key]} {key}, not {value}" for key, value in PUBLISHED.items() if found[key] != value]
        if unlike:
            log.warning("data.path=%s: not the published set: %s", shown(self.path), "; ".join(unlike))

    def _of_part(self, folder: Path, part: GraphPart) -> list[Graph]:
        """Read the graphs of a part, in the order of their numbers."""
        x, labels, owners = (self._array(folder / f"{part}_{name}.npy") for name in ("feats", "labels", "graph_id"))
        owners = owners.reshape(-1)
        with np.errstate(over="ignore"):  # what float32 does not hold is refused below
            x = x.astype(np.float32)
        if x.ndim != 2 or labels.ndim != 2 or not len(x) == len(labels) == len(owners) or 0 in x.shape + labels.shape:
            raise self._error(
                f"{part}_feats.npy, {part}_labels.npy and {part}_graph_id.npy have the shapes {x.shape}, {labels.shape}"
                f" and {owners.shape}, not N x F, N x K and N with at least one node, feature and label"
            )
        if not np.isfinite(x).all() or not np.isin(labels, (0, 1)).all():
            raise self._error(
                f"{part}_feats.npy has numbers that are not finite in float32, or {part}_labels.npy others than 0 and 1"
            )
        if not (np.isfinite(owners).all() and (owners == np.rint(owners)).all()):
            raise self._error(f"{part}_graph_id.npy has others than whole numbers, one a node")
        links = self._links(folder / f"{part}_graph.json", len(x))
        links = links[:, owners[links[0]] == owners[links[1]]]
        graphs = []
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            # Nodes of a graph are numbered anew, in their order.
            edges = np.searchsorted(mine, links[:, owners[links[1]] == owner])
            graphs.append(
                Graph(
                    torch.from_numpy(x[mine]),
                    torch.from_numpy(edges.astype(np.int64)),
                    torch.from_numpy(labels[mine].astype(np.float32)),
                )
            )
        return graphs

    def _links(self, file: Path, nodes: int) -> np.ndarray:
        """Return the links, [2, E], each once and none to its own node."""
        try:
            content = json.loads(file.read_text())
            given = content["links"] if "links" in content else content["edges"]  # the name in newer networkx
            directed, ids = content["directed"], [node["id"] for node in content["nodes"]]
            ends = [link[end] for end in ("source", "target") for link in given]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(f"{file.name} has no readable links ({' '.join(str(error).split())})") from error
        if not isinstance(directed, bool):
            raise self._error(f"{file.name} says directed={shown(directed)}, not true or false")
        wrong = next((name for name in (*ids, *ends) if type(name) is not int), None)  # of ints, bool is a subclass
        if wrong is not None:
            raise self._error(f"{file.name} names a node {shown(wrong)}, not by a whole number")
        rows = {name: row for row, name in enumerate(ids)}
        if not len(rows) == len(ids) == nodes:
            raise self._error(f"{file.name} has {len(ids)} nodes of {len(rows)} ids, and there are {nodes} features")
        unknown = next((name for name in ends if name not in rows), None)
        if unknown is not None:
            raise self._error(f"{file.name} links node {unknown}, which is not among its {nodes} nodes")
        links = np.array([rows[name] for name in ends], dtype=np.int64).reshape(2, -1)
        if not directed:
            links = np.concatenate([links, links[::-1]], axis=1)
        return np.unique(links[:, links[0] != links[1]], axis=1)

    def _array(self, file: Path) -> np.ndarray:
        if not is_file(file):
            raise self._error(f"no file {file.name}")
        try:
            found = np.load(file, allow_pickle=False)
        except UNREADABLE as error:
            raise self._error(f"{file.name} is not a readable array ({' '.join(str(error).split())})") from error
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
            kind = found.dtype if isinstance(found, np.ndarray) else "an archive of several"
            raise self._error(f"{file.name} is no array of real numbers ({kind})")
        return found

    def _error(self, problem: Any) -> DataError:
        return DataError(f"data.path={shown(self.path or 'null')}: {problem}; give another folder with data.path=PATH")
