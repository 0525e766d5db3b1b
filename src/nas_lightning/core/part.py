"""The base class of parts: objects that a configuration builds and that know their key in it."""

import traceback
from collections.abc import Mapping
from typing import Any, Self
from weakref import WeakValueDictionary

_BUILT: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Last object built at each key of a configuration, also of classes that are not a `Part`."""
OURS = ("nas_lightning", "torch", "torchvision", "torchmetrics", "lightning", "hydra", "omegaconf", "pydantic")
"""Packages whose frames in a traceback are not those of a user's part."""


class Part:
    """A part of a method: relaxation, hypergradient, perturbation, regularizer, selector, control, evaluator.

    Attributes:
        key: Key of the part in the configuration, such as `regularizer.NAME`; its messages begin with it. A part
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
    """Record the object built at a key, so that a fault in it can be located."""
    _BUILT[key] = part


def place_of_fault(error: BaseException) -> str | None:
    """Return the part and the hook that an exception passed through, `regularizer.mine.on_op`; None where none did.

    A user's part takes precedence over one of this package, because the fault is likelier there. Of several the
    outermost is returned, whose hook was called first.
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
