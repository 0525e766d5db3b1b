"""What may be searched: the contract of search spaces.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Generator, Tensor, nn

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.genotypes import Genotype


@dataclass(frozen=True)
class EdgeInfo:
    """Where a mixed operation stands: what the hooks of a regularizer may know of it."""

    choice: str
    cell: int
    row: int
    source: int
    node: int
    stride: int
    channels: int


class SearchSpace(Protocol):
    """What may be searched."""

    name: str
    choices: dict[str, Choice]

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
        engine: str = "auto",
    ) -> nn.Module:
        """The supernet: `supernet(inputs, mixing, active=None)` → outputs."""
        ...

    def network(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 36,
        layers: int = 20,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> nn.Module:
        """The discrete network of a genotype."""
        ...

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise option strengths, each [R, O]."""
        ...

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """A uniformly drawn path, zeros and ones by choice, each [R, O]; `none=False` leaves that operation out."""
        ...

    def genotype_of(self, path: Mixing) -> Genotype:
        """The genotype of a drawn path, edge by edge as it was drawn."""
        ...

    def validate(self, genotype: Genotype) -> None:
        """Raise GenotypeError where the genotype cannot be built in this space."""
        ...

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Raise ConfigError where networks of this space cannot take images of that side."""
        ...

    def variant(self, **changes: Any) -> "SearchSpace":
        """A copy with other attributes: `partial_channels`, `edge_weights`."""
        ...
