"""Random draws by key, so that they are shared or fresh on purpose.

Every stochastic part (noise operation, drop-path, sampled mixing) requests a generator by its own key, for instance
(cell, edge, operation). While a `keyed` block is open, the generator is seeded by a hash of
(seed, step, pass, key): the two evaluations of a finite difference open the same block and so see the same masks,
the architecture step and the weight step open different ones and so see fresh masks, and nothing depends on the
order in which an engine happens to evaluate the operations. Outside such a block torch's global generator is used.

A pass that is recorded once and replayed (a CUDA graph) can neither seed a generator nor read a Python number again.
What it draws, and every number that changes between passes, therefore goes through `outside`: whoever replays the pass
makes it anew before each replay.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Key = int | str
Make = Callable[[], Tensor]
"""Makes a tensor of one shape, type and device; the values may differ from call to call."""


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
    if scope is None or torch.device(device).type == "meta":  # nothing is drawn there
        return None
    return seeded_generator(*scope.key, *key, *((scope.rank,) if per_sample else ()), device=device)


_section: ContextVar[Callable[[Make], Tensor] | None] = ContextVar("section", default=None)


@contextmanager
def captured(take: Callable[[Make], Tensor] | None) -> Iterator[None]:
    """Hand what `outside` is asked for to `take` within the block, a section that is captured and replayed.

    Args:
        take: Returns the tensor that stands for what `make` returns, the same one at every replay.
    """
    token = _section.set(take)
    try:
        yield
    finally:
        _section.reset(token)


def outside(make: Make) -> Tensor:
    """Return what `make` returns; where a section is captured, as an input of it.

    In eager code `make` is called at once. In a captured section it is called again before each replay, in the `keyed`
    block that is open then, and its result is copied into the tensor that the section reads. So it must read anything
    that changes (a scheduled probability) when it is called, and keep no tensor of the pass alive.

    Args:
        make: Makes the tensor; calls of `outside` within it are part of it.
    """
    take = _section.get()
    if take is None:
        return make()
    with captured(None):
        return take(make)


def number(read: Callable[[], float], like: Tensor) -> float | Tensor:
    """Return a number that may change between passes: itself in eager code, a tensor [] in a captured section.

    Args:
        read: Returns the number as it is now.
        like: Tensor whose type and device the tensor has.
    """
    if _section.get() is None:
        return read()
    dtype, device = like.dtype, like.device
    return outside(lambda: torch.full((), read(), dtype=dtype, device=device))


def sample_like(x: Tensor) -> Tensor:
    """Return an empty tensor with the number of images, type and device of `x` [B, …]: enough for `keep_mask`."""
    return x.new_empty((x.shape[0], 0))


def normal_like(x: Tensor, *key: Key) -> Tensor:
    """Return standard normal numbers of the shape, type and device of `x`, independent for each sample."""
    shape, dtype, device = x.shape, x.dtype, x.device

    def make() -> Tensor:
        rng = generator(*key, device=device, per_sample=True)
        return torch.randn(shape, dtype=dtype, device=device, generator=rng)

    return outside(make)


def symmetric_like(x: Tensor, *key: Key) -> Tensor:
    """Return numbers from U(−1, 1) of the shape, type and device of `x`, independent for each sample."""
    shape, dtype, device = x.shape, x.dtype, x.device

    def make() -> Tensor:
        rng = generator(*key, device=device, per_sample=True)
        return 2 * torch.rand(shape, dtype=dtype, device=device, generator=rng) - 1

    return outside(make)


def keep_mask(x: Tensor, keep: float, *key: Key) -> Tensor:
    """Return a Bernoulli(keep) mask of shape [B, 1, 1, 1] for the images of `x` [B, C, H, W]."""
    return bernoulli((x.shape[0], 1, 1, 1), keep, x, *key)


def bernoulli(shape: Sequence[int], keep: float, like: Tensor, *key: Key, per_sample: bool = True) -> Tensor:
    """Return zeros and ones, each 1 with probability `keep`.

    Args:
        shape: Their shape.
        keep: Probability of a one.
        like: Tensor whose type and device they have.
        key: Name of the draw.
        per_sample: True where each image or column of a text has its own, which must then differ between ranks.
    """
    dtype, device = like.dtype, like.device

    def make() -> Tensor:
        rng = generator(*key, device=device, per_sample=per_sample)
        return (torch.rand(*shape, dtype=dtype, device=device, generator=rng) < keep).to(dtype)

    return outside(make)
