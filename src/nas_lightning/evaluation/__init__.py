"""Evaluators: how good a genotype is."""

from nas_lightning.evaluation.recipe import Recipe

__all__ = ["Recipe"]
