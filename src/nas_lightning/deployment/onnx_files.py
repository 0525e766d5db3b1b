"""Write a traced network as ONNX, with all that is needed to feed it, and run such files.

Shapes: B images, C channels, S pixels, K classes.
"""

import importlib.util
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_lightning.core.errors import ConfigError
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.runs.files import replacing
from nas_lightning.runs.versions import versions

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INSTALL_ONNX = "pip install 'nas-lightning[export]'"
BATCH_AXIS = "batch"


def require_onnx(key: str, otherwise: str) -> None:
    """Refuse a setting whose packages are missing.

    Args:
        key: The override that asks for ONNX.
        otherwise: The override that does without.

    Raises:
        ConfigError: A package is missing.
    """
    missing = missing_packages()
    if missing:
        raise ConfigError(f"{key}: needs {', '.join(missing)}; {INSTALL_ONNX}, or use {otherwise}")


def missing_packages() -> list[str]:
    """Return the packages that writing and checking ONNX needs and that are not installed."""
    return [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]


def onnx_is_wanted(wanted: bool | None) -> bool:
    """Return True if ONNX is to be written; None writes it if its packages are installed.

    Raises:
        ConfigError: ONNX is requested and a package is missing.
    """
    if wanted:
        require_onnx("export.onnx=true", "export.onnx=null")
    return not missing_packages() if wanted is None else wanted


def metadata_of(trained: TrainedNetwork) -> dict[str, str]:
    """Return the metadata of network.onnx: texts, and JSON where a value is no text.

    `predict.py` reads `classes`, `unit` and `preprocessing`; the rest is for other programs and for people.
    """
    values: dict[str, Any] = {
        "classes": list(trained.class_names) if trained.number is None else None,
        "unit": "" if trained.number is None else trained.number.unit,
        "image_size": trained.image_size,
        "channels": trained.in_channels,
        "mean": trained.mean,
        "std": trained.std,
        "normalisation": "in the network" if trained.mean is not None else "in the user's own data module",
        "preprocessing": None if trained.preprocessing is None else asdict(trained.preprocessing),
        "product": "nas_lightning",
        "version": versions()["nas-lightning"],
        "space": trained.genotype["space"],
        "genotype": trained.genotype,
        "data": trained.data,
    }
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in values.items()}


def write_onnx(program: torch.export.ExportedProgram, path: Path, trained: TrainedNetwork) -> None:
    """Write a traced network as ONNX with `metadata_of`: `images` [batch, C, S, S] → `logits` [batch, K], or `value`.

    Raises:
        OSError: The file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own code; its outputs are compared later
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=[trained.output_name],
            external_data=False,
            verbose=False,
        )
    assert made is not None  # dynamo=True returns a program
    model = made.model_proto
    _name_batch_axis(model)
    _remove_traces(model)
    model.producer_name = "nas_lightning"
    model.producer_version = versions()["nas-lightning"]
    for key, value in metadata_of(trained).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with replacing(path) as file:
        file.write(model.SerializeToString())


def _name_batch_axis(model: Any) -> None:
    """Give the batch axis a name: the exporter names it s followed by a number."""
    # ExportedProgram knows the name that was given, and its ONNX exporter loses it.
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    symbol = re.compile(rf"\b{re.escape(axis.dim_param)}\b")
    for value in _values(model):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = symbol.sub(BATCH_AXIS, size.dim_param)


def _remove_traces(model: Any) -> None:
    """Remove the paths of source files on this machine, which make up half of a small file."""
    for item in (*_values(model), *model.graph.node, *model.graph.initializer, model.graph):
        item.ClearField("metadata_props")


def _values(model: Any) -> Iterator[Any]:
    yield from (*model.graph.input, *model.graph.output, *model.graph.value_info)


class OnnxNetwork:
    """An ONNX file on the CPU.

    Args:
        path: The file.
        threads: Threads of one operation; 0: as many as onnxruntime chooses.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Tensor:
        """Compute logits [B, K] of images [B, C, S, S]."""
        outputs: Sequence[Any] = self.session.run(None, {"images": images.numpy()})
        return torch.from_numpy(outputs[0])
