"""Restricted reader of untrusted pickles: accepts plain data, runs no code.

A pickle can call any function of any installed package, so reading one from an untrusted source runs its code. This
reader accepts containers, numbers, strings and numpy arrays of numbers, and refuses every other global before it is
imported. Arrays are rebuilt here from their bytes, because numpy's own functions trust the pickle.
"""

import pickle
import re
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

from nas_lightning.core.errors import ConfigError


def load_plain(stream: BinaryIO, where: str, remedy: str) -> Any:
    """Read a pickle of plain data.

    Args:
        stream: The pickle; strings of Python 2 are decoded as Latin-1.
        where: Key and value with which messages begin.
        remedy: Last words of the message about a pickle that holds more than plain data.

    Returns:
        Its content.

    Raises:
        ConfigError: It is not a pickle, or holds more than plain data; none of its code was run.
    """
    try:
        return _unwrapped(_Reader(stream, encoding="latin1").load())
    except _RefusedError as error:
        raise ConfigError(
            f"{where}: the pickle references {error}, not plain data, and could run code (none was run); {remedy}"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{where}: is not a readable pickle ({reason}); download the official file again") from error


class _RefusedError(Exception):
    """The pickle references a global that is not plain data."""


class _DType:
    """Stand-in for numpy.dtype of a number type: its code, to which the state adds the byte order."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[<>|=]?[biuf][1248]", code):
            raise ValueError(f"arrays of {code!r}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>|=")


class _Array:
    """Stand-in for a numpy array, filled by its state."""

    values: np.ndarray

    def __init__(self, *_: object) -> None:
        """Ignore the arguments, which the state repeats."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.values = _filled(data, dtype, shape, "F" if fortran else "C")


def _filled(data: bytes | bytearray | str, dtype: _DType, shape: tuple[int, ...], order: Any = "C") -> np.ndarray:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, np.dtype(dtype.code)).reshape(shape, order=order).copy()


def _scalar(dtype: _DType, data: bytes | str) -> float | int | bool:
    return _filled(data, dtype, (1,))[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    """Stand-in for `codecs.encode`, by which protocols before 3 write bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stand-in for `bytes`, by which they write empty bytes."""
    return b""


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _filled


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a global; numpy itself is never called."""
        if (module, name) not in _KNOWN:
            raise _RefusedError(f"{module}.{name}")
        return _KNOWN[module, name]


def _unwrapped(found: Any) -> Any:
    """Replace stand-ins by their arrays; dictionaries and lists are changed in place."""
    if isinstance(found, _Array):
        return found.values
    if isinstance(found, dict):
        for key, value in found.items():
            found[key] = _unwrapped(value)
    elif isinstance(found, list):
        found[:] = map(_unwrapped, found)
    elif isinstance(found, tuple):
        return tuple(map(_unwrapped, found))
    return found
