"""Objectives: the loss to minimise and the metric to report, one objective a file."""

from nas_lightning.core.objective import Objective
from nas_lightning.objectives.classification import BalancedAccuracy, Classification
from nas_lightning.objectives.disparity import Disparity, DisparityErrors
from nas_lightning.objectives.language_model import LanguageModel, Perplexity
from nas_lightning.objectives.multilabel import MicroF1, Multilabel
from nas_lightning.objectives.regression import Regression

__all__ = [
    "BalancedAccuracy",
    "Classification",
    "Disparity",
    "DisparityErrors",
    "LanguageModel",
    "MicroF1",
    "Multilabel",
    "Objective",
    "Perplexity",
    "Regression",
]
