"""Random draws by key, so that they are shared or fresh on purpose.

Every stochastic part (noise operation, drop-path, sampled mixing) requests a generator by its own key, for instance
(cell, edge, operation). While a `keyed` block is open, the generator is seeded by a hash of
(seed, step, pass, key): the two evaluations of a finite difference open the same block and so see the same masks,
the architecture step and the weight step open different ones and so see fresh masks, and nothing depends on the
order in which an engine happens to evaluate the operations. Outside such a block torch's global generator is used.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Key = int | str


def hashed_seed(*key: Key) -> int:
    """Mix a key into a seed of 63 bits: equal keys give equal seeds on every machine and in every process."""
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)  # numpy's integers have another repr
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seeded_generator(*key: Key, device: torch.device | str = "cpu") -> Generator:
    """Return a new generator on `device`, seeded by `key`."""
    return Generator(device=device).manual_seed(hashed_seed(*key))


@dataclass(frozen=True)
class _Scope:
    key: tuple[Key, ...]
    rank: int


_scope: ContextVar[_Scope | None] = ContextVar("draws", default=None)


@contextmanager
def keyed(seed: int, step: int, pass_name: str, rank: int = 0) -> Iterator[None]:
    """Make draws within the block functions of (seed, step, pass_name) and of the key that each part adds.

    Args:
        seed: The run's seed.
        step: Optimizer steps of the weights taken so far.
        pass_name: Name of the forward pass within the step; equal names share their draws.
        rank: Process rank; it enters only the draws that are made per sample.
    """
    token = _scope.set(_Scope((seed, step, pass_name), rank))
    try:
        yield
    finally:
        _scope.reset(token)


def generator(*key: Key, device: torch.device | str = "cpu", per_sample: bool = False) -> Generator | None:
    """Return the generator for one stochastic part, or None (torch's global generator) outside a `keyed` block.

    Args:
        key: Identity of the draw within the pass.
        device: Device of the draw; the CPU and a GPU draw different numbers.
        per_sample: True where each image has its own draw, which must then differ between ranks.
    """
    scope = _scope.get()
    if scope is None:
        return None
    return seeded_generator(*scope.key, *key, *((scope.rank,) if per_sample else ()), device=device)


def normal_like(x: Tensor, *key: Key) -> Tensor:
    """Return standard normal numbers of the shape, type and device of `x`, independent for each sample."""
    rng = generator(*key, device=x.device, per_sample=True)
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=rng)


def keep_mask(x: Tensor, keep: float, *key: Key) -> Tensor:
    """Return a Bernoulli(keep) mask of shape [B, 1, 1, 1] for the images of `x` [B, C, H, W]."""
    rng = generator(*key, device=x.device, per_sample=True)
    uniform = torch.rand((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device, generator=rng)
    return (uniform < keep).to(x.dtype)
