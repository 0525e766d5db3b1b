"""Read TFRecord files without TensorFlow: framed records with checksums.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord. A record is its length (8 bytes), a checksum of these,
its bytes, and a checksum of those; all numbers are little-endian. A checksum is CRC-32C (RFC 3720), rotated and shifted
by a constant ("masked"), because records may hold checksums themselves.
"""

from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

import numpy as np

from nas_lightning.core.errors import ConfigError

_POLYNOMIAL = 0x82F63B78
"""Of CRC-32C, the lowest bit for the highest power."""
_PIECE = 1024
"""Bytes whose contributions to a checksum are looked up at once; the table of them has 1 MiB."""
_HEAD, _FOOT = 12, 4
"""Bytes before and behind the content of a record."""


@cache
def _contributions() -> np.ndarray:
    """Return what a byte adds to the checksum by the number of bytes behind it, uint32 [_PIECE, 256]."""
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, (value >> 1) ^ np.uint32(_POLYNOMIAL), value >> 1)
    table = [value]
    while len(table) < _PIECE:
        table.append((table[-1] >> 8) ^ value[table[-1] & 255])
    return np.stack(table)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes.

    A checksum is linear in the bits, so that it is the exclusive or of what each byte contributes from its place. The
    state of what came before is added to the first four bytes that follow.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table, state = _contributions(), 0xFFFFFFFF
    for start in range(0, len(data), _PIECE):
        piece = np.frombuffer(data, np.uint8, min(_PIECE, len(data) - start), start)
        places = np.arange(len(piece) - 1, -1, -1) * 256 + piece
        terms = table.reshape(-1)[places]
        state_bytes = state.to_bytes(4, "little")
        for index, byte in enumerate(state_bytes[: len(piece)]):
            terms[index] = table[len(piece) - 1 - index, piece[index] ^ byte]
        # Of a piece with fewer than four bytes, the rest of the state stays behind it, shifted.
        state = int(np.bitwise_xor.reduce(terms)) ^ (state >> 8 * len(piece) if len(piece) < 4 else 0)
    return state ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """Return the form of a checksum that is stored."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=2**16)
def _length(head: bytes) -> int | None:
    """Return the length of a record from the bytes before it; None where their checksum is wrong. Lengths recur."""
    if masked(crc32c(head[:8])) != int.from_bytes(head[8:], "little"):
        return None
    return int.from_bytes(head[:8], "little")


def records(blocks: Iterable[bytes], where: str, check: bool = True) -> Iterator[bytes]:
    """Yield the records of a file.

    Args:
        blocks: Its bytes, in pieces of any size.
        where: Key and value with which messages begin.
        check: Whether to check the checksums of the contents; those of the lengths are always checked.

    Raises:
        ConfigError: It is no TFRecord file, ends within a record, or a checksum is wrong.
    """
    remedy = "download the official file again"
    rest, number, offset = b"", 0, 0
    for block in blocks:
        buffer, at = rest + block, 0
        while len(buffer) - at >= _HEAD:
            length = _length(buffer[at : at + _HEAD])
            if length is None and number == 0:
                raise ConfigError(f"{where}: is not a TFRecord file; give the official file of the benchmark")
            if length is None:
                raise ConfigError(f"{where}: the length of record {number} at byte {offset + at} is corrupt; {remedy}")
            end = at + _HEAD + length + _FOOT
            if end > len(buffer):
                break
            content = buffer[at + _HEAD : end - _FOOT]
            if check and masked(crc32c(content)) != int.from_bytes(buffer[end - _FOOT : end], "little"):
                raise ConfigError(f"{where}: the content of record {number} at byte {offset + at} is corrupt; {remedy}")
            yield content
            number, at = number + 1, end
        rest, offset = buffer[at:], offset + at
    if number == 0 and len(rest) < _HEAD:
        raise ConfigError(f"{where}: is not a TFRecord file; give the official file of the benchmark")
    if rest:
        raise ConfigError(f"{where}: ends within record {number} at byte {offset}; {remedy}")
