"""What is minimised and what is reported. One objective a file."""

from nas_lightning.objectives.classification import BalancedAccuracy, Classification

__all__ = ["BalancedAccuracy", "Classification"]
