"""Spaces of networks that estimate disparities, in the spirit of S6 of RobustDARTS.

Source: Zela et al., RobustDARTS (ICLR 2020), section 4 (S6); Saikia et al., AutoDispNet (ICCV 2019), and its released
code, which builds found networks. No search code is public, so order of the options and sizes in the search are ours.
Cells are of three kinds. Those of the encoder, `normal` and `reduce`, have two inputs and three nodes of which each
keeps its two best edges. Those of the decoder, `up`, have four inputs; the first node keeps an edge from each of them,
the others keep two. Shapes: E edges and O options of a choice: 9 + 9 + 15 edges.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import Kind
from nas_lightning.disparity.body import NODES, NORMAL, REDUCE, UP, Structure
from nas_lightning.disparity.network import DisparityNetwork
from nas_lightning.disparity.operations import DISPARITY_OPERATIONS
from nas_lightning.disparity.supernet import DisparitySupernet
from nas_lightning.spaces.space_of_cells import SpaceOfCells

INPUTS = {NORMAL: 2, REDUCE: 2, UP: 4}
"""Inputs of a cell, by its kind."""
KEEP = 2
BEYOND = 0.01
"""Share of the pixels whose disparity may be larger than what the correlation reaches."""
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]


class DisparitySpace(SpaceOfCells):
    """Cells of an encoder and a decoder that read a pair of images.

    Args:
        name: Name of the space; genotypes carry it.
        operations: The candidate operations of every edge, or by kind of cell.
        stems: Sizes of the first convolutions, each of stride 2.
        features: Reducing cells that read each image by itself.
        encoder: Cells behind the correlation, every second one of which halves the resolution.
        decoder: Cells that double the resolution.
        max_displacement: Largest displacement of the correlation, in pixels of its features.
        both_directions: Whether the correlation looks to both sides, as released; rectified pairs need one.
        stem_multiplier: Width of the first stem, as a multiple of the channels; each further one has twice that of the
            one before.
        prediction: What keeps predictions positive: `relu` or `softplus`.
        unit: Pixels of disparity that a prediction of 1 stands for within the network.

    Attributes:
        choices: `normal`, `reduce` and `up`, all of kind `op`.
        structure: The network around the cells.

    Raises:
        ConfigError: An unknown operation, or cells that do not fit each other.
    """

    inputs: ClassVar[Kind] = "stereo"
    sizes: ClassVar[tuple[str, ...]] = ("init_channels",)
    partial_channels = 1
    edge_weights = False

    def __init__(
        self,
        name: str,
        operations: Sequence[str] | Mapping[str, Sequence[str]],
        stems: Sequence[Positive] = (7, 5),
        features: Count = 1,
        encoder: Positive = 6,
        decoder: Positive = 4,
        max_displacement: Count = 40,
        both_directions: bool = False,
        stem_multiplier: Annotated[float, Field(gt=0)] = 2.0,
        prediction: Literal["relu", "softplus"] = "relu",
        unit: Annotated[float, Field(gt=0)] = 20.0,
    ) -> None:
        self.name = name
        self.structure = Structure(
            tuple(stems),
            features,
            encoder,
            decoder,
            max_displacement,
            both_directions,
            stem_multiplier,
            prediction,
            unit,
        )
        lists = _by_kind(operations)
        self.choices = {kind: _choice(kind, lists[kind]) for kind in INPUTS}
        self.concat = {kind: tuple(range(inputs, inputs + NODES)) for kind, inputs in INPUTS.items()}

    def variant(self, **changes: Any) -> Self:
        """Return a copy: nothing of this space varies.

        Raises:
            ConfigError: Partial channels or edge weights are asked for.
        """
        for name, value in changes.items():
            assert name in ("partial_channels", "edge_weights"), name
            if name == "partial_channels" and value != 1:
                raise ConfigError(
                    f"space={self.name}: strided skip connections and predictions read all channels, so partial"
                    " channels are not offered; leave them out, ~regularizer.partial_channels, or use another space"
                )
            if name == "edge_weights" and value:
                raise ConfigError(
                    f"space={self.name}: the first node of a decoder's cell keeps all its edges, so edges are not"
                    " weighted; leave the weights out, ~regularizer.edge_normalisation, or use another space"
                )
        return copy(self)

    def check_pairs(self, height: int, width: int) -> None:
        """Refuse pairs that networks of this space cannot take.

        Args:
            height: Rows of an image.
            width: Columns of an image.

        Raises:
            ConfigError: A side is no multiple of the total stride, or the correlation is wider than its features.
        """
        structure = self.structure
        for name, side in (("height", height), ("width", width)):
            if side % structure.multiple or side == 0:
                nearest = max(1, round(side / structure.multiple)) * structure.multiple
                raise ConfigError(
                    f"data.{name}={side}: networks of space={self.name} halve it {structure.levels} times; use a"
                    f" multiple of {structure.multiple}, e.g. data.{name}={nearest}"
                )
        columns = width // structure.scale
        if structure.max_displacement >= columns:
            raise ConfigError(
                f"space.max_displacement={structure.max_displacement}: the features of images of {width} columns have"
                f" {columns}; use at most space.max_displacement={columns - 1}"
            )

    def check_reach(self, share: float, max_disparity: float) -> None:
        """Refuse disparities that the correlation does not see, if they are more than a few.

        Args:
            share: Share of the pixels with such a disparity.
            max_disparity: Largest disparity, in pixels.

        Raises:
            ConfigError: They are more than `BEYOND`.
        """
        structure = self.structure
        if share > BEYOND:
            needed = math.ceil(max_disparity / structure.scale)
            raise ConfigError(
                f"space.max_displacement={structure.max_displacement}: reaches disparities of {structure.reach} px, and"
                f" {100 * share:.1f} % of the pixels have larger ones, up to {max_disparity:.4g} px; use"
                f" space.max_displacement={needed}"
            )

    def check_data(self, data: Any) -> None:
        """Refuse pairs by their size and their disparities; see `check_pairs` and `check_reach`.

        Raises:
            ConfigError: Either.
        """
        self.check_pairs(data.height, data.width)
        self.check_reach(data.share_beyond(self.structure.reach), data.max_disparity)

    def supernet(  # type: ignore[override] # of pairs, not of images with classes
        self, in_channels: int = 3, init_channels: int = 6, engine: str = "auto", mean: float = 8.0
    ) -> DisparitySupernet:
        """Build the supernet of this space; see `DisparitySupernet`.

        Raises:
            ConfigError: An unknown engine.
        """
        return DisparitySupernet(self.choices, self.structure, in_channels, init_channels, engine, mean)

    def network(  # type: ignore[override] # likewise
        self,
        genotype: Genotype,
        in_channels: int = 3,
        init_channels: int = 8,
        mean: float = 8.0,
        auxiliary: bool = False,
    ) -> DisparityNetwork:
        """Build the network of a genotype; see `DisparityNetwork`.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: An auxiliary head is asked for.
        """
        self.validate(genotype)
        if auxiliary:
            raise ConfigError(
                f"space={self.name}: networks predict at several scales already and have no auxiliary head; use"
                " evaluation.auxiliary=0"
            )
        return DisparityNetwork(genotype, self.structure, in_channels, init_channels, mean)

    def build_supernet(self, data: Any, outputs: int, settings: Any, engine: str = "auto") -> DisparitySupernet:
        """Build the supernet for pairs.

        Args:
            data: Where the pairs come from.
            outputs: Without effect: networks predict one map.
            settings: Settings of the search, of which `init_channels` is read.
            engine: How cells are computed.

        Raises:
            ConfigError: The pairs do not fit.
        """
        self.check_sizes(settings)
        self.check_data(data)
        return self.supernet(data.in_channels, settings.init_channels, engine, data.mean_disparity)

    def build_network(
        self, genotype: Genotype, data: Any, outputs: int, recipe: Any, auxiliary: bool = False
    ) -> DisparityNetwork:
        """Build the network of a genotype for pairs; arguments as for `build_supernet`, with the evaluator's recipe.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: The pairs do not fit, or an auxiliary head is asked for.
        """
        self.check_data(data)
        return self.network(genotype, data.in_channels, recipe.init_channels, data.mean_disparity, auxiliary)

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space; see `check_genotype`.

        Raises:
            GenotypeError: It names another set of cells, an edge or an operation that this space does not have, a node
                without inputs, or an input that the first node of `up` does not read; or not all nodes are joined.
        """
        super().validate(genotype)
        choice = self.choices[UP]
        for node in choice.keep_all:
            read = sorted(source for fed, _, source in genotype.cells[UP] if fed == node)
            if read != list(range(INPUTS[UP])):
                raise GenotypeError(
                    f"genotype of space '{genotype.space}' does not belong to space '{self.name}': node {node} of the"
                    f" {UP} cell reads {read}; it reads all inputs, {list(range(INPUTS[UP]))}"
                )
        for kind, nodes in self.concat.items():
            if tuple(sorted(genotype.concat[kind])) != nodes:
                raise GenotypeError(
                    f"genotype of space '{genotype.space}' does not belong to space '{self.name}': the {kind} cell"
                    f" joins nodes {list(genotype.concat[kind])}; allowed: {list(nodes)}"
                )


