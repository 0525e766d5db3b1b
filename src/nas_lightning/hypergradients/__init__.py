"""Hypergradients estimate the gradient of the outer problem. One idea a file, one signature for all."""

from nas_lightning.core.bilevel import Bilevel, Hypergradient
from nas_lightning.hypergradients.first_order import FirstOrder, first_order
from nas_lightning.hypergradients.implicit import Implicit, implicit
from nas_lightning.hypergradients.inner import SGDStep
from nas_lightning.hypergradients.nothing import Nothing
from nas_lightning.hypergradients.unrolled import Unrolled, unrolled

__all__ = [
    "Bilevel",
    "FirstOrder",
    "Hypergradient",
    "Implicit",
    "Nothing",
    "SGDStep",
    "Unrolled",
    "first_order",
    "implicit",
    "unrolled",
]
