"""Analyses of finished searches: what `task=analyse` can do, and how it is run."""

from nas_lightning.lightning.analyses.base import Analysis
from nas_lightning.lightning.analyses.discretization import Discretization
from nas_lightning.lightning.analyses.running import (
    analysis_bench,
    name_analysis,
    run_analysis,
    start_analysis,
)
from nas_lightning.lightning.analyses.shuffling import Shuffling
from nas_lightning.lightning.analyses.skip_gap import SkipGap
from nas_lightning.lightning.analyses.spectrum import Spectrum
from nas_lightning.lightning.analyses.strength import Strength

__all__ = [
    "Analysis",
    "Discretization",
    "Shuffling",
    "SkipGap",
    "Spectrum",
    "Strength",
    "analysis_bench",
    "name_analysis",
    "run_analysis",
    "start_analysis",
]
