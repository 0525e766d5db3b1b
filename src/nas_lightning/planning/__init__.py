"""Estimate the steps and hours of a command before it runs (`task=plan`)."""

from nas_lightning.planning.run import run_plan

__all__ = ["run_plan"]
