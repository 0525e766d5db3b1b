"""The restricted reader of pickles: plain data as it was, everything else refused unseen."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from nas_lightning.convert.restricted import load_plain
from nas_lightning.core.errors import ConfigError

PLAIN = {
    "containers": {"a": [1, 2.5, "text", None, True], "b": (1, (2,)), 3: {"c": b"bytes"}},
    "ordered": OrderedDict([("x", 1), ("y", [2])]),
    "uint8": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "float64": np.linspace(0, 1, 5),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">i4"),
    "bools": np.array([True, False]),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "scalars": [np.float64(1.25), np.int64(-3), np.float32(0.5)],
    "nested": {"data": [np.arange(3), {"deep": (np.arange(2), "t")}]},
}


def read(text):
    return load_plain(io.BytesIO(text), "convert.source=F", "do not")


def same(found, expected):
    if isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        assert found.flags.writeable
    elif isinstance(expected, dict):
        assert type(found) is type(expected)
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_is_read_as_it_was(name, protocol):
    same(read(pickle.dumps(PLAIN[name], protocol)), PLAIN[name])


def test_a_pickle_of_python_2():
    """As the released files of downsampled ImageNet: numpy's old names, bytes as Latin-1 text."""
    text = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\nI2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\xff\\x80\\x01'\ntb."
    )
    np.testing.assert_array_equal(read(text), np.array([[0, 255], [128, 1]], np.uint8))


class Evil:
    def __init__(self, function, *arguments):
        self.what = (function, arguments)

    def __reduce__(self):
        return self.what


def touch(path):
    open(path, "w").close()  # noqa: PTH123


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path, protocol):
    mark = tmp_path / "mark"
    text = pickle.dumps({"data": Evil(touch, str(mark))}, protocol)
    pickle.loads(text)
    assert mark.exists()  # it does run where it is let
    mark.unlink()
    with pytest.raises(ConfigError, match=r"convert\.source=F: the pickle references .*touch, .*none was run.*do not$"):
        read(text)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "subprocess.Popen"])
def test_names_of_others_are_refused(name):
    module, _, function = name.rpartition(".")
    with pytest.raises(ConfigError, match=f"references {name}"):
        read(f"c{module}\n{function}\n(S'x'\ntR.".encode())


@pytest.mark.parametrize(
    "wrong",
    [
        b"no pickle at all",
        b"",
        pickle.dumps(np.array([object])),  # arrays of objects
        pickle.dumps(np.zeros(2, dtype="i4,f4")),  # records
        pickle.dumps(np.zeros(3))[:-20],
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        pickle.dumps(np.arange(4)).replace(b"K\x04\x85", b"K\x09\x85"),  # a shape that the bytes do not fill
    ],
)
def test_damage_is_one_line(wrong):
    with pytest.raises(ConfigError, match=r"convert\.source=F: ") as caught:
        read(wrong)
    assert "\n" not in str(caught.value)
