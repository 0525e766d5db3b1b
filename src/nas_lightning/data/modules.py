"""Which data modules a search and a retraining read the data of a source by."""

from collections.abc import Callable, Mapping
from typing import Any

from nas_lightning.data.graph_modules import GraphEvaluationData, GraphSearchData
from nas_lightning.data.module import EvaluationData, SearchData
from nas_lightning.data.point_modules import PointEvaluationData, PointSearchData
from nas_lightning.data.source import DataSource
from nas_lightning.data.stereo_modules import StereoEvaluationData, StereoSearchData
from nas_lightning.data.text_modules import TextEvaluationData, TextSearchData

SEARCH: dict[str, Callable[..., Any]] = {
    "images": SearchData,
    "text": TextSearchData,
    "stereo": StereoSearchData,
    "points": PointSearchData,
    "graphs": GraphSearchData,
}
"""Data modules of searches, by kind of data; they are `data.streams.SearchStreams`."""
EVALUATION: dict[str, Callable[..., Any]] = {
    "images": EvaluationData,
    "text": TextEvaluationData,
    "stereo": StereoEvaluationData,
    "points": PointEvaluationData,
    "graphs": GraphEvaluationData,
}
"""Data modules of retrainings, by kind of data."""


def search_module(source: DataSource, batch_size: int, seed: int, loading: Mapping[str, Any]) -> Any:
    """Build the data module of a search, not set up yet.

    Args:
        source: Where the data come from.
        batch_size: Images, columns or pairs of either stream in a step, in each process.
        seed: Of the run.
        loading: Settings of loaders and splits; those that the source does not know are left out.
    """
    return SEARCH[source.kind](source, batch_size, seed, **_known(source, loading))


def evaluation_module(source: DataSource, batch_size: int, seed: int, loading: Mapping[str, Any], **recipe: Any) -> Any:
    """Build the data module of a retraining, not set up yet.

    Args:
        source: Where the data come from.
        batch_size: Images, columns or pairs in a step, in each process.
        seed: Of the run.
        loading: Settings of loaders and splits; those that the source does not know are left out.
        recipe: What the recipe asks of the data, such as the side of cutout.
    """
    return EVALUATION[source.kind](source, batch_size, seed, **recipe, **_known(source, loading))


def _known(source: DataSource, loading: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in loading.items() if key in source.loader_keys}
