"""The base class of parts: objects that a configuration builds and that know their key in it."""

import traceback
from collections.abc import Mapping
from typing import Any, Self
from weakref import ref

_BUILT: dict[int, tuple[Any, str]] = {}
"""Weak reference and key of each part that a configuration has built, by id; also of classes that are no `Part`."""
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
    number = id(part)
    _BUILT[number] = (ref(part, lambda _: _BUILT.pop(number, None)), key)


def place_of_fault(error: BaseException) -> str | None:
    """Return the part and the hook that an exception passed through, `regularizer.mine.on_op`; None where none did.

    A part of this package is named only if it raised by itself: otherwise it merely called what did. Of several parts
    of users the outermost is returned, whose hook was called first.
    """
    place: str | None = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner, hook = frame.f_locals.get("self"), frame.f_code.co_name
        known = _BUILT.get(id(owner))
        key = known[1] if known is not None and known[0]() is owner else None
        if key is None and isinstance(owner, Part):
            key = owner.key
        place = None if key is None else f"{key}.{hook}"
        if place is not None and type(owner).__module__.partition(".")[0] not in OURS:
            return place
    return place
