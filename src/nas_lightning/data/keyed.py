"""Randomness by key: what is drawn depends on (seed, stream, pass, position), on nothing that went before.

So a resumed run sees what the unbroken run would have seen, and the number of workers changes nothing.
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
"""Pass number, position in the pass, and index of the image that stands there."""


def order(
    indices: Sequence[int] | np.ndarray, seed: int, stream: str, pass_number: int, length: int | None = None
) -> np.ndarray:
    """The indices in a shuffled order that is a pure function of the arguments.

    Args:
        indices: what is shuffled.
        seed: of the run.
        stream: name of the use, e.g. `train`; streams are shuffled independently.
        pass_number: how many times the stream was passed through before.
        length: take this many: whole rounds without replacement, each in a fresh order, and part of another.
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
    """Gives torch (CPU), numpy and python back the random state that they had before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def seed_all(number: int) -> None:
    """Seeds torch (CPU), numpy and python, but not the accelerators: their streams belong to the training."""
    torch.default_generator.manual_seed(number)  # torch.manual_seed would reset CUDA too, and is slow
    np.random.seed(number % 2**32)
    random.seed(number)


class KeyedWords:
    """The numbers that torch's generator would give, seeded by the key of each item of a `KeyedDataset`.

    They are the generator's own, whole and of 32 bits; `randint(n)` makes `word % n` of one. numpy's RandomState is the
    same Mersenne twister, seeded in the same way, but faster to seed; nothing global is touched.

    Args:
        seed: of the run.
        stream: name of the use, e.g. `train`.
        count: numbers an item.
    """

    def __init__(self, seed: int, stream: str, count: int) -> None:
        self.key = (seed, stream)
        self.count = count
        self._twister = np.random.MT19937(0)  # made once: that takes as long as seeding it for 50 images
        self._state = np.random.RandomState(self._twister)

    def __call__(self, keys: Sequence[Key]) -> Tensor:
        """int64 [B, `count`]."""
        words = np.empty((len(keys), self.count), dtype=np.int64)
        for row, (pass_number, position, _) in enumerate(keys if self.count else ()):
            self._state.seed(hashed_seed(*self.key, pass_number, position) % 2**32)
            words[row] = self._twister.random_raw(self.count)
        return torch.from_numpy(words)


class KeyedDataset(Dataset[tuple[Tensor, int]]):
    """A dataset whose augmentation is a pure function of (seed, stream, pass, position).

    An image that comes twice in a pass stands at two positions and is augmented in two ways.

    Args:
        dataset: where items come from; may draw from the global random generators of torch, numpy and python.
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
        """A batch at once, as loaders ask for it: saving the random states costs more than seeding them."""
        with preserved_rng():
            return [self._item(*key) for key in keys]

    def _item(self, pass_number: int, position: int, index: int) -> tuple[Tensor, int]:
        seed_all(hashed_seed(self.seed, self.stream, pass_number, position))
        return self.dataset[index]


class KeyedBatches(Dataset[tuple[Tensor | Raw, Tensor]]):
    """The same images as those of a `KeyedDataset`, to the bit, but a whole batch at once, ready collated.

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
        """Images, and labels as int64 [B]."""
        images, labels = self.dataset.raw([index for _, _, index in keys])
        words = self._words(keys)
        return self.dataset.finish(images, words) if self.finished else Raw(images, words, self.stream), labels
