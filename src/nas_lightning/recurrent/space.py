"""The space of recurrent cells of DARTS, for networks that read text.

Source: Liu et al., DARTS (ICLR 2019), section 3.2 and appendix A.2, and its released code: eight nodes after the first,
each with one source among the nodes before and one activation; `none` takes part in the search only.
Deviation: random paths never hold `none`, as in the released code of Li & Talwalkar (UAI 2019) for this space, which
leaves it out here, but not for images.
Shapes: R rows (edges) and O options of the choice, N nodes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field
from torch import Tensor

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import Kind
from nas_lightning.recurrent.cell import ACTIVATIONS, NONE
from nas_lightning.recurrent.network import CELL, RecurrentNetwork
from nas_lightning.recurrent.supernet import RecurrentSupernet
from nas_lightning.recurrent.words import Dropouts
from nas_lightning.spaces.cell_genotypes import (
    strongest_edges,
)
from nas_lightning.spaces.fixed_edges import FixedEdges
from nas_lightning.spaces.space_of_cells import SpaceOfCells


class RecurrentSpace(FixedEdges, SpaceOfCells):
    """One cell of nodes that each have one source and one activation.

    Node 0 is made of input and state; nodes 1 to N follow, each linked to every node before: 36 edges with eight nodes.

    Args:
        name: Name of the space; genotypes carry it.
        operations: The options of every edge: `none` and activations.
        num_nodes: N.

    Attributes:
        choices: `cell` of kind `op`: the edges, node by node.

    Raises:
        ConfigError: An unknown operation, one that is given twice, or no activation.
    """

    inputs: ClassVar[Kind] = "text"
    sizes: ClassVar[tuple[str, ...]] = ("hidden", "dropout")
    no_edge_weights = "a node of its cell takes one edge, by the weights of its operations"

    def __init__(self, name: str, operations: Sequence[str], num_nodes: Annotated[int, Field(ge=1)] = 8) -> None:
        self.name = name
        known = (NONE, *ACTIVATIONS)
        given = list(operations)
        wrong = [op for op in given if op not in known or given.count(op) > 1]
        if wrong or not set(given) - {NONE}:
            raise ConfigError(
                f"space.operations={given}: {f'{wrong[0]} is unknown or given twice' if wrong else 'no activation'};"
                f" allowed: each of {', '.join(known)} once, among them an activation"
            )
        pairs = [(source, node) for node in range(1, num_nodes + 1) for source in range(node)]
        sources, nodes = zip(*pairs, strict=True)
        self.concat = {CELL: tuple(range(1, num_nodes + 1))}
        self.choices: dict[str, Choice] = {
            CELL: Choice(CELL, "op", (tuple(given),) * len(pairs), sources, nodes, keep=1, none_drawn=False)
        }

    def variant(self, **changes: Any) -> Self:
        """Return the same space: it can be changed in nothing.

        Raises:
            ConfigError: Partial channels or edge weights are asked for.
        """
        divisor = changes.get("partial_channels", 1)
        if divisor != 1:
            raise ConfigError(
                f"space={self.name}: the units of a recurrent cell cannot bypass it in part; leave the partial channels"
                " out, ~regularizer.partial_channels and ~regularizer.edge_normalisation, or use another method"
            )
        return super().variant(**changes)

    def build_supernet(self, data: Any, outputs: int, settings: Any, engine: str = "auto") -> RecurrentSupernet:
        """Build the supernet of a search.

        Args:
            data: The text.
            outputs: Number of words.
            settings: The section `search`, with `hidden` and `dropout`.
            engine: See `supernet`.

        Raises:
            ConfigError: A size is missing, or is none of this space's.
        """
        self.check_sizes(settings)
        return self.supernet(outputs, settings.hidden, _dropouts(settings.dropout), engine)

    def build_network(
        self, genotype: Genotype, data: Any, outputs: int, recipe: Any, auxiliary: bool = False
    ) -> RecurrentNetwork:
        """Build the discrete network of a retraining.

        Args:
            genotype: The genotype.
            data: The text.
            outputs: Number of words.
            recipe: The recipe, with `hidden` and `dropout`.
            auxiliary: Without effect: there is no auxiliary head.

        Raises:
            GenotypeError: The genotype does not belong to this space.
        """
        return self.network(genotype, outputs, recipe.hidden, _dropouts(recipe.dropout))

    def supernet(  # type: ignore[override]  # sizes of a language model
        self, num_words: int, hidden: int = 300, dropout: Dropouts | None = None, engine: str = "auto"
    ) -> RecurrentSupernet:
        """Build the supernet of this space; see `RecurrentSupernet`.

        Args:
            num_words: Words of the vocabulary.
            hidden: Units of embedding and state.
            dropout: Probabilities of the dropouts; None drops nothing.
            engine: `auto`, `fast` or `reference`.

        Raises:
            ConfigError: An unknown engine.
        """
        return RecurrentSupernet(self.choices[CELL], num_words, hidden, dropout or Dropouts(), engine)

    def network(  # type: ignore[override]  # sizes of a language model
        self, genotype: Genotype, num_words: int, hidden: int = 850, dropout: Dropouts | None = None
    ) -> RecurrentNetwork:
        """Build the discrete network of a genotype; see `RecurrentNetwork`.

        Args:
            genotype: The genotype.
            num_words: Words of the vocabulary.
            hidden: Units of embedding and state.
            dropout: Probabilities of the dropouts; None drops nothing.

        Raises:
            GenotypeError: The genotype does not belong to this space.
        """
        self.validate(genotype)
        return RecurrentNetwork(genotype, num_words, hidden, dropout or Dropouts())

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Refuse images.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"space={self.name}: its networks read text, not images; use data=grammar, or another space")

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: of each node the strongest edge by its best option but `none`; see `strongest_edges`.

        Args:
            scores: Strengths of the options, [R, O].
            keep: Ignored: a node has one source.

        Raises:
            GenotypeError: A strength is not a number.
        """
        return Genotype(self.name, strongest_edges(self.choices, scores), dict(self.concat))

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype with exactly the edges of a path.

        Args:
            path: [R, O]: which option of which edge is taken; any value but zero counts as taken.

        Raises:
            GenotypeError: A node has no edge or several, or an edge has several options or `none`.
        """
        genotype = super().genotype_of(path)
        self._check(genotype, f"path of space '{self.name}'")
        return genotype

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space.

        Raises:
            GenotypeError: It names another set of cells, an edge or an operation that this space does not have, `none`,
                or a node without a source or with several.
        """
        super().validate(genotype)
        self._check(genotype, f"genotype of space '{genotype.space}' does not belong to space '{self.name}'")

    def _check(self, genotype: Genotype, where: str) -> None:
        """Refuse what the cells for images of other spaces may hold."""
        edges = genotype.cells[CELL]
        nodes = [node for node, _, _ in edges]
        several = next((node for node in nodes if nodes.count(node) > 1), None)
        if several is not None:
            raise GenotypeError(f"{where}: node {several} has {nodes.count(several)} sources; allowed: 1")
        without = sorted(set(self.choices[CELL].nodes) - set(nodes))
        if without:
            raise GenotypeError(f"{where}: node {without[0]} has no source; every node of the cell needs one")
        nothing = next((edge for edge in edges if edge[1] == NONE), None)
        if nothing is not None:
            activations = [op for op in self.choices[CELL].options[0] if op != NONE]
            raise GenotypeError(
                f"{where}: node {nothing[0]} has the operation {NONE}; allowed: {', '.join(activations)}"
            )


def _dropouts(section: Any) -> Dropouts:
    """Return the probabilities of a section `dropout` of the configuration."""
    return Dropouts(section.words, section.inputs, section.x, section.hidden, section.outputs)
