"""What a configuration builds: a part, which knows the key that it stands under."""

from collections.abc import Mapping
from typing import Any, Self


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
