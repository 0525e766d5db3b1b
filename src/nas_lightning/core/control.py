"""The contract of controls, which steer a search."""

from collections.abc import Sequence
from typing import Any

from nas_lightning.core.part import Part
from nas_lightning.core.space import SearchSpace


class Control(Part):
    """Controller of a search, driven by the measurements of callbacks; the base class does nothing.

    A control is a Lightning callback as well, `class Mine(Control, L.Callback)`: it runs after the callbacks that only
    measure and before tables and checkpoints are written. With `goes_back` its `state_dict` is rolled back with the
    search. To roll back, it sets `pl_module.rollback`; to decide, it acts on `pl_module.decisions` and calls
    `pl_module.settle()`.

    Attributes:
        goes_back: It may set `rollback`; at most one control of a search may.
        decides: It makes decisions that are final; cannot be combined with a control that goes back.
        shrinks: `at_stage_start` changes the cost of the stage's steps.
    """

    key = "control"
    goes_back: bool = False
    decides: bool = False
    shrinks: bool = False

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a search that the control cannot steer, before anything is trained.

        Args:
            module: The search module of a stage.
            callbacks: The callbacks that measure.

        Raises:
            ConfigError: The control cannot steer this search.
        """

    def at_stage_start(self, module: Any) -> None:
        """Act at the start of a stage; not called when a stage is resumed."""

    def at_fresh_stage(self) -> None:
        """Forget what depends on weights or architecture parameters, which a fresh stage draws anew.

        Called when a fresh stage starts, after the memory of the stage before was loaded and `at_stage_start` has acted
        on what that stage has learned; not in the first stage, nor when a stage is resumed.
        """

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Return the number of search epochs whose state must be kept for rollbacks."""
        return 0

    def val_batches(self, space: SearchSpace, number: int, epochs: int) -> int:
        """Return the number of batches of `val` that it evaluates in all.

        Args:
            space: The search space.
            number: Batches in `val`.
            epochs: Search epochs.
        """
        return 0
