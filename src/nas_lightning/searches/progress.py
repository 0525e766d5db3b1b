"""Position of a search: one dataclass that is saved, loaded and carried into the next stage as a whole.

Three counters are easily confused. `search_epoch` is the position on every schedule, and a rollback rewinds it.
`num_steps` keys the draws and only grows, so that an attempt after a rollback draws new numbers. Lightning's own epoch
only grows within a stage; with `epoch_offset` it numbers the rows of the tables and the passes over the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class Rollback:
    """A request to go back to the end of an earlier search epoch.

    Args:
        epoch: The search epoch whose end is restored, from 0.
        changes: New values from then on, by their keys in the configuration.
        end: End the search there instead of training on.
    """

    epoch: int
    changes: dict[str, float] = field(default_factory=dict)
    end: bool = False


@dataclass
class Progress:
    """Position of a search.

    Attributes:
        search_epoch: Position on all schedules, in completed epochs; a rollback rewinds it.
        attempt: Number of rollbacks so far.
        num_steps: Weight steps taken; they key the draws and never decrease.
        stage: Index of the stage.
        phase: `search`, or `selection` in the stage of a selector that trains.
        first_epoch: The search epoch at which the stage starts.
        last_epoch: The search epoch at which the stage ends, exclusive.
        epoch_offset: Lightning epochs of the stages before; it keeps the numbers of rows increasing.
        schedule_start: The search epoch at which the schedules start: that of the last fresh stage, or 0.
        changed: Values that a control has changed, by their keys in the configuration.
        stopped: True once a control has ended the search before its last epoch.
    """

    search_epoch: int = 0
    attempt: int = 0
    num_steps: int = 0
    stage: int = 0
    phase: str = "search"
    first_epoch: int = 0
    last_epoch: int = 0
    epoch_offset: int = 0
    schedule_start: int = 0
    changed: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    @property
    def ended(self) -> bool:
        """True when the stage has run to its end or was stopped."""
        return self.stopped or self.search_epoch >= self.last_epoch

    @property
    def position(self) -> int:
        """Argument of the schedules: the search epoch; in a selector's stage, the last epoch of the search.

        It counts from the last fresh stage.
        """
        epoch = self.search_epoch if self.phase == "search" else self.first_epoch - 1
        return max(0, epoch - self.schedule_start)

    def state_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, strings and a dictionary, safe for a checkpoint."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "changed": dict(self.changed)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """Read the fields from the section `search` of a checkpoint, which has further keys.

        Checkpoints of before have no `schedule_start`: their schedules start at 0.
        """
        known = {f.name: state[f.name] for f in fields(cls) if f.name != "schedule_start"}
        return cls(**known | {"changed": dict(state["changed"]), "schedule_start": state.get("schedule_start", 0)})

    def entering(self, stage: "Progress") -> "Progress":
        """Return the position at the start of the next stage: counters continue; stage, phase and length are its own.

        Args:
            stage: Position of the next stage as planned.
        """
        # A control may have ended this stage early: the next one starts where the search is, at its planned length.
        last = self.search_epoch + stage.last_epoch - stage.first_epoch
        return replace(
            self,
            stage=stage.stage,
            phase=stage.phase,
            first_epoch=self.search_epoch,
            last_epoch=last,
            schedule_start=stage.schedule_start,
            changed={},
            stopped=False,
        )

    def go_back(self, rollback: Rollback) -> None:
        """Move to the end of an earlier epoch, in a new attempt; `num_steps` continues."""
        self.search_epoch = rollback.epoch + 1
        self.attempt += 1
        self.stopped = rollback.end
