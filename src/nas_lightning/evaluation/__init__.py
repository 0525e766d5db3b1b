"""Evaluators of a genotype: retraining from scratch, and look-up in a table."""

from nas_lightning.core.evaluator import Evaluator
from nas_lightning.evaluation.disparity import StereoTraining
from nas_lightning.evaluation.graphs import GraphTraining
from nas_lightning.evaluation.language import LanguageTraining
from nas_lightning.evaluation.points import PointTraining
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.evaluation.tabular import Tabular
from nas_lightning.evaluation.training import Training

__all__ = [
    "Evaluator",
    "GraphTraining",
    "LanguageTraining",
    "PointTraining",
    "Recipe",
    "Retraining",
    "StereoTraining",
    "Tabular",
    "Training",
]
