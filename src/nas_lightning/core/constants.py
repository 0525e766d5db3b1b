"""Tensors that a captured pass reads besides its inputs: whoever captures keeps them as long as the capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_owner: ContextVar[list[object] | None] = ContextVar("constants", default=None)


@contextmanager
def kept_by(owner: list[object]) -> Iterator[None]:
    """Add to `owner` what `keep` is called with within the block."""
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


def keep(constants: object) -> None:
    """Keep what holds tensors of a cache alive, if the pass is being captured: a replay reads them by address."""
    owner = _owner.get()
    if owner is not None and not any(constants is other for other in owner):
        owner.append(constants)
