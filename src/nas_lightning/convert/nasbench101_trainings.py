"""Read one training of NAS-Bench-101 from its record: JSON around a protobuf message, parsed by hand.

Source: Ying et al., NAS-Bench-101 (ICML 2019), and `model_metrics.proto` of its released code. A record is the list
[module hash, epochs, adjacency matrix as a text of 0 and 1, operations joined by commas, message in base64]. The
message holds three measurements (field 1: at the start, half way, at the end) and the number of parameters (field 2); a
measurement holds the accuracies on the training, validation and test images (fields 3, 4, 5) as fractions.
"""

import base64
import json
import re
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass

from nas_lightning.core.modules import INPUT, OPERATIONS, OUTPUT

_ALLOWED = frozenset(OPERATIONS)
_HASH = re.compile("[0-9a-f]{32}")
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""Kinds of values in the wire format of protobuf."""
_MEASUREMENTS, _PARAMETERS, _VALID, _TEST = 1, 2, 4, 5
_END = 2
"""The measurement at the end of the training."""


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a module.

    Args:
        module_hash: Name of the module, 32 hexadecimal digits.
        epochs: Length of the training.
        valid: Accuracy on the validation images at its end, 0 to 1.
        test: Accuracy on the test images at its end, 0 to 1.
        params: Number of trainable parameters.
    """

    module_hash: str
    epochs: int
    valid: float
    test: float
    params: int


def read_training(record: bytes, wanted: Container[str] | None = None) -> Training | None:
    """Read the training in a record.

    Args:
        record: Its content.
        wanted: Hashes of the modules to read; None is all. Of others the message is not looked into.

    Returns:
        None where the module is not wanted.

    Raises:
        ValueError: It is no such record; the message says why.
    """
    try:
        found = json.loads(record)
    except ValueError as error:
        raise ValueError("is not JSON") from error
    if not isinstance(found, list) or len(found) != 5:
        raise ValueError("is not a list of hash, epochs, matrix, operations and metrics")
    name, epochs, matrix, operations, message = found
    if not isinstance(name, str) or not _HASH.fullmatch(name):
        raise ValueError(f"has the module hash {name!r}; 32 hexadecimal digits are expected")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise ValueError(f"has {epochs!r} epochs")
    _check_module(matrix, operations)
    if wanted is not None and name not in wanted:
        return None
    try:
        valid, test, params = _metrics(base64.b64decode(message, validate=True))
    except (TypeError, ValueError, IndexError, struct.error) as error:  # IndexError: the message ends within a number
        raise ValueError(f"has metrics of module {name} that cannot be read ({error})") from error
    return Training(name, epochs, valid, test, params)


def _check_module(matrix: object, operations: object) -> None:
    """Check the form of a module.

    Raises:
        ValueError: The matrix is not square, does not fit the operations, or an operation is unknown.
    """
    if not isinstance(matrix, str) or not isinstance(operations, str):
        raise ValueError("has a matrix or operations that are not texts")
    first, *between, last = operations.split(",") if "," in operations else ("", "")
    if (first, last) != (INPUT, OUTPUT) or len(matrix) != (len(between) + 2) ** 2 or matrix.strip("01"):
        raise ValueError(f"has a matrix of {len(matrix)} digits and the operations {operations}, which do not fit")
    if not _ALLOWED.issuperset(between):
        unknown = next(op for op in between if op not in _ALLOWED)
        raise ValueError(f"has the unknown operation {unknown}; known are {', '.join(OPERATIONS)}")


def _metrics(message: bytes) -> tuple[float, float, int]:
    """Return validation and test accuracy at the end, and the number of parameters.

    Raises:
        ValueError: The message lacks one of them, or an accuracy is no fraction.
    """
    measurements: list[bytes] = []
    params = 0
    for field, value in _fields(message):
        if field == _MEASUREMENTS and isinstance(value, bytes):
            measurements.append(value)
        elif field == _PARAMETERS and isinstance(value, int):
            params = value
    if len(measurements) != _END + 1 or params < 1:
        raise ValueError(f"{len(measurements)} measurements and {params} parameters; 3 and at least 1 are expected")
    last = dict(_fields(measurements[_END]))
    valid, test = last.get(_VALID), last.get(_TEST)
    if not isinstance(valid, float) or not isinstance(test, float) or not (0 <= valid <= 1 and 0 <= test <= 1):
        raise ValueError(f"the accuracies {valid!r} and {test!r}; fractions are expected")
    return valid, test, params


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield the numbers and values of the fields of a message.

    Raises:
        ValueError: It ends within a value, or a value is of an unknown kind.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == _DOUBLE:
            yield key >> 3, struct.unpack_from("<d", message, at)[0]
            at += 8
        elif kind == _FLOAT:
            yield key >> 3, struct.unpack_from("<f", message, at)[0]
            at += 4
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("the message ends within a field")
            yield key >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"the message has a field of kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, seven bits a byte and the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
