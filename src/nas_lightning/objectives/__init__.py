"""Objectives: the loss to minimise and the metric to report, one objective a file."""

from nas_lightning.objectives.classification import BalancedAccuracy, Classification

__all__ = ["BalancedAccuracy", "Classification"]
