"""Loaders that read one pass after the other through the same images, with workers that stay for the next pass."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data.batched import BatchedImages
from nas_lightning.data.keyed import Key, KeyedBatches, KeyedDataset


class Pass(Sampler[list[Key]]):
    """Keys of one pass in batches, for one of the processes that share it.

    Every image of the pass is in one batch of one process. Where they cannot be shared out evenly, the first processes
    have one more; see `even_length` for passes in which all need equally many batches.

    Args:
        processes: among how many the pass is divided.
        rank: which of them this is.
    """

    def __init__(self, processes: int = 1, rank: int = 0) -> None:
        self.processes = processes
        self.rank = rank
        self.begin(0, (), 1)

    def begin(self, number: int, indices: Sequence[int] | np.ndarray, batch_size: int) -> None:
        """Say what the next iteration gives.

        Args:
            number: passes made before.
            indices: of the images, in the order of the pass.
            batch_size: images in each of the batches, of which the last may be smaller.
        """
        self.number = number
        self.indices = np.asarray(indices)
        self.batch_size = batch_size
        self.first_batch = 0
        """Batches that the next iteration leaves out, since they were given before a resume."""

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.indices), self.processes))
        return -(-share // self.batch_size)

    @property
    def positions(self) -> np.ndarray:
        """Those in the pass that this process reads, in their order."""
        return np.arange(self.rank, len(self.indices), self.processes)

    def __iter__(self) -> Iterator[list[Key]]:
        number, indices, size, positions = self.number, self.indices, self.batch_size, self.positions
        for start in range(self.first_batch * size, len(positions), size):
            batch = positions[start : start + size]
            yield [(number, *pair) for pair in zip(batch.tolist(), indices[batch].tolist(), strict=True)]


def even_length(count: int, batch_size: int, processes: int) -> int:
    """Images of a training pass, of `count`: all but a few if some process would be left with a lone one or with none.

    Batch normalisation refuses a batch of one image, and processes that average their gradients need equally many
    batches. Their last batches may differ by one image. As a pass is in a random order, other images are left out in
    the next.

    Args:
        count: Images that there are.
        batch_size: Of each process.
        processes: Among how many the pass is divided.
    """
    last = count % (batch_size * processes)  # images of the last step, if it is not full
    return count - last if last < min(2 * processes, count) else count


class PassLoader(DataLoader[Any]):
    """Batches of images augmented by (seed, stream, pass, position): a pure function of what `begin` is told.

    Args:
        dataset: where the images come from; `BatchedImages` are augmented a batch at once.
        seed: of the run.
        stream: name of the use, e.g. `train`.
        num_workers: processes that load images; 0 loads in this process.
        prefetch_factor: batches that each of them prepares ahead.
        pin_memory: whether batches lie in memory from which a GPU copies without waiting.
        finished: False leaves `BatchedImages` as they are stored: batches are (`Raw`, labels).
        lasting: whether the workers stay when a pass ends, for the next one.
        processes: among how many processes each pass is divided.
        rank: which of them this is.
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
        lasting: bool = False,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        keyed: Dataset[Any] = KeyedDataset(dataset, seed, stream)
        collate = None
        if isinstance(dataset, BatchedImages):
            keyed, collate = KeyedBatches(dataset, seed, stream, finished), _as_it_is
        super().__init__(
            keyed,
            batch_sampler=Pass(processes, rank),
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            # Without a generator of its own a loader would draw from the global one whenever it starts.
            generator=torch.Generator().manual_seed(hashed_seed(seed, stream)),
            # The other ways to start workers fail under joblib's launcher.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
            persistent_workers=lasting and num_workers > 0,
            prefetch_factor=prefetch_factor if num_workers else None,
            worker_init_fn=_outlive_signals if num_workers and sys.platform == "linux" else None,
        )
        self.seed = seed
        self.stream = stream
        self.source = dataset
        self.left = 0
        """Batches that the running iteration has not given yet."""

    def begin(self, number: int, indices: Sequence[int] | np.ndarray, batch_size: int) -> "PassLoader":
        """Say what the next iteration gives, see `Pass.begin`; returns the loader."""
        self.batch_sampler.begin(number, indices, batch_size)  # type: ignore[union-attr]
        return self

    def state_dict(self) -> dict[str, int]:
        """How many batches were given: Lightning keeps that, and restores it in the middle of an epoch only."""
        return {"given": len(self) - self.left}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iteration start behind the batches that were given."""
        self.batch_sampler.first_batch = state_dict["given"]  # type: ignore[union-attr]

    def key_of(self, batch: int) -> str:
        """What the images of a batch of this pass are a pure function of, for a person to read."""
        sampler: Any = self.batch_sampler
        positions = sampler.positions[batch * sampler.batch_size : (batch + 1) * sampler.batch_size]
        return (
            f"seed={self.seed}, stream={self.stream}, pass={sampler.number}, positions={positions[0]}..{positions[-1]}"
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.left = len(self) - self.batch_sampler.first_batch  # type: ignore[union-attr]
        return self._counted(super().__iter__())  # started here, so that workers begin before the first batch is due

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.left -= 1
            yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _outlive_signals(worker: int) -> None:
    """Let a worker leave the signals of a cluster to the process that it loads for, of which it has the handlers.

    SLURM sends them to all processes of a job at once; a worker that ended would take the training with it.
    """
    signals = {signal.SIGTERM, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        while True:
            info = signal.sigwaitinfo(signals)
            if info.si_signo == signal.SIGTERM and info.si_pid == os.getppid():
                os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
