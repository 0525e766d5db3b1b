"""task=plan: what an experiment would cost, before anything is spent."""

from nas_lightning.planning.plan import run_plan

__all__ = ["run_plan"]
