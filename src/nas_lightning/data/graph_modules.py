"""The Lightning data modules of a search and of an evaluation on graphs.

A batch is the union of whole graphs and the labels of all their nodes [n, K]. Splits are `stratified`, at random as
there is one class of graphs, `halves_by_order` and `whole`, and graphs that share nodes stay together; with `published`
weights learn from all training graphs, and the architecture from those to validate on, in smaller batches where they
are few.
"""

import numpy as np

from nas_lightning.core.errors import DataError
from nas_lightning.data.graphs import GraphData
from nas_lightning.data.item_modules import ItemEvaluationData, ItemSearchData
from nas_lightning.data.keyed_module import KeyedDataModule
from nas_lightning.data.splits import SearchSplit, search_split


class GraphModule(KeyedDataModule):
    """What the data modules of graphs share: the published split."""

    data: GraphData  # type: ignore[assignment]

    @property
    def published(self) -> bool:
        """Whether the split is the published one."""
        return str(self.split_method) == "published"

    def _search_split(self) -> SearchSplit:
        """Return the indices of train, arch and val into the training graphs followed by those to validate on.

        Raises:
            DataError: There are none to validate on, or `val_fraction` asks for others.
        """
        if not self.published:
            return super()._search_split()
        if self.val_fraction:
            raise DataError(
                f"data.val_fraction={self.val_fraction}: data.split=published has graphs to validate on; use"
                " data.val_fraction=0, or data.split=stratified"
            )
        train, valid = self.data.number("train"), self.data.number("valid")
        if not valid:
            raise DataError(
                f"data.split=published: data={self.data.name} has no graphs to validate on; use data.split=stratified"
            )
        arch = np.arange(train, train + valid)
        return SearchSplit(np.arange(train), arch, arch)

    def _drawn_split(self) -> SearchSplit:
        """Split the pools of graphs, each of which shares nodes, and return the indices of their graphs."""
        pools = self.data.pools
        split = search_split(np.zeros(pools.max() + 1), self.split_method, val_fraction=self.val_fraction)
        train, arch = (np.flatnonzero(np.isin(pools, part)) for part in (split.train, split.arch))
        # Val is arch itself where no graphs are set aside, and that is told by identity.
        return SearchSplit(train, arch, arch if split.val is split.arch else np.flatnonzero(np.isin(pools, split.val)))


class GraphSearchData(GraphModule, ItemSearchData):
    """The graphs of a search; see `ItemSearchData`."""

    @property
    def val_is_augmented(self) -> bool:
        """False: graphs are not altered."""
        return False

    def _check_arch(self, each: str) -> None:
        """Refuse an arch half that is smaller than a batch, unless it is the published one, of two graphs."""
        if not self.published:
            super()._check_arch(each)


class GraphEvaluationData(GraphModule, ItemEvaluationData):
    """The graphs on which a found network is trained from scratch; see `ItemEvaluationData`."""
