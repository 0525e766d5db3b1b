"""Edge normalisation: weight the edges into a node against each other (PC-DARTS)."""

import logging

from nas_lightning.core.choices import Choice
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace

log = logging.getLogger(__name__)


class EdgeNormalisation(Regularizer):
    """Weights the sum of the edges into a node, one set of weights per cell type, and selects edges by these weights.

    It adds choices of kind `edge` to the space. With the softmax relaxation the weights of the edges into a node are
    softmax(β), and β is initialised and trained like the logits of the operations. For a genotype the strength of an
    edge is its weight times that of its best operation.

    Source: Xu et al., PC-DARTS (ICLR 2020), section 3.3 and released code. It counters the noise that
    `PartialChannels` adds to the choice of edges, and works without it too. In a space whose nodes keep all of their
    edges (NAS-Bench-201) it does nothing and logs a warning.
    """

    key = "regularizer.edge_normalisation"
    graphable = True

    def build(self, space: SearchSpace) -> SearchSpace:
        """Return the space with weighted edges; the same space, with a warning, if no node chooses among its edges."""
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
    """Return True if a genotype has fewer edges than the choice offers."""
    return choice.kind == "op" and any(
        len(rows) > (choice.kept_at(node) or len(rows)) for node, rows in choice.rows_of_node.items()
    )
