"""The contract of search spaces.

A space of images writes `supernet`, `network` and `check_image_size`; a space of another kind of data writes
`build_supernet` and `build_network`, with the sizes that it knows.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from torch import Generator, Tensor, nn

from nas_lightning.core.cell_graphs import OUTPUT, CellGraph, input_label
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.neighbours import drawn_move, moves

Kind = Literal["images", "text", "stereo", "points", "graphs"]
"""Kinds of data: labelled images, columns of text, stereo pairs with their disparity, labelled point clouds, graphs
with labelled nodes."""
SIZES = ("init_channels", "layers", "stem", "hidden", "dropout")
"""Keys of `search` that size a supernet; each space knows some of them, and the others are null."""


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


class SearchSpace:
    """A search space: its choices, its supernet and its discrete networks.

    Attributes:
        name: Its name.
        choices: Its choices by name.
        inputs: Kind of data that its networks read.
        sizes: Keys of `search` that size its supernet.
    """

    name: str
    choices: dict[str, Choice]
    inputs: ClassVar[Kind] = "images"
    sizes: ClassVar[tuple[str, ...]] = ("init_channels", "layers", "stem")

    def build_supernet(self, data: Any, outputs: int, settings: Any, engine: str = "auto") -> nn.Module:
        """Build the supernet of a search: `supernet(inputs, mixing, active=None)` → outputs.

        Args:
            data: The data source, which knows the sizes of its inputs.
            outputs: Number of outputs.
            settings: The section `search`.
            engine: How nodes are computed; see `supernet`.

        Raises:
            ConfigError: Sizes do not fit the space or the data.
        """
        self.check_sizes(settings)
        self.check_image_size(data.image_size, settings.layers, settings.stem)
        return self.supernet(
            outputs, data.in_channels, settings.init_channels, settings.layers, settings.stem, engine=engine
        )

    def build_network(
        self, genotype: Genotype, data: Any, outputs: int, recipe: Any, auxiliary: bool = False
    ) -> nn.Module:
        """Build the discrete network of a retraining: `network(inputs)` → outputs.

        Args:
            genotype: The genotype.
            data: The data source, which knows the sizes of its inputs.
            outputs: Number of outputs.
            recipe: The recipe, which sizes the network.
            auxiliary: Whether to build the auxiliary head.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: Sizes do not fit the space or the data.
        """
        return self.network(
            genotype, outputs, data.in_channels, recipe.init_channels, recipe.layers, auxiliary, recipe.stem
        )

    def check_sizes(self, settings: Any) -> None:
        """Refuse sizes of a supernet that the space does not know, and missing ones that it needs.

        Args:
            settings: The section `search`.

        Raises:
            ConfigError: Such a size.
        """
        self._check_sizes("search", {key: getattr(settings, key) for key in SIZES})

    def check_recipe(self, recipe: Any, image_size: int) -> None:
        """Refuse sizes of networks that the space does not know or that are missing, and images that do not fit.

        Args:
            recipe: The recipe of a retraining on images.
            image_size: Side of the images.

        Raises:
            ConfigError: One of them.
        """
        sizes = {"init_channels": recipe.init_channels, "layers": recipe.layers, "stem": recipe.stem}
        self._check_sizes("evaluation", sizes)
        self.check_image_size(image_size, recipe.layers, recipe.stem)

    def _check_sizes(self, section: str, sizes: Mapping[str, Any]) -> None:
        known = ", ".join(f"{section}.{key}" for key in self.sizes) or f"those of the section space, not of {section}"
        for key, value in sizes.items():
            if value is not None and key not in self.sizes:
                raise ConfigError(
                    f"{section}.{key}={value}: space={self.name} has no such size; its sizes are {known}; use"
                    f" {section}.{key}=null"
                )
            if value is None and key in self.sizes:
                raise ConfigError(f"{section}.{key}=null: space={self.name} needs it; give {section}.{key}=VALUE")

    @property
    def offers_skip(self) -> bool:
        """Whether operations of the supernet are skip connections, `skip_connect`."""
        choices = [choice for choice in self.choices.values() if choice.kind == "op"]
        return any("skip_connect" in row for choice in choices for row in choice.options)

    def extent(self, settings: Any, image_size: int) -> float:
        """Return how many numbers one map of each cell has together, for an image, by which memory is bounded.

        Args:
            settings: The section `search`, or a recipe.
            image_size: Side of the images.
        """
        pixels = image_size**2 * (1 if settings.stem == "cifar" else 1 / 64)
        return pixels * (settings.init_channels or 0) * (settings.layers or 0)

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
        raise NotImplementedError

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
        raise NotImplementedError

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise option strengths, each [R, O]; `keep` edges a node replace the number of the space."""
        raise NotImplementedError

    def sparse_genotype(
        self, scores: Mapping[str, Tensor], threshold: float, options: int = 1, every: bool = False
    ) -> Genotype:
        """Discretise strengths that do not compete: keep what reaches a threshold.

        Args:
            scores: Strengths of the options by choice, each [R, O].
            threshold: Least strength of an option that is kept.
            options: Most options of an edge.
            every: Consider every edge of a node, not only as many as the space keeps.

        Raises:
            GenotypeError: A cell is left without an edge, or the space has no such genotypes.
        """
        raise GenotypeError(
            f"space={self.name}: each of its rows takes an option, whatever its strength; use selector=magnitude"
        )

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a path uniformly: zeros and ones by choice, each [R, O]; `none=False` leaves that operation out."""
        raise NotImplementedError

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype of a drawn path, edge by edge as it was drawn."""
        raise NotImplementedError

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, its inverse: zeros and ones by choice, each [R, O].

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        raise NotImplementedError

    def validate(self, genotype: Genotype) -> None:
        """Raise GenotypeError where the genotype cannot be built in this space."""
        raise NotImplementedError

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """Return the genotypes that differ from one in a single decision; see `core.neighbours`.

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        path = self.path_of(genotype)
        return [self.genotype_of(move(path)) for kind in moves(self.choices, path) for move in kind]

    def mutate(self, genotype: Genotype, generator: Generator | None = None) -> Genotype:
        """Draw a neighbour: another operation or another source with equal chances, then uniformly.

        Args:
            genotype: The genotype.
            generator: The generator to draw from; None is torch's global one.

        Returns:
            The genotype itself where it has no neighbours.

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        path = self.path_of(genotype)
        move = drawn_move(self.choices, path, generator)
        return genotype if move is None else self.genotype_of(move(path))

    def graphs(self, genotype: Genotype) -> dict[str, CellGraph]:
        """Return the graphs of the cells of a genotype, with operations in their nodes; see `core.cell_graphs`.

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        self.validate(genotype)
        return {
            name: CellGraph.of_cell(edges, genotype.concat[name], min(self.choices[name].nodes))
            for name, edges in genotype.cells.items()
        }

    def graph_labels(self) -> tuple[str, ...]:
        """Return all labels that nodes of `graphs` can have: inputs, operations, the output."""
        cells = [choice for choice in self.choices.values() if choice.kind == "op"]
        inputs = max(min(choice.nodes) for choice in cells)
        operations = dict.fromkeys(op for choice in cells for row in choice.options for op in row)
        return (*map(input_label, range(inputs)), *operations, OUTPUT)

    def numbering(self) -> Sequence[int] | None:
        """Return the places, in the order of `enumeration`, of a benchmark's architectures 0, 1, …; None: the same."""
        raise NotImplementedError

    def placed_operations(self, network: nn.Module, genotype: Genotype) -> dict[tuple[str, int], list[nn.Module]]:
        """Return the operations of a discrete network by choice and row, one for each cell that has them.

        What a network has besides must cost the same whatever the genotype; see `core.costs`.

        Args:
            network: The network of the genotype.
            genotype: The genotype.

        Raises:
            ConfigError: Costs of operations do not add up to those of networks: by default.
        """
        raise ConfigError(
            f"space={self.name}: cannot tell what each operation costs in a network, so costs can be neither an"
            " objective nor a limit; leave them out, or use another space"
        )

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Raise ConfigError where networks of this space cannot take images of that side."""
        raise NotImplementedError

    def narrowed(self, kept: Mapping[str, Tensor]) -> Self:
        """Return a copy whose supernet has these options alone, boolean [R, O] by choice; others keep their place."""
        other = copy(self)
        other.choices = {
            name: choice.restricted(kept[name]) if name in kept else choice for name, choice in self.choices.items()
        }
        return other

    def variant(self, **changes: Any) -> "SearchSpace":
        """Return a copy with other attributes: `partial_channels`, `edge_weights`."""
        raise NotImplementedError
