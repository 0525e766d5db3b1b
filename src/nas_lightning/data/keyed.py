"""Keyed randomness: every draw is a pure function of (seed, stream, pass, position), not of earlier draws.

So a resumed run sees the images that an uninterrupted run would have seen, and the number of workers has no effect.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data.batched import BatchedImages, Raw

Key = tuple[int, int, int]
"""Pass number, position in the pass, and index of the image at that position."""


def order(
    indices: Sequence[int] | np.ndarray, seed: int, stream: str, pass_number: int, length: int | None = None
) -> np.ndarray:
    """Shuffle the indices, as a pure function of the arguments.

    Args:
        indices: the items to shuffle.
        seed: of the run.
        stream: name of the use, e.g. `train`; streams are shuffled independently.
        pass_number: passes made through the stream before.
        length: items to return: whole rounds without replacement, each in a fresh order, and part of another;
            None: one round.
    """
    length = len(indices) if length is None else length
    rounds = -(-length // len(indices))
    shuffled = [
        np.random.default_rng(hashed_seed(seed, stream, pass_number, count)).permutation(indices)
        for count in range(rounds)
    ]
    return np.concatenate(shuffled)[:length]


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the random states of torch (CPU), numpy and python on leaving."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_all(number: int) -> None:
    """Seed torch (CPU), numpy and python, but not the accelerators: their streams belong to the training."""
    torch.default_generator.manual_seed(number)  # torch.manual_seed would reset CUDA too, and is slow
    np.random.seed(number % 2**32)
    random.seed(number)


class KeyedWords:
    """Draw the words that torch's generator would give, seeded by the key of each item of a `KeyedDataset`.

    Words are the raw 32-bit output of the generator; `randint(n)` turns one into `word % n`. numpy's RandomState is the
    same Mersenne twister with the same seeding, but faster to seed. No global state is touched.

    Args:
        seed: of the run.
        stream: name of the use, e.g. `train`.
        count: words an item.
    """

    def __init__(self, seed: int, stream: str, count: int) -> None:
        self.key = (seed, stream)
        self.count = count
        self._twister = np.random.MT19937(0)  # built once: building takes as long as 50 seedings
        self._state = np.random.RandomState(self._twister)

    def __call__(self, keys: Sequence[Key]) -> Tensor:
        """Return the words of a batch, int64 [B, `count`]."""
        words = np.empty((len(keys), self.count), dtype=np.int64)
        # Seeding is nearly all of the cost; without words to draw there is none.
        for row, (pass_number, position, _) in enumerate(keys if self.count else ()):
            self._state.seed(hashed_seed(*self.key, pass_number, position) % 2**32)
            words[row] = self._twister.random_raw(self.count)
        return torch.from_numpy(words)


class KeyedDataset(Dataset[tuple[Tensor, int]]):
    """A dataset whose augmentation is a pure function of (seed, stream, pass, position).

    An image that occurs twice in a pass has two positions and is augmented in two ways.

    Args:
        dataset: source of the items; may draw from the global random generators of torch, numpy and python.
        seed: of the run.
        stream: name of the use, e.g. `train`.
    """

    def __init__(self, dataset: Dataset[tuple[Tensor, int]], seed: int, stream: str = "") -> None:
        self.dataset = dataset
        self.seed = seed
        self.stream = stream

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, int]]:
        """Return a batch; loaders call this, so that the random states are saved once a batch, not once an item."""
        with preserved_rng():
            return [self._item(*key) for key in keys]

    def _item(self, pass_number: int, position: int, index: int) -> tuple[Tensor, int]:
        seed_all(hashed_seed(self.seed, self.stream, pass_number, position))
        return self.dataset[index]


class KeyedBatches(Dataset[tuple[Tensor | Raw, Tensor]]):
    """The images of a `KeyedDataset`, to the bit, but a whole batch at once and already collated.

    Args:
        dataset: images in memory.
        seed: of the run.
        stream: name of the use, e.g. `train`.
        finished: whether batches are augmented images, float32 [B, C, H, W]; else they are `Raw`.
    """

    def __init__(self, dataset: BatchedImages, seed: int, stream: str = "", finished: bool = True) -> None:
        self.dataset = dataset
        self.stream = stream
        self.finished = finished
        self._words = KeyedWords(seed, stream, dataset.words)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor | Raw, Tensor]:
        """Return images, and labels as int64 [B]."""
        images, labels = self.dataset.raw([index for _, _, index in keys])
        words = self._words(keys)
        return self.dataset.finish(images, words) if self.finished else Raw(images, words, self.stream), labels
