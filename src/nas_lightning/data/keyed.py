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

from nas_lightning.draws import hashed_seed


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


class KeyedDataset(Dataset[tuple[Tensor, int]]):
    """A dataset whose augmentation is a pure function of (seed, stream, pass, position).

    Loaders read it from front to back: the order of a pass is that of `indices`, so no sampler has to keep
    count. An image that comes twice in a pass stands at two positions and is augmented in two ways.

    Args:
        dataset: where items come from; may draw from the global random generators of torch, numpy and python.
        seed: of the run.
        pass_number: how many times the stream was passed through before.
        indices: item i is that of index `indices[i]`; None: all in order.
        stream: name of the use, e.g. `train`.
    """

    def __init__(
        self,
        dataset: Dataset[tuple[Tensor, int]],
        seed: int,
        pass_number: int,
        indices: Sequence[int] | np.ndarray | None = None,
        stream: str = "",
    ) -> None:
        self.dataset = dataset
        self.indices = np.arange(len(dataset)) if indices is None else np.asarray(indices)  # type: ignore[arg-type]
        self.key = (seed, stream, pass_number)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[Tensor, int]]:
        """A batch at once, as loaders ask for it: saving the random states costs more than seeding them."""
        with preserved_rng():
            return [self._item(position) for position in positions]

    def _item(self, position: int) -> tuple[Tensor, int]:
        seed_all(hashed_seed(*self.key, position))
        return self.dataset[int(self.indices[position])]
