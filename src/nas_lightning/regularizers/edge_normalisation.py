"""Edge normalisation: the edges into a node are weighted against each other (PC-DARTS)."""

import logging

from nas_lightning.core.choices import Choice
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace

log = logging.getLogger(__name__)


class EdgeNormalisation(Regularizer):
    """A node is the sum of its edges by weights of their own, one set a cell type, and these choose its edges.

    The space gets choices of kind `edge`. With the softmax relaxation the weights of the edges into a node are
    softmax(β), and β starts and learns as the logits of the operations do. In a genotype the strength of an edge is
    then its weight times that of its best operation.

    Source: Xu et al., PC-DARTS (ICLR 2020), section 3.3 and released code. It counters the noise that
    `PartialChannels` brings into the choice of edges, and works without it too. In a space whose nodes keep all of
    their edges (NAS-Bench-201) there is nothing to weigh: the part does nothing there and says so.
    """

    key = "regularizer.edge_normalisation"

    def build(self, space: SearchSpace) -> SearchSpace:
        """The space with weighted edges; the same one, with a warning, where no node chooses among its edges."""
        if not any(_chooses_edges(choice) for choice in space.choices.values()):
            log.warning(
                "%s does nothing: nodes of space '%s' keep all of their edges; remove it with ~%s",
                self.key,
                space.name,
                self.key,
            )
            return space
        return space.variant(edge_weights=True)


def _chooses_edges(choice: Choice) -> bool:
    """Whether a genotype has fewer edges than the choice offers."""
    keep = choice.keep
    return choice.kind == "op" and keep is not None and any(len(rows) > keep for rows in choice.rows_of_node.values())
