"""Writes TFRecord files of NAS-Bench-101 from the descriptions of the formats, bit by bit: slow and independent."""

import base64
import json
import struct

from nas_lightning.core.modules import Module


def crc32c(data):
    """CRC-32C (RFC 3720), one bit at a time."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def checksum(data):
    """The masked checksum of a TFRecord file, four bytes."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) % 2**32)


def framed(content):
    length = struct.pack("<Q", len(content))
    return length + checksum(length) + content + checksum(content)


def varint(number):
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def measurement(valid, test):
    numbers = (54.0, 500.5, 1.0, valid, test)
    doubles = b"".join(bytes([field << 3 | 1]) + struct.pack("<d", x) for field, x in enumerate(numbers, start=1))
    return doubles + b"\x32\x05a/b/c"  # a text, which is not read


def metrics(valid, test, params, measurements=3):
    points = [measurement(0.1, 0.1)] * (measurements - 1) + [measurement(valid, test)]
    message = b"".join(b"\x0a" + varint(len(point)) + point for point in points)
    return message + b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 1001.0)


def training(module, valid, test, epochs=108, params=8_555_530, **changes):
    """The content of a record: one training of a module."""
    values = {
        "hash": module.hash,
        "epochs": epochs,
        "matrix": "".join(module.matrix),
        "operations": ",".join(["input", *module.operations, "output"]),
        "metrics": base64.b64encode(metrics(valid, test, params)).decode(),
    }
    return json.dumps(list((values | changes).values())).encode()


def accuracies(place, epochs=108):
    """Made up, of three trainings: (valid, test) as fractions of 9,984 images."""
    base = 8000 + 100 * place + epochs
    return [((base + seed) / 9984, (base - 7 * seed) / 9984) for seed in range(3)]


def trainings(modules, epochs=(108,)):
    """The contents of a file, lengths and modules mixed as the trainings of several workers would be."""
    return [
        training(module, *accuracies(place, length)[seed], epochs=length, params=1000 + place)
        for seed in range(3)
        for length in epochs
        for place, module in enumerate(modules)
    ]


def write(path, contents):
    path.write_bytes(b"".join(map(framed, contents)))
    return str(path)


def module(rows, operations):
    """A module of a matrix, rows separated by spaces, and short names of operations."""
    short = {"c3": "conv3x3-bn-relu", "c1": "conv1x1-bn-relu", "mp": "maxpool3x3"}
    return Module.from_matrix(rows.split(), [short[op] for op in operations.split()])
