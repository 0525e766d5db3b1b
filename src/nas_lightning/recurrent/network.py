"""The language model of a genotype of recurrent cells.

Shapes: T tokens of a chunk, B columns of a text, V words, H hidden units.
"""

from torch import Tensor, nn

from nas_lightning.core import genotype_texts
from nas_lightning.core.batches import Chunk, Continued
from nas_lightning.core.genotypes import Genotype
from nas_lightning.recurrent.cell import DiscreteRecurrentCell
from nas_lightning.recurrent.words import Dropouts, Masks, Words

CELL = genotype_texts.RECURRENT_CELL
"""Name of the one choice of recurrent spaces, and of the cell in their genotypes."""


class RecurrentNetwork(nn.Module):
    """Embedding, one discrete cell, decoder tied to the embedding: V·H + V + 4H² + N·2H² weights.

    Args:
        genotype: With a cell named `cell`.
        num_words: V.
        hidden: H.
        dropout: Probabilities of the dropouts.
    """

    def __init__(self, genotype: Genotype, num_words: int, hidden: int, dropout: Dropouts) -> None:
        super().__init__()
        self.words = Words(num_words, hidden, dropout)
        self.cell = DiscreteRecurrentCell(hidden, genotype.cells[CELL], genotype.concat[CELL])

    def forward(self, inputs: Chunk, masks: Masks | None = None) -> Continued:
        """Compute the scores of the next words, and the state after the last token.

        Args:
            inputs: Tokens [T, B] and the state before them.
            masks: Of the dropouts; None draws them in training mode, the same for all tokens.
        """
        columns = inputs.tokens.shape[1]
        masks = self.words.masks(columns) if masks is None else masks
        products, start = self.cell.begin(self.words.embed(inputs.tokens, masks), masks)
        joined = self.cell.joined()
        state = self.words.begin(columns, inputs.state)
        hidden: list[Tensor] = []
        for product in products:
            state = self.cell(product, state, start, joined)
            hidden.append(state)
        return self.words.continued(hidden, masks)
