"""One metric for all runs of a table: runs that report another one are left out."""

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.runs.folder import RunFolder


class SharedGoal:
    """What the runs of a table report: that of the first run.

    Attributes:
        goal: Accuracy until the first run is added.
    """

    def __init__(self) -> None:
        self.goal = ACCURACY
        self._first: RunFolder | None = None

    def add(self, run: RunFolder, goal: Goal) -> None:
        """Add a run that reports `goal`.

        Raises:
            ConfigError: The first run reports another metric.
        """
        if self._first is None:
            self._first, self.goal = run, goal
        if goal != self.goal:
            raise ConfigError(
                f"run={run}: it reports {goal.axis(goal.name)}, and {self._first} reports"
                f" {self.goal.axis(self.goal.name)}; give the runs of one metric at a time"
            )


def note_goal(folder: RunFolder, goal: Goal) -> None:
    """Write what several runs report into the summary of their analysis; one that does not say stands for accuracy."""
    if goal != ACCURACY:
        folder.update_summary(objective=goal.to_dict())
