"""Estimate the steps and hours of a command before it runs (`task=plan`)."""

from nas_lightning.planning.plan import Plan
from nas_lightning.planning.run import plan_run, run_plan

__all__ = ["Plan", "plan_run", "run_plan"]
