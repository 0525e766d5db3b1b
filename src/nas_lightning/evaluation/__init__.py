"""Evaluators of a genotype: retraining from scratch, and look-up in a table."""

from nas_lightning.core.evaluator import Evaluator
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.evaluation.tabular import Tabular
from nas_lightning.evaluation.training import Training

__all__ = ["Evaluator", "Recipe", "Retraining", "Tabular", "Training"]
