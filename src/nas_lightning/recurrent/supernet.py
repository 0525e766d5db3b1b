"""The supernet of recurrent cells: a language model whose cell is a mixture.

Shapes: T tokens of a chunk, B columns of a text, V words, H hidden units, R rows (edges) and O options of the choice.
"""

from torch import Tensor

from nas_lightning.core.batches import Chunk, Continued
from nas_lightning.core.choices import Active, Choice, Mixing, offset_key
from nas_lightning.core.errors import ConfigError
from nas_lightning.recurrent.cell import MixedRecurrentCell, Prepared
from nas_lightning.recurrent.words import Dropouts, Masks, Words
from nas_lightning.spaces.engines import engine_named
from nas_lightning.spaces.mixed import Mix
from nas_lightning.spaces.regularized import Regularized


class RecurrentSupernet(Regularized):
    """Embedding, one mixed cell, decoder tied to the embedding: V·H + V + 4H² + N·2H² weights.

    Regularizers see every operation and every edge of every step: a step is to them what a cell is in a network for
    images, so their draws differ between steps, unlike the masks of the dropouts.

    Args:
        choice: The edges of the cell and their options.
        num_words: V.
        hidden: H.
        dropout: Probabilities of the dropouts.
        engine: `auto`, `fast` or `reference`, edge by edge, which is also taken where a regularizer acts on operations
            or edges.

    Raises:
        ConfigError: An unknown engine.
    """

    def __init__(self, choice: Choice, num_words: int, hidden: int, dropout: Dropouts, engine: str = "auto") -> None:
        super().__init__()
        self.choices = {choice.name: choice}
        self.plain = engine_named(engine) == "reference"
        self.words = Words(num_words, hidden, dropout)
        self.cell = MixedRecurrentCell(choice, hidden)

    def forward(
        self, inputs: Chunk, mixing: Mixing, active: Active | None = None, masks: Masks | None = None
    ) -> Continued:
        """Compute the scores of the next words for the mixture, and the state after the last token.

        Args:
            inputs: Tokens [T, B] and the state before them.
            mixing: Weights of the choice, [R, O]. Under `offset_key`: what is added to each edge's sum, [R].
            active: Options that are computed at all, boolean [R, O]; None computes all. It is never inferred from a
                weight being zero.
            masks: Of the dropouts; None draws them in training mode, the same for all tokens.

        Raises:
            ConfigError: One column in training mode: it cannot be normalised.
        """
        columns = inputs.tokens.shape[1]
        if columns == 1 and self.training:
            raise ConfigError(
                "search.batch_size=1: the cell normalises over the columns of the text; write search.batch_size=2"
            )
        masks = self.words.masks(columns) if masks is None else masks
        products, start = self.cell.begin(self.words.embed(inputs.tokens, masks), masks)
        mixed = self._mixed(mixing, active, len(products))
        state = self.words.begin(columns, inputs.state)
        hidden: list[Tensor] = []
        for step, product in enumerate(products):
            state = self.cell_output(self.cell, product, state, start, mixed, step)
            hidden.append(state)
        return self.words.continued(hidden, masks)

    def _mixed(self, mixing: Mixing, active: Active | None, steps: int) -> Mix | Prepared:
        """Return weights, options and hooks of the edges, prepared where nothing looks at single edges."""
        choice = self.cell.choice
        flags = (choice.mask if active is None else active[choice.name]).tolist()
        mix = Mix(mixing[choice.name], flags, self.regularizers, mixing.get(offset_key(choice.name)))
        seen = any(part.acts_on_edges() or any(map(part.acts_on, self.cell.options)) for part in self.regularizers)
        return mix if self.plain or seen else self.cell.prepare(mix, steps)
