"""Quantise network.onnx to 8-bit integers, and measure what that costs in accuracy.

Shapes: B images, N calibration images, C channels, S pixels, K classes.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_lightning.runs.files import replacing

BATCH = 32
UNFUSED = ("BatchNormalization",)
"""Kinds of nodes that stay in float32: those that no convolution precedes have no integer version."""


@dataclass(frozen=True)
class LabelledSamples:
    """Images as the exported network takes them.

    Args:
        calibration: Training images [N, C, S, S] without augmentation, which set the ranges of all activations.
        test: Batches of test images [B, C, S, S] and labels [B]; read once.
    """

    calibration: Tensor
    test: Iterable[tuple[Tensor, Tensor]]


def write_int8(source: Path, target: Path, calibration: Tensor) -> None:
    """Write an ONNX file with integer weights and activations (static quantisation, ONNX Runtime, QDQ format).

    Weights are signed with a scale per output channel, activations unsigned with the range that they have on the
    calibration images. Input and output stay float32, the axis `batch` and the metadata stay as they are.

    Args:
        source: The float32 file.
        target: The file that is written.
        calibration: Images [N, C, S, S].

    Raises:
        OSError: The file cannot be written.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared", Path(folder) / "quantised"
        # Symbolic shapes need sympy; onnx's own inference and the optimisation suffice for networks of fixed size.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        quantize_static(
            str(prepared),
            str(quantised),
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7 bits: CPUs without VNNI add two products of 8 bits in 16 bits, which saturate.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[node.name for node in nodes if node.op_type in UNFUSED],
        )
        model, original = onnx.load(quantised), onnx.load(source)
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    entry = model.metadata_props.add()
    entry.key, entry.value = "quantisation", "int8, static, QDQ"
    with replacing(target) as file:
        file.write(model.SerializeToString())


def _reader(images: Tensor) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        batches = iter(images.split(BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    return Reader()


def accuracies(
    networks: Mapping[str, Callable[[Tensor], Tensor]], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[dict[str, float], int]:
    """Return the accuracy in percent of each network on the same images, and the number of images.

    >>> labels = torch.tensor([0, 1, 1, 1])
    >>> accuracies({"always 1": lambda images: torch.tensor([[0.0, 1.0]]).repeat(4, 1)}, [(labels, labels)])
    ({'always 1': 75.0}, 4)
    """
    right, total = dict.fromkeys(networks, 0), 0
    for images, labels in batches:
        total += len(labels)
        for name, network in networks.items():
            with torch.no_grad():
                right[name] += int((network(images).argmax(dim=1) == labels).sum())
    return {name: round(100 * count / max(total, 1), 4) for name, count in right.items()}, total
