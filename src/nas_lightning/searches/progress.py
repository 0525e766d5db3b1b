"""Where a search stands: one dataclass, saved, loaded and carried into the next stage as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class Rollback:
    """Go back to the end of an earlier search epoch.

    Args:
        epoch: That epoch.
        changes: Values that are different from then on, by their keys in the configuration.
        end: Whether the search ends there.
    """

    epoch: int
    changes: dict[str, float] = field(default_factory=dict)
    end: bool = False


@dataclass
class Progress:
    """Where a search stands.

    Attributes:
        search_epoch: Position on all schedules; a rollback rewinds it.
        attempt: How often the search was rolled back.
        num_steps: Weight steps taken; they key the draws and never go back.
        stage: Index of the stage.
        phase: `search`, or `selection` in the stage of a selector that trains.
        first_epoch: The search epoch at which the stage starts.
        last_epoch: The search epoch at which the stage ends (not run any more).
        epoch_offset: Lightning epochs of the stages before, so that rows count on.
        changed: Values that a control has changed, by their keys in the configuration.
        stopped: Whether a control has ended the search before its last epoch.
    """

    search_epoch: int = 0
    attempt: int = 0
    num_steps: int = 0
    stage: int = 0
    phase: str = "search"
    first_epoch: int = 0
    last_epoch: int = 0
    epoch_offset: int = 0
    changed: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    @property
    def ended(self) -> bool:
        """Whether the stage has run to its end, or was ended before."""
        return self.stopped or self.search_epoch >= self.last_epoch

    @property
    def position(self) -> int:
        """Where schedules stand: the search epoch, or the last one of the search in a stage that comes after it."""
        return self.search_epoch if self.phase == "search" else max(0, self.first_epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers, words and a dictionary, which a checkpoint may hold."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "changed": dict(self.changed)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """Read it from the section `search` of a checkpoint, which holds more than that."""
        return cls(**{f.name: state[f.name] for f in fields(cls)} | {"changed": dict(state["changed"])})

    def entering(self, stage: "Progress") -> "Progress":
        """Return where the next stage starts: the counters go on, stage, phase and length are its own.

        A control may have ended the stage before its last epoch, so the next one starts at the search epoch.
        """
        last = self.search_epoch + stage.last_epoch - stage.first_epoch
        return replace(
            self,
            stage=stage.stage,
            phase=stage.phase,
            first_epoch=self.search_epoch,
            last_epoch=last,
            changed={},
            stopped=False,
        )

    def go_back(self, rollback: Rollback) -> None:
        """Stand at the end of an earlier epoch, in a new attempt; steps count on."""
        self.search_epoch = rollback.epoch + 1
        self.attempt += 1
        self.stopped = rollback.end
