"""The Lightning data modules of a search and of an evaluation on point clouds.

A batch is (clouds [B, 3, N], labels [B]). Splits are `stratified`, `halves_by_order` and `whole`.
"""

from nas_lightning.data.item_modules import ItemEvaluationData, ItemSearchData


class PointSearchData(ItemSearchData):
    """The clouds of a search; see `ItemSearchData`."""


class PointEvaluationData(ItemEvaluationData):
    """The clouds on which a found network is trained from scratch; see `ItemEvaluationData`."""
