"""The spaces of NAS-Bench-1Shot1: parts of NAS-Bench-101 that a supernet can search.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), section 3, and its released code. A cell has choice blocks
between its input and its output. A block chooses its operation and, where there are more than it takes, its parents
among the input and the earlier blocks; the output chooses its parents likewise. Blocks that do not reach the output are
pruned afterwards, so that several genotypes are one architecture of the benchmark.
Deviation: of equal strengths the lower one is taken; the released code leaves that open.
Shapes: n blocks, O = 3 operations; choices `ops` [n, O], `output` [1, n + 1] and `inputs` [R, ≤ n], in that order.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.cell_graphs import OUTPUT as OUTPUT_LABEL
from nas_lightning.core.cell_graphs import CellGraph, input_label
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.modules import INPUT, OPERATIONS, Module, block, of_choices
from nas_lightning.spaces.cell_genotypes import strengths_of
from nas_lightning.spaces.enumeration import count
from nas_lightning.spaces.fixed_edges import FixedEdges
from nas_lightning.spaces.nasbench1shot1_supernet import NasBench1Shot1Supernet
from nas_lightning.spaces.nasbench101_networks import INIT_CHANNELS, MODULES, NasBench101Network
from nas_lightning.spaces.sampling import sample_path

OPS, OUTPUT, INPUTS = "ops", "output", "inputs"
"""Names of the choices, and of their fields in a genotype."""


class NasBench1Shot1Space(FixedEdges):
    """Cells of choice blocks, one kind of cell for the whole network.

    Args:
        name: Name of the space; genotypes carry it.
        parents: For each block, the number of its parents.
        output: Number of parents of the output.
        batch_norm_momentum: Share of the batch in the running statistics of the supernet. All released supernets of
            this space have 0.997 by mistake for 0.003, so that statistics are those of about the last batch.
        network_batch_norm_momentum: The same for networks; 0.003 is that of the benchmark.

    Attributes:
        choices: `ops` of kind `op`, `output` of kind `output`, `inputs` of kind `input`.

    Raises:
        ConfigError: A block takes more parents than there are earlier nodes.
    """

    no_edge_weights = "inputs of blocks have weights already"

    def __init__(
        self,
        name: str,
        parents: Sequence[Annotated[int, Field(ge=1)]],
        output: Annotated[int, Field(ge=1)],
        batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.003,
        network_batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.003,
    ) -> None:
        self.name = name
        self.parents, self.output = tuple(parents), output
        self.batch_norm_momentum = batch_norm_momentum
        self.network_batch_norm_momentum = network_batch_norm_momentum
        blocks = len(self.parents)
        for number, taken in enumerate((*self.parents, output), start=1):
            if taken > number:
                where = "space.output" if number > blocks else f"space.parents: block {number}"
                raise ConfigError(f"{where} takes {taken} parents of {number}; allowed: 1 to {number}")
        numbers = tuple(range(1, blocks + 1))
        names = (INPUT, *map(block, numbers))
        choosing = tuple(number for number in numbers if self.parents[number - 1] < number)
        self.choices: dict[str, Choice] = {
            OPS: Choice(OPS, "op", (OPERATIONS,) * blocks, numbers, numbers),
            OUTPUT: Choice(OUTPUT, "output", (names,), (0,), (blocks + 1,), take=(output,)),
        }
        if choosing:
            take = tuple(self.parents[number - 1] for number in choosing)
            options = tuple(names[:number] for number in choosing)
            self.choices[INPUTS] = Choice(INPUTS, "input", options, (0,) * len(choosing), choosing, take=take)

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Refuse images that two poolings leave nothing of.

        Raises:
            ConfigError: The side is less than 4 pixels, or the stem is another than `cifar`.
        """
        if stem != "cifar":
            raise ConfigError(
                f"stem={stem}: networks of NAS-Bench-101 have the stem cifar only; use search.stem=cifar and"
                " evaluation.stem=cifar"
            )
        if image_size < 4:
            raise ConfigError(
                f"data.image_size={image_size}: networks of NAS-Bench-101 halve the image twice; use images of at least"
                " 4x4 pixels, data.image_size=4"
            )

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 3,
        stem: str = "cifar",
        engine: str = "auto",
    ) -> NasBench1Shot1Supernet:
        """Build the supernet of this space, with `layers` cells a stage; see `NasBench1Shot1Supernet`.

        Raises:
            ConfigError: An unknown engine, or a channel count that `partial_channels` does not divide.
        """
        return NasBench1Shot1Supernet(
            self.choices,
            self.partial_channels,
            num_classes,
            in_channels,
            init_channels,
            layers,
            engine,
            self.batch_norm_momentum,
        )

    def network(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = MODULES,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> NasBench101Network:
        """Build the network of the benchmark for a genotype, with `layers` modules a stage; see `NasBench101Network`.

        Raises:
            GenotypeError: The genotype does not belong to this space.
        """
        self.validate(genotype)
        return NasBench101Network(
            self._module(genotype),
            num_classes,
            in_channels,
            init_channels,
            layers,
            auxiliary,
            self.network_batch_norm_momentum,
        )

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: the strongest operation of each block, and as many of the strongest parents as each takes.

        Args:
            scores: Strengths of the options by choice, each [R, O].
            keep: Ignored: the numbers of parents are those of the space.

        Raises:
            GenotypeError: A strength is not a number.
        """
        return self._genotype(
            {
                name: [
                    _strongest(row[: len(options)], k)
                    for row, options, k in zip(strengths_of(scores, name), choice.options, choice.taken, strict=True)
                ]
                for name, choice in self.choices.items()
            }
        )

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a path uniformly, zeros and ones [R, O] by choice, on the CPU; see `sample_path`.

        Args:
            generator: The generator to draw from; None is torch's global one.
            none: Without effect: no operation is `none`.
        """
        return sample_path(self.choices, generator, none)

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype of a drawn path.

        Args:
            path: By choice [R, O]: which options of which row are taken; any value but zero counts as taken.

        Raises:
            GenotypeError: A row takes another number of options than the space's.
        """
        taken: dict[str, list[list[int]]] = {}
        for name, choice in self.choices.items():
            taken[name] = [row.nonzero().flatten().tolist() for row in path[name].cpu()]
            for row, (found, k) in enumerate(zip(taken[name], choice.taken, strict=True)):
                if len(found) != k:
                    raise GenotypeError(
                        f"path of space '{self.name}': row {row} of {name} takes options {found}; {k} of"
                        f" {len(choice.options[row])} must be taken"
                    )
        return self._genotype(taken)

    def _genotype(self, taken: Mapping[str, list[list[int]]]) -> Genotype:
        """Return the genotype with these options of each row, in increasing order."""
        choosing = self.choices[INPUTS].nodes if INPUTS in self.choices else ()
        return Genotype(
            self.name,
            choices={
                OPS: [OPERATIONS[option] for (option,) in taken[OPS]],
                INPUTS: {str(number): row for number, row in zip(choosing, taken.get(INPUTS, []), strict=True)},
                OUTPUT: taken[OUTPUT][0],
            },
        )

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, zeros and ones [R, O] by choice.

        Raises:
            GenotypeError: It is not of this space.
        """
        self.validate(genotype)
        path = {name: choice.uniform() * 0 for name, choice in self.choices.items()}
        for row, op in enumerate(genotype.choices[OPS]):
            path[OPS][row, OPERATIONS.index(op)] = 1.0
        path[OUTPUT][0, list(genotype.choices[OUTPUT])] = 1.0
        for row, number in enumerate(self.choices[INPUTS].nodes if INPUTS in self.choices else ()):
            path[INPUTS][row, list(genotype.choices[INPUTS][str(number)])] = 1.0
        return path

    def _module(self, genotype: Genotype) -> Module:
        module = of_choices(genotype.choices)
        if module is None:
            raise GenotypeError(
                f"genotype of space '{genotype.space}' does not belong to space '{self.name}': it needs the choices"
                f" {OPS}, {INPUTS} and {OUTPUT}"
            )
        return module

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space.

        Raises:
            GenotypeError: It has another number of blocks, or a block another number of parents.
        """
        module = self._module(genotype)
        found = [len(parents) for parents in module.parents[1:]]
        if found != [*self.parents, self.output]:
            raise GenotypeError(
                f"genotype of space '{genotype.space}' does not belong to space '{self.name}': its blocks and its"
                f" output have {', '.join(map(str, found))} parents; allowed: {', '.join(map(str, self.parents))} and"
                f" {self.output}"
            )

    def graphs(self, genotype: Genotype) -> dict[str, CellGraph]:
        """Return the graph of the module, without blocks that do not reach its output, under `module`.

        Raises:
            GenotypeError: It is not of this space.
        """
        self.validate(genotype)
        module = self._module(genotype).pruned
        labels = (input_label(0), *module.operations, OUTPUT_LABEL)
        links = tuple((parent, node) for node, parents in enumerate(module.parents) for parent in parents)
        return {"module": CellGraph(labels, links)}

    def numbering(self) -> None:
        """Return None: the benchmark names its architectures by hashes."""

    def count(self) -> int:
        """Count the genotypes that `genotype` can return; several may be one architecture of the benchmark."""
        return count(self)


def _strongest(strengths: Sequence[float], k: int) -> list[int]:
    """Return the places of the k largest, in increasing order; of equals the lower ones."""
    return sorted(sorted(range(len(strengths)), key=lambda place: -strengths[place])[:k])
