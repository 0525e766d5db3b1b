"""The Lightning data modules of a search and of a training on text: columns in chunks, without memory.

Which rows a batch holds is a pure function of (seed, pass, step), so that nothing has to be counted, saved or restored.
The hidden state that a network carries from a chunk to the next is the training module's: a chunk comes without one.

Shapes: R rows and B columns of a text, T rows of a chunk.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import Field
from torch import Tensor

from nas_lightning.core.batches import Chunk
from nas_lightning.core.draws import hashed_seed
from nas_lightning.core.errors import DataError
from nas_lightning.data.passes import PassModule
from nas_lightning.data.text import TextData, columns

Positive = Annotated[int, Field(gt=0)]
Split = Literal["published", "halves_by_order"]
SPLITS: tuple[Split, ...] = get_args(Split)
TextBatch = tuple[Chunk, Tensor]

WHOLE = 0.95
"""Probability of a chunk about the nominal length; others are about half of it."""
DEVIATION, LONGER, SHORTEST = 5.0, 20, 5
"""Of lengths in trainings: their standard deviation, how far they may exceed the nominal one, and the least."""


class Piece(NamedTuple):
    """Which rows a batch holds: the first of them, how many, and the factor on the rate of a step on it."""

    row: int
    length: int
    rate: float = 1.0


class ChunkLoader:
    """Read chunks of columns one after another; Lightning can save and restore its place between two batches.

    Args:
        rows: A text in columns, int64 [R, B].
        pieces: Rows of each batch, in order.
        where: What the pieces are a function of, for messages.
        pinned: Whether batches lie in memory from which a GPU copies without waiting.
    """

    def __init__(self, rows: Tensor, pieces: Sequence[Piece], where: str, pinned: bool = False) -> None:
        self.rows = rows
        self.pieces = pieces
        self.where = where
        self.pinned = pinned
        self.first = 0
        """Batches that iterations skip, since they were consumed before a resume."""
        self.given = 0
        """Batches that the current iteration has yielded, with those that it skipped."""

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[TextBatch]:
        self.given = self.first
        for piece in self.pieces[self.given :]:
            self.given += 1
            yield self._batch(piece)

    def _batch(self, piece: Piece) -> TextBatch:
        rows = self.rows[piece.row : piece.row + piece.length + 1]
        rows = rows.pin_memory() if self.pinned else rows
        return Chunk(rows[:-1], None, piece.rate), rows[1:]

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches yielded; Lightning saves it, and restores it only within an epoch."""
        return {"given": self.given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start iterations after the batches that were yielded."""
        self.first = state_dict["given"]

    def key_of(self, batch: int) -> str:
        """Return what a batch is a function of, for messages."""
        piece = self.pieces[batch]
        return f"{self.where}, rows={piece.row}..{piece.row + piece.length}"


def in_order(rows: int, bptt: int) -> list[Piece]:
    """Cut columns of R rows into chunks of one length, the last shorter: each token but the first is a target once."""
    return [Piece(row, min(bptt, rows - 1 - row)) for row in range(0, rows - 1, bptt)]


def at_random(rows: int, bptt: int, seed: int, pass_number: int, spread: bool) -> list[Piece]:
    """Cut columns of R rows into chunks of random lengths, as the released code does.

    A length is nominal with probability 0.95 and else half of that, rounded down. A pass ends where a single target is
    left, whose chunk would have no two states to compare.

    Args:
        rows: Rows R.
        bptt: Nominal length.
        seed: Of the run.
        pass_number: Passes made before.
        spread: Whether lengths vary about that, normally, by 5 tokens: in trainings, not in searches.
    """
    # As many draws as there could be steps: those of a step are then the same whatever came before.
    whole = np.random.default_rng(hashed_seed(seed, "chunks", pass_number)).random(rows) < WHOLE
    normal = np.random.default_rng(hashed_seed(seed, "spread", pass_number)).standard_normal(rows)
    pieces: list[Piece] = []
    row = 0
    while rows - 1 - row >= 2:
        step = len(pieces)
        length = bptt if whole[step] else bptt / 2
        if spread:
            length = min(max(SHORTEST, int(length + DEVIATION * normal[step])), bptt + LONGER)
        length = min(int(length), rows - 1 - row)
        pieces.append(Piece(row, length, length / bptt))
        row += length
    return pieces


class TextModule(PassModule):
    """Base of the data modules of search and training on text: the columns of each process, and their chunks.

    With several processes each one reads its own columns, and `batch_size` is those of each process.

    Args:
        data: Where the text comes from.
        batch_size: Columns B of a step, in each process.
        seed: Of the run; decides the lengths of chunks.
        split: `published`: the weights of a search are trained on the training text, architectures on the validation
            text, on which they are validated, too. `halves_by_order`: weights are trained on the first half of the
            training text, architectures on the second, so that the validation text is new to both.

    Raises:
        DataError: Another split.
    """

    data: TextData

    def __init__(self, data: TextData, batch_size: Positive, seed: int, split: Split = "published") -> None:
        super().__init__()
        if split not in SPLITS:
            raise DataError(f"data.split={split}: allowed for a text: {', '.join(SPLITS)}; use data.split=published")
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.split_method: Split = split

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the texts of a search: that of the weights, and that of architectures."""
        train = self.data.parts["train"]
        if self.split_method == "published":
            return train, self.data.parts["valid"]
        return train[: len(train) // 2], train[len(train) // 2 :]

    def _columns(self, tokens: np.ndarray, count: int, key: str) -> Tensor:
        """Return the columns of this process, int64 [R, B], of those that all processes read together."""
        total = max(count, self.processes)  # a process without a column would wait for the others in vain
        rank = self.trainer.global_rank if self.trainer else 0
        return columns(tokens, total, key)[:, rank :: self.processes].contiguous()

    def _check_size(self, key: str, train: np.ndarray, arch: np.ndarray | None = None) -> None:
        """Refuse more columns than the texts fill: three rows of the train text, two of the arch text.

        Raises:
            DataError: There are more.
        """
        most = len(train) // 3 if arch is None else min(len(train) // 3, len(arch) // 2)
        most //= self.processes
        if self.batch_size > most:
            texts = f"{len(train)} tokens" + ("" if arch is None else f" and {len(arch)} to learn architectures on")
            each = f" in each of {self.processes} processes" if self.processes > 1 else ""
            raise DataError(
                f"{key}={self.batch_size}: so many columns{each} are too short, the text has {texts}; use"
                f" {f'at most {key}={most}, or ' if most else ''}a longer text"
            )

    def _training_columns(self, tokens: np.ndarray) -> Tensor:
        return self._columns(tokens, self.batch_size * self.processes, "batch_size")

    def _training(self, rows: Tensor, spread: bool) -> list[Piece]:
        bptt = self.data.bptt
        if self.data.chunks == "fixed":
            return [piece for piece in in_order(len(rows), bptt) if piece.length > 1]
        return at_random(len(rows), bptt, self.seed, self.pass_number, spread)

    def _loader(self, rows: Tensor, stream: str, pieces: Sequence[Piece] | None = None) -> ChunkLoader:
        pieces = in_order(len(rows), self.data.bptt) if pieces is None else pieces
        where = f"seed={self.seed}, stream={stream}, pass={self.pass_number}"
        return ChunkLoader(rows, pieces, where, self._on_cuda)


class TextSearchData(TextModule):
    """The text of a search: two streams to train on, `train` and `arch`, and `val` to validate on.

    A training batch is `{"train": (chunk, targets), "arch": (chunk, targets)}`. An epoch passes through the train text
    once. The arch text is shorter: the arch chunk of a step begins at the row of its train chunk, counted anew where
    the arch text ends, so that its chunks overlap, and it has the nominal length, as in the released code.
    """

    val_is_augmented = False

    def setup(self, stage: str) -> None:
        """Cut the texts into columns.

        Raises:
            DataError: A text is too short for its columns.
        """
        self.data.prepare()
        train, arch = self._halves()
        self._check_size("search.batch_size", train, arch if self.arch_stream else None)
        self.train_rows = self._training_columns(train)
        if self.arch_stream:
            self.arch_rows = self._training_columns(arch)
        self.val_rows = self._columns(self.data.parts["valid"], self.data.val_columns, "data.val_columns")

    def train_dataloader(self) -> dict[str, ChunkLoader]:
        """Return both streams, with equally many batches."""
        pieces = self._training(self.train_rows, spread=False)
        streams = {"train": self._loader(self.train_rows, "train", pieces)}
        if not self.arch_stream:
            return streams
        last = len(self.arch_rows) - 1
        starts = [piece.row % last for piece in pieces]
        arch = [Piece(row, min(self.data.bptt, last - row)) for row in starts]
        return streams | {"arch": self._loader(self.arch_rows, "arch", arch)}

    def val_dataloader(self) -> ChunkLoader:
        """Return the validation text in order."""
        return self._loader(self.val_rows, "val")

    def selection_dataloader(self, batch_size: int | None = None, shuffle: str | None = None) -> ChunkLoader:
        """Return the validation text in columns of another number, and beginning elsewhere if asked.

        Args:
            batch_size: Columns; None: those of the search.
            shuffle: Key of the token that the text begins at, as if its ends met; None: the first.
        """
        tokens = self.data.parts["valid"]
        stream = "selection" if shuffle is None else f"selection {shuffle}"
        if shuffle is not None:
            tokens = np.roll(tokens, -(hashed_seed(self.seed, stream) % len(tokens)))
        count = (batch_size or self.batch_size) * self.processes
        return self._loader(self._columns(tokens, min(count, len(tokens) // 2), "search.batch_size"), stream)

    def fixed_arch_batch(self) -> TextBatch:
        """Return the first chunk of the arch text, the one batch for which a state of zeros is the true one."""
        rows = self.arch_rows if self.arch_stream else self.train_rows
        return next(iter(ChunkLoader(rows, in_order(len(rows), self.data.bptt), "")))


class TextEvaluationData(TextModule):
    """The text on which a found network is trained from scratch.

    Args:
        data: Where the text comes from.
        batch_size: Columns of a step, in each process.
        seed: Of the run; decides the lengths of chunks.
        images: `full` trains on the training text, validates on the validation text and tests on the test text.
            `search_halves`, for choosing among candidates, trains on the text of the weights of the search and tests on
            the validation text: the test text is not touched.
        split: As for the search, used by `search_halves`.
    """

    def __init__(
        self,
        data: TextData,
        batch_size: Positive,
        seed: int,
        images: Literal["full", "search_halves"] = "full",
        split: Split = "published",
    ) -> None:
        super().__init__(data, batch_size, seed, split)
        self.images = images

    def setup(self, stage: str) -> None:
        """Cut the texts into columns.

        Raises:
            DataError: A text is too short for its columns.
        """
        self.data.prepare()
        train = self.data.parts["train"] if self.images == "full" else self._halves()[0]
        self._check_size("evaluation.batch_size", train)
        self.train_rows = self._training_columns(train)
        self.val_rows = self._columns(self.data.parts["valid"], self.data.val_columns, "data.val_columns")
        self.test_rows = self.val_rows
        if self.images == "full":
            self.test_rows = self._columns(self.data.parts["test"], self.data.test_columns, "data.test_columns")

    def train_dataloader(self) -> ChunkLoader:
        """Return the training text in chunks of lengths that vary from pass to pass."""
        return self._loader(self.train_rows, "train", self._training(self.train_rows, spread=True))

    def val_dataloader(self) -> ChunkLoader:
        """Return the validation text, to validate on after each epoch."""
        return self._loader(self.val_rows, "val")

    def test_dataloader(self) -> ChunkLoader:
        """Return the text for the final figures: the test text, or the validation text."""
        return self._loader(self.test_rows, "test")
