"""Proposers suggest the next candidates of a search without a supernet. One idea a file."""

from nas_lightning.core.proposer import Judged, Proposer
from nas_lightning.proposers.bananas import Bananas
from nas_lightning.proposers.evolution import Evolution
from nas_lightning.proposers.local_search import LocalSearch
from nas_lightning.proposers.random import Random
from nas_lightning.proposers.ranking import Ranking

__all__ = ["Bananas", "Evolution", "Judged", "LocalSearch", "Proposer", "Random", "Ranking"]
