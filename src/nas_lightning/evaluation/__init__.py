"""Evaluators: how good a genotype is."""

from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.tabular import Tabular

__all__ = ["Recipe", "Tabular"]
