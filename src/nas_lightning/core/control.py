"""The contract of controls: what steers a search."""

from collections.abc import Sequence
from typing import Any

from nas_lightning.core.part import Part
from nas_lightning.core.space import SearchSpace


class Control(Part):
    """Steers a search from what the watching callbacks measured; does nothing by itself.

    A control is a Lightning callback as well, `class Mine(Control, L.Callback)`: it runs after the callbacks that only
    watch, before tables and checkpoints are written, and its `state_dict` goes back with the search. To go back, it
    sets `pl_module.rollback`; to decide, it acts on `pl_module.decisions` and calls `pl_module.settle()`.

    Attributes:
        goes_back: Whether it may set `rollback`; one control of a search at most.
        decides: Whether it makes decisions for good; not beside one that goes back.
        shrinks: Whether `at_stage_start` changes what a step of the stage costs.
    """

    key = "control"
    goes_back: bool = False
    decides: bool = False
    shrinks: bool = False

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse what the control cannot steer, before anything is trained.

        Args:
            module: The search module of a stage.
            callbacks: The callbacks that watch.

        Raises:
            ConfigError: Such a search.
        """

    def at_stage_start(self, module: Any) -> None:
        """Act at the start of a stage; not called where one is resumed."""

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Return how many search epochs must be kept, so that the control can go back to them."""
        return 0

    def val_batches(self, space: SearchSpace, number: int, epochs: int) -> int:
        """Return how many batches of `val`, of `number` in all, it evaluates in a search of so many epochs."""
        return 0
