"""TFRecord files: checksums against a bitwise reference, frames cut anywhere, what is refused."""

import random

import pytest

import trainings101
from nas_lightning.convert.tfrecord import crc32c, masked, records
from nas_lightning.core.errors import ConfigError

CONTENTS = [b"first", b"", bytes(range(256)) * 9, b"last one"]
FILE = b"".join(map(trainings101.framed, CONTENTS))


def test_checksums():
    """Test vectors of RFC 3720, B.4, and random bytes around the size of the pieces."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    rng = random.Random(0)
    for size in (*range(10), 1023, 1024, 1025, 1027, 1028, 2050):
        data = rng.randbytes(size)
        assert crc32c(data) == trainings101.crc32c(data), size
        assert masked(crc32c(data)).to_bytes(4, "little") == trainings101.checksum(data)


def test_a_file_of_tensorboard(tmp_path):
    """Written by a program that is not ours."""
    writer = pytest.importorskip("tensorboard.summary.writer.record_writer")
    with (tmp_path / "file").open("wb") as file:
        for content in CONTENTS:
            writer.RecordWriter(file).write(content)
    assert (tmp_path / "file").read_bytes() == FILE
    assert list(records([FILE], "x")) == CONTENTS


@pytest.mark.parametrize("size", [1, 7, 12, 100, 10**6])
def test_blocks_cut_records_anywhere(size):
    blocks = [FILE[start : start + size] for start in range(0, len(FILE), size)]
    assert list(records(blocks, "x")) == CONTENTS


def flipped(place):
    return FILE[:place] + bytes([FILE[place] ^ 4]) + FILE[place + 1 :]


SECOND = len(trainings101.framed(CONTENTS[0]))
THIRD = SECOND + len(trainings101.framed(CONTENTS[1]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "x: is not a TFRecord file"),
        (b"short", "x: is not a TFRecord file"),
        (b"module_hash,cifar10_test_108\n", "x: is not a TFRecord file"),
        (flipped(0), "x: is not a TFRecord file"),
        (flipped(THIRD + 1), f"x: the length of record 2 at byte {THIRD} is corrupt; download"),
        (flipped(THIRD + 100), f"x: the content of record 2 at byte {THIRD} is corrupt; download"),
        (flipped(len(FILE) - 1), "x: the content of record 3 at byte"),
        (FILE[:-1], "x: ends within record 3 at byte"),
        (FILE[: THIRD + 5], f"x: ends within record 2 at byte {THIRD}; download"),
    ],
)
@pytest.mark.parametrize("size", [9, 10**6])
def test_what_is_refused(data, words, size):
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    with pytest.raises(ConfigError, match=words) as caught:
        list(records(blocks, "x"))
    assert "\n" not in str(caught.value)


def test_contents_that_are_not_checked():
    """Lengths are checked all the same."""
    found = list(records([flipped(THIRD + 100)], "x", check=False))
    assert [found[0], found[1], found[3]] == [CONTENTS[0], CONTENTS[1], CONTENTS[3]]
    assert found[2] != CONTENTS[2]
    with pytest.raises(ConfigError, match="the length of record 2"):
        list(records([flipped(THIRD + 1)], "x", check=False))
