"""The memory of an ONNX file, against networks whose largest tensor is known."""

import sys

import pytest

from nas_lightning.deployment import resident

MEBIBYTE = 2**20


@pytest.fixture
def repeats(tmp_path):
    """A network that repeats an image of 1 MiB `number` times in memory before it takes the mean."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def make(number):
        from onnx import TensorProto, helper

        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 512, 512])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
        times = helper.make_tensor("times", TensorProto.INT64, [4], [1, number, 1, 1])
        nodes = [
            helper.make_node("Tile", ["images", "times"], ["many"]),
            helper.make_node("ReduceMean", ["many"], ["logits"]),
        ]
        graph = helper.make_graph(nodes, "repeats", [images], [logits], [times])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, tmp_path / f"{number}.onnx")
        return tmp_path / f"{number}.onnx"

    return make


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak of a process")
def test_the_largest_tensor_is_counted(repeats):
    held = bytearray(300 * MEBIBYTE)  # the peak of this process, which must not count
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    small, large = (resident.peak_bytes(repeats(number), (1, 1, 512, 512), 1) for number in (1, 128))
    assert small < 32 * MEBIBYTE
    assert 120 * MEBIBYTE < large - small < 280 * MEBIBYTE  # the reduction may hold a copy of its input
    assert len(held) == 300 * MEBIBYTE


def test_a_file_that_cannot_be_run_has_none(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"none")
    assert resident.peak_bytes(tmp_path / "broken.onnx", (1, 1, 2, 2)) is None
