"""Spaces of layers: a chain of inverted residual blocks whose expansion and kernel are chosen, or that are left out.

Source: the space of Chu et al., NoisyDARTS, as its released network and the model files of FairNAS (Chu et al., ICCV
2021) show it; with `residual: outer`, that of Cai et al., ProxylessNAS (ICLR 2019), section 3 and released code.
Shapes: R layers (rows) and O options of the choice.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Generator, Tensor, nn

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype, layers_of
from nas_lightning.core.space import SearchSpace
from nas_lightning.layered.network import LayerNetwork
from nas_lightning.layered.options import LAYERS, NONE, SKIP, block_name
from nas_lightning.layered.structure import build_structure
from nas_lightning.layered.supernet import LayerSupernet
from nas_lightning.spaces.cell_genotypes import strengths_of
from nas_lightning.spaces.enumeration import count
from nas_lightning.spaces.sampling import sample_path

Count = Annotated[int, Field(ge=1)]
Stride = Annotated[int, Field(ge=1, le=2)]
Multiplier = Annotated[float, Field(gt=0)]


class LayerSpace(SearchSpace):
    """Stages of layers; the first layer of a stage changes width and, by its stride, resolution.

    Options of a layer: a block for each expansion and kernel, in that order, and where input and output have the same
    shape a last one that leaves the image as it is.

    Args:
        name: Name of the space; genotypes carry it.
        widths: Channels of each stage.
        depths: Layers of each stage.
        strides: Stride of the first layer of each stage.
        expansions: Expansions of the blocks.
        kernels: Sides of the depthwise kernels, odd.
        residual: `inner`: each block adds its input itself, and the last option is `skip_connect`. `outer`: the input
            is added to the mixture, and the last option is `none`. Networks are the same.
        stem_width: Channels of the first convolution.
        stem_stride: Its stride.
        first_width: Channels of the first block, which is fixed.
        tail_width: Channels of the last convolution.
        width: Multiplier of all channels.
        depth: Multiplier of the numbers of layers.
        affine: Whether normalisations of the supernet's blocks have a scale and a shift.
        se: Whether blocks of networks have squeeze-and-excitation; those of the supernet do not.
        activation: Activation of the blocks of networks, `relu6` or `swish`; the supernet has ReLU6.

    Attributes:
        choices: `layers` of kind `op`, a row a layer; rows of layers that change the shape have an option less.
        structure: Sizes of the network.

    Raises:
        ConfigError: The stages have different numbers of values, a kernel is even, or a value is given twice.
    """

    sizes: ClassVar[tuple[str, ...]] = ()
    partial_channels = 1
    edge_weights = False

    def __init__(
        self,
        name: str,
        widths: Sequence[Count],
        depths: Sequence[Count],
        strides: Sequence[Stride],
        expansions: Sequence[Count] = (3, 6),
        kernels: Sequence[Count] = (3, 5, 7),
        residual: Literal["inner", "outer"] = "inner",
        stem_width: Count = 32,
        stem_stride: Stride = 2,
        first_width: Count = 16,
        tail_width: Count = 1280,
        width: Multiplier = 1.0,
        depth: Multiplier = 1.0,
        affine: bool = True,
        se: bool = False,
        activation: Literal["relu6", "swish"] = "relu6",
    ) -> None:
        self.name = name
        self.residual, self.affine = residual, affine
        self.se, self.activation = se, activation
        self._largest = max(expansions, default=1)
        for key, values in (("expansions", expansions), ("kernels", kernels)):
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"space.{key}={list(values)}: needs different values; write space.{key}=[3]")
        even = next((kernel for kernel in kernels if kernel % 2 == 0), None)
        if even is not None:
            raise ConfigError(
                f"space.kernels={list(kernels)}: sizes of kernels are odd; use {even + 1} instead of {even}"
            )
        stages = (widths, depths, strides)
        self.structure = build_structure((stem_width, stem_stride), first_width, stages, tail_width, width, depth)
        blocks = tuple(block_name(expansion, kernel) for expansion in expansions for kernel in kernels)
        kept = (*blocks, SKIP if residual == "inner" else NONE)
        places = tuple(range(len(self.structure.layers)))
        self.choices: dict[str, Choice] = {
            LAYERS: Choice(
                LAYERS,
                "op",
                tuple(kept if plan.keeps_shape else blocks for plan in self.structure.layers),
                sources=places,
                nodes=tuple(place + 1 for place in places),
                none_selectable=True,
            )
        }

    @property
    def offers_skip(self) -> bool:
        """Whether a layer has a skip connection: an option, or the outer shortcut."""
        return any(plan.keeps_shape for plan in self.structure.layers)

    def variant(self, **changes: Any) -> Self:
        """Return a copy: nothing of this space varies.

        Raises:
            ConfigError: Partial channels or edge weights are asked for.
        """
        for name, value in changes.items():
            assert name in ("partial_channels", "edge_weights"), name
            if name == "partial_channels" and value != 1:
                raise ConfigError(
                    f"space={self.name}: layers change the number of channels, so no part of them can bypass a block;"
                    " leave partial channels out, ~regularizer.partial_channels, or use another space"
                )
            if name == "edge_weights" and value:
                raise ConfigError(
                    f"space={self.name}: a layer reads the one before it alone, so there are no edges to weight; leave"
                    " the weights out, ~regularizer.edge_normalisation, or use another space"
                )
        return copy(self)

    def check_image_size(self, image_size: int, layers: int | None = None, stem: str | None = None) -> None:
        """Refuse image sizes that the strides do not divide evenly.

        Raises:
            ConfigError: The side is not a multiple of the total stride.
        """
        stride = self.structure.total_stride
        if image_size % stride or image_size == 0:
            nearest = max(1, round(image_size / stride)) * stride
            raise ConfigError(
                f"data.image_size={image_size}: networks of space={self.name} reduce it by {stride}; use a multiple of"
                f" {stride}, e.g. data.image_size={nearest}, or smaller space.strides and space.stem_stride"
            )

    def check_recipe(self, recipe: Any, image_size: int) -> None:
        """Refuse sizes that the space fixes, an auxiliary head, and images that do not fit.

        Raises:
            ConfigError: One of them.
        """
        super().check_recipe(recipe, image_size)
        if recipe.auxiliary > 0:
            raise ConfigError(
                f"evaluation.auxiliary={recipe.auxiliary:g}: networks of space={self.name} have no auxiliary head; use"
                " evaluation.auxiliary=0"
            )

    def extent(self, settings: Any, image_size: int) -> float:
        """Return the numbers of the widest map of each layer together, for an image."""
        side, total = image_size / self.structure.stem_stride, 0.0
        for plan in self.structure.layers:
            total += self._largest * plan.inputs * side**2
            side /= plan.stride
        return total

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int | None = None,
        layers: int | None = None,
        stem: str | None = None,
        engine: str = "auto",
    ) -> LayerSupernet:
        """Build the supernet of this space; see `LayerSupernet`. Its sizes are those of the space.

        Raises:
            ConfigError: An unknown engine, or another size is asked for.
        """
        self._refuse_sizes(init_channels=init_channels, layers=layers, stem=stem)
        outer = self.residual == "outer"
        return LayerSupernet(self.choices[LAYERS], self.structure, outer, self.affine, num_classes, in_channels, engine)

    def network(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int | None = None,
        layers: int | None = None,
        auxiliary: bool = False,
        stem: str | None = None,
    ) -> LayerNetwork:
        """Build the network of a genotype; see `LayerNetwork`. Its sizes are those of the space.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: Another size is asked for, or an auxiliary head.
        """
        self._refuse_sizes(init_channels=init_channels, layers=layers, stem=stem)
        if auxiliary:
            raise ConfigError(f"auxiliary=True: networks of space={self.name} have no auxiliary head; use False")
        self.validate(genotype)
        names = tuple(genotype.choices[LAYERS])
        return LayerNetwork(names, self.structure, num_classes, in_channels, self.se, self.activation)

    def placed_operations(self, network: nn.Module, genotype: Genotype) -> dict[tuple[str, int], list[nn.Module]]:
        """Return the layers of a network by their rows: with an outer shortcut, too, they cost what the option does."""
        layers: Any = network.layers
        return {(LAYERS, row): [layer] for row, layer in enumerate(layers)}

    def _refuse_sizes(self, **sizes: Any) -> None:
        for key, value in sizes.items():
            if value is not None:
                raise ConfigError(
                    f"{key}={value}: space={self.name} has its own; use {key}=None, and space.width, space.depth or"
                    " space.strides for other sizes"
                )

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: the strongest option of each layer, the first of equals.

        Args:
            scores: Strengths of the options, `layers` [R, O].
            keep: Without effect: a layer takes one option.

        Raises:
            GenotypeError: A strength is not a number.
        """
        rows = zip(strengths_of(scores, LAYERS), self.choices[LAYERS].options, strict=True)
        return self._genotype([max(range(len(names)), key=lambda place: row[place]) for row, names in rows])

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a path uniformly, zeros and ones [R, O], on the CPU; see `sample_path`.

        Args:
            generator: The generator to draw from; None is torch's global one.
            none: Whether to draw `none` like any other option.
        """
        return sample_path(self.choices, generator, none)

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype of a drawn path.

        Args:
            path: `layers` [R, O]: which option of which layer is taken; any value but zero counts as taken.

        Raises:
            GenotypeError: A layer takes no option, several, or one that it does not have.
        """
        taken = [row.nonzero().flatten().tolist() for row in path[LAYERS].cpu()]
        for row, (found, names) in enumerate(zip(taken, self.choices[LAYERS].options, strict=True)):
            if len(found) != 1 or found[0] >= len(names):
                raise GenotypeError(
                    f"path of space '{self.name}': layer {row} takes options {found}; one of {len(names)} is taken"
                )
        return self._genotype([option for (option,) in taken])

    def _genotype(self, places: Sequence[int]) -> Genotype:
        names = [options[place] for options, place in zip(self.choices[LAYERS].options, places, strict=True)]
        return Genotype(self.name, choices={LAYERS: names})

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, zeros and ones [R, O].

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        self.validate(genotype)
        choice = self.choices[LAYERS]
        rows = zip(choice.options, genotype.choices[LAYERS], strict=True)
        return {LAYERS: choice.one_hot([options.index(name) for options, name in rows])}

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space.

        Raises:
            GenotypeError: It has another number of layers, or an option that a layer does not have.
        """
        where = f"genotype of space '{genotype.space}' does not belong to space '{self.name}'"
        hint = "" if genotype.space == self.name else f"; choose its own space: space={genotype.space}"
        layers = layers_of(genotype.choices)
        options = self.choices[LAYERS].options
        if layers is None:
            raise GenotypeError(f'{where}: it needs {{"{LAYERS}": [{options[0][0]}, …]}} under choices{hint}')
        if len(layers) != len(options):
            raise GenotypeError(f"{where}: it has {len(layers)} layers, the space has {len(options)}{hint}")
        for row, (name, names) in enumerate(zip(layers, options, strict=True)):
            if name not in names:
                raise GenotypeError(f"{where}: layer {row} is {name}; allowed: {', '.join(names)}{hint}")

    def numbering(self) -> None:
        """Return None: no benchmark has numbered these architectures."""

    def count(self) -> int:
        """Count the genotypes that `genotype` can return."""
        return count(self)
