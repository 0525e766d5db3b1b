"""The contract of search spaces.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Generator, Tensor, nn

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.genotypes import Genotype


@dataclass(frozen=True)
class EdgeInfo:
    """The place of a mixed operation in the supernet, for the hooks of regularizers.

    Attributes:
        choice: Name of the choice of operations.
        cell: Index of the cell.
        row: Row of the choice.
        source: Node that the edge leaves.
        node: Node that the edge enters.
        stride: Stride of the operations.
        channels: Channels that the operations compute.
    """

    choice: str
    cell: int
    row: int
    source: int
    node: int
    stride: int
    channels: int


class SearchSpace(Protocol):
    """A search space: its choices, its supernet and its discrete networks."""

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
        """Build the supernet: `supernet(inputs, mixing, active=None)` → outputs."""
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
        """Build the discrete network of a genotype."""
        ...

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise option strengths, each [R, O]; `keep` edges a node replace the number of the space."""
        ...

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a path uniformly: zeros and ones by choice, each [R, O]; `none=False` leaves that operation out."""
        ...

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype of a drawn path, edge by edge as it was drawn."""
        ...

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, its inverse: zeros and ones by choice, each [R, O].

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        ...

    def validate(self, genotype: Genotype) -> None:
        """Raise GenotypeError where the genotype cannot be built in this space."""
        ...

    def numbering(self) -> Sequence[int] | None:
        """Return the places, in the order of `enumeration`, of a benchmark's architectures 0, 1, …; None: the same."""
        ...

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Raise ConfigError where networks of this space cannot take images of that side."""
        ...

    def variant(self, **changes: Any) -> "SearchSpace":
        """Return a copy with other attributes: `partial_channels`, `edge_weights`."""
        ...