def _choice(kind: str, operations: tuple[str, ...]) -> Choice:
    """Build the choice of operations of a kind of cell."""
    inputs = INPUTS[kind]
    pairs = [(source, node) for node in range(inputs, inputs + NODES) for source in range(node)]
    sources, nodes = zip(*pairs, strict=True)
    keep_all = (inputs,) if kind == UP else ()
    return Choice(kind, "op", (operations,) * len(pairs), sources, nodes, KEEP, keep_all=keep_all)


def _by_kind(operations: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the candidate operations by kind of cell, checked."""
    if isinstance(operations, Mapping):
        if set(operations) != set(INPUTS):
            raise ConfigError(
                f"space.operations has {sorted(operations)}: lists are given for {', '.join(INPUTS)}, or one for all"
            )
        lists = {kind: tuple(operations[kind]) for kind in INPUTS}
    else:
        lists = dict.fromkeys(INPUTS, tuple(operations))
    for row in lists.values():
        if len(set(row)) < len(row):
            raise ConfigError(f"space.operations={list(row)}: contains duplicates")
        unknown = [op for op in row if op not in DISPARITY_OPERATIONS]
        if unknown or not row:
            raise ConfigError(
                f"space.operations: unknown operation {unknown[0] if unknown else '(none given)'};"
                f" allowed: {', '.join(DISPARITY_OPERATIONS)}"
            )
    return lists
