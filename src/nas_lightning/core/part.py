"""What a configuration builds: a part, which knows the key that it stands under."""

import traceback
from collections.abc import Mapping
from typing import Any, Self
from weakref import WeakValueDictionary

_BUILT: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""What a configuration has built last at each of its keys, also of classes that are no `Part`."""
OURS = ("nas_lightning", "torch", "torchvision", "torchmetrics", "lightning", "hydra", "omegaconf", "pydantic")
"""Packages whose frames in a traceback are not those of a user's part."""


class Part:
    """A part of a method: relaxation, hypergradient, perturbation, regularizer, selector, control, evaluator.

    Attributes:
        key: Where the part stands in the configuration, such as `regularizer.NAME`; its messages begin with it. A part
            that no configuration builds has the key of its class.
    """

    key: str = "part"

    @classmethod
    def standing_at(cls, key: str, arguments: Mapping[str, Any]) -> Self:
        """Construct the part so that its constructor, which may refuse arguments, already knows the key."""
        part = cls.__new__(cls)
        object.__setattr__(part, "key", key)  # also of a frozen dataclass, and before nn.Module is initialised
        part.__init__(**arguments)  # type: ignore[misc] # what calling the class does
        return part


def note_built(key: str, part: Any) -> None:
    """Remember what stands at a key, so that a fault in it can be named."""
    _BUILT[key] = part


def place_of_fault(error: BaseException) -> str | None:
    """Return the part and the hook that an exception passed through, `regularizer.mine.on_op`; None where none did.

    A part that is not one of this package counts before one that is: it is what called, or was called, in error. Of
    several the outermost counts, whose hook was called first.
    """
    ours: str | None = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner, hook = frame.f_locals.get("self"), frame.f_code.co_name
        if owner is None:
            continue
        key = next((key for key, part in _BUILT.items() if part is owner), None)
        if key is None and isinstance(owner, Part):
            key = owner.key
        if key is None:
            continue
        if type(owner).__module__.partition(".")[0] not in OURS:
            return f"{key}.{hook}"
        ours = f"{key}.{hook}"
    return ours
