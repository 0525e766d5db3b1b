"""The Lightning data modules of a search and of an evaluation on pairs of images.

A batch is (pairs [B, 2·C, H, W], disparities [B, 1, H, W]), NaN where a disparity is not known. Splits are
`stratified`, at random as there is one class, and `halves_by_order`.
"""

from nas_lightning.data.item_modules import ItemEvaluationData, ItemSearchData


class StereoSearchData(ItemSearchData):
    """The pairs of a search; see `ItemSearchData`."""


class StereoEvaluationData(ItemEvaluationData):
    """The pairs on which a found network is trained from scratch; see `ItemEvaluationData`."""
