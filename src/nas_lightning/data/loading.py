"""Loaders that read pass after pass through the same images, with workers that persist between passes."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data import workers
from nas_lightning.data.batched import BatchedImages
from nas_lightning.data.keyed import Key, KeyedBatches, KeyedDataset

Item = TypeVar("Item", covariant=True)


class Collated(Dataset[Item]):
    """A dataset that joins its items into batches itself, where stacking them is not possible."""

    def collate(self, items: Sequence[Any]) -> Any:
        """Return a batch of items."""
        raise NotImplementedError


class Pass(Sampler[list[Key]]):
    """Sample the keys of one pass in batches, for one of the processes that share it.

    Every image of the pass is in one batch of one process. Where the images cannot be divided evenly, the lowest ranks
    have one more; see `even_length` for passes in which all processes need equally many batches.

    Args:
        processes: number of processes that share the pass.
        rank: of this process.
    """

    def __init__(self, processes: int = 1, rank: int = 0) -> None:
        self.processes = processes
        self.rank = rank
        self.begin(0, (), 1)

    def begin(self, number: int, indices: Sequence[int] | np.ndarray, batch_size: int) -> None:
        """Set the pass that the next iteration yields.

        Args:
            number: passes made before.
            indices: of the images, in the order of the pass.
            batch_size: images in each of the batches, of which the last may be smaller.
        """
        self.number = number
        self.indices = np.asarray(indices)
        self.batch_size = batch_size
        self.first_batch = 0
        """Batches that the next iteration skips, since they were consumed before a resume."""

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.indices), self.processes))
        return -(-share // self.batch_size)

    @property
    def positions(self) -> np.ndarray:
        """Positions in the pass that this process reads, in order."""
        return np.arange(self.rank, len(self.indices), self.processes)

    def __iter__(self) -> Iterator[list[Key]]:
        # Bound here: a later `begin` must not change the iteration that is under way.
        number, indices, size, positions = self.number, self.indices, self.batch_size, self.positions
        for start in range(self.first_batch * size, len(positions), size):
            batch = positions[start : start + size]
            yield [(number, *pair) for pair in zip(batch.tolist(), indices[batch].tolist(), strict=True)]


def even_length(count: int, batch_size: int, processes: int) -> int:
    """Return the number of images of a training pass: `count`, or less if a last batch would be too small.

    No process may get a last batch of one image, which batch normalisation refuses, or none: processes that average
    their gradients need equally many batches. Their last batches may differ by one image. As a pass is in a random
    order, other images are left out in the next.

    Args:
        count: number of images.
        batch_size: of each process.
        processes: number of processes that share the pass.
    """
    last = count % (batch_size * processes)  # images of the last step, if it is not full
    return count - last if last < min(2 * processes, count) else count


class PassLoader(DataLoader[Any]):
    """Load batches augmented by (seed, stream, pass, position): a pure function of the arguments of `begin`.

    Args:
        dataset: source of the images; `BatchedImages` are augmented a batch at once.
        seed: of the run.
        stream: name of the use, e.g. `train`.
        num_workers: processes that load images; 0 loads in this process.
        prefetch_factor: batches that each of them prepares ahead.
        pin_memory: whether batches lie in memory from which a GPU copies without waiting.
        finished: whether `BatchedImages` are augmented; else batches are (`Raw`, labels).
        persistent: whether the workers outlive a pass, for the next one.
        processes: number of processes that share each pass.
        rank: of this process.
    """

    def __init__(
        self,
        dataset: Dataset[tuple[Tensor, int]],
        seed: int,
        stream: str,
        num_workers: int = 0,
        prefetch_factor: int = 4,
        pin_memory: bool = False,
        finished: bool = True,
        persistent: bool = False,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        keyed: Dataset[Any] = KeyedDataset(dataset, seed, stream)
        collate: Callable[..., Any] | None = None
        if isinstance(dataset, BatchedImages):
            keyed, collate = KeyedBatches(dataset, seed, stream, finished), _identity
        elif isinstance(dataset, Collated):
            collate = dataset.collate
        super().__init__(
            keyed,
            batch_sampler=Pass(processes, rank),
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            # Without a generator of its own a loader would draw from the global one at each start.
            generator=torch.Generator().manual_seed(hashed_seed(seed, stream)),
            # The other start methods fail under joblib's launcher.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
            persistent_workers=persistent and num_workers > 0,
            prefetch_factor=prefetch_factor if num_workers else None,
            worker_init_fn=workers.begin if num_workers and sys.platform == "linux" else None,
        )
        self.seed = seed
        self.stream = stream
        self.source = dataset
        self.left = 0
        """Batches that the current iteration has not yielded yet."""

    def begin(self, number: int, indices: Sequence[int] | np.ndarray, batch_size: int) -> "PassLoader":
        """Set the pass that the next iteration yields, see `Pass.begin`; return the loader."""
        self.batch_sampler.begin(number, indices, batch_size)  # type: ignore[union-attr]
        return self

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches yielded; Lightning saves it, and restores it only within an epoch."""
        return {"given": len(self) - self.left}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next iteration after the batches that were yielded."""
        self.batch_sampler.first_batch = state_dict["given"]  # type: ignore[union-attr]

    def key_of(self, batch: int) -> str:
        """Return the key of a batch of this pass, for messages: its images are a pure function of it."""
        sampler: Any = self.batch_sampler
        positions = sampler.positions[batch * sampler.batch_size : (batch + 1) * sampler.batch_size]
        return (
            f"seed={self.seed}, stream={self.stream}, pass={sampler.number}, positions={positions[0]}..{positions[-1]}"
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.left = len(self) - self.batch_sampler.first_batch  # type: ignore[union-attr]
        if not self.num_workers:
            return self._counted(super().__iter__())
        with workers.reporting_start():
            batches = super().__iter__()  # started here, so that workers begin before the first batch is due
        return self._counted(self._watched(batches))

    def _watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            with workers.reporting_end():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.left -= 1
            yield batch


def _identity(batch: Any) -> Any:
    return batch
