"""Export a trained network to files that other programs load; compare each file with the network.

Shapes: B images, C channels, S pixels, K classes.
"""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError, NasLightningError
from nas_lightning.core.functional import plain_autograd
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.runs import documents, layout
from nas_lightning.runs.files import replacing, write_text

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INSTALL_ONNX = "pip install 'nas-lightning[export]'"
TRACED, CHECKED = 2, (1, 5)
"""Batch size of the traced batch, and of the compared ones: others, so that a fixed size is noticed."""
TOLERANCE = 1e-4
"""Largest difference that is taken for rounding, relative to the largest output (at least 1)."""


def onnx_is_wanted(wanted: bool | None) -> bool:
    """Return True if ONNX is to be written; None writes it if its packages are installed.

    Raises:
        ConfigError: ONNX is requested and a package is missing.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if wanted and missing:
        raise ConfigError(f"export.onnx=true: needs {', '.join(missing)}; {INSTALL_ONNX}, or use export.onnx=null")
    return not missing if wanted is None else wanted


def write_export(
    trained: TrainedNetwork,
    network: nn.Module,
    folder: Path,
    onnx: bool,
    about: Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
) -> dict[str, Any]:
    """Write network.pt2, network.onnx, weights.pt, network.json, load.py, and last export.json.

    Args:
        trained: Description of the network.
        network: The trained network on the CPU; it is put into eval mode.
        folder: Folder to write to; it is created.
        onnx: Also write network.onnx.
        about: Further entries of export.json.
        trusted: Further packages from which the space may come.

    Returns:
        The content of export.json: shapes, and the largest difference of the outputs of each file.

    Raises:
        NasLightningError: The outputs of a file differ from those of the network.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    deployed = trained.normalising(network).eval()
    with replacing(folder / "weights.pt") as file:
        torch.save(weights, file)
    write_text(folder / layout.NETWORK, trained.to_json())
    with replacing(folder / "load.py") as file:
        file.write(Path(__file__).with_name("load.py").read_bytes())

    program = _traced(deployed, _images(trained, TRACED))
    with replacing(folder / "network.pt2") as file:
        torch.export.save(program, file)
    files = {
        "weights.pt": _compared("weights.pt", _from_weights(trained, folder, trusted), deployed, trained),
        "network.pt2": _compared("network.pt2", torch.export.load(folder / "network.pt2").module(), deployed, trained),
    }
    if onnx:
        _write_onnx(program, folder / "network.onnx")
        files["network.onnx"] = _compared("network.onnx", _onnx_session(folder / "network.onnx"), deployed, trained)
    size = trained.image_size
    summary = {
        **(about or {}),
        "input": {
            "name": "images",
            "shape": ["batch", trained.in_channels, size, size],
            "range": "0 to 1" if trained.mean is not None else "as the user's own data module normalises",
        },
        "output": {"name": "logits", "shape": ["batch", trained.num_classes]},
        "checked_batch_sizes": list(CHECKED),
        "largest_difference": files,
    }
    documents.write_json(folder / "export.json", summary)
    return summary


def _images(trained: TrainedNetwork, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, trained.in_channels, trained.image_size, trained.image_size, generator=generator)


def _traced(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Trace a network with a dynamic batch size; autograd replaces custom gradients, which other programs lack."""
    shapes = ({0: torch.export.Dim("batch")},)
    with torch.no_grad(), plain_autograd():
        return torch.export.export(network, (images,), dynamic_shapes=shapes)


def _from_weights(trained: TrainedNetwork, folder: Path, trusted: Sequence[str]) -> nn.Module:
    """Rebuild the network from weights.pt, as load.py does."""
    network = trained.build(trusted)
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return trained.normalising(network).eval()


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own code; its outputs are compared below
        made = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=["logits"], external_data=False, verbose=False
        )
    assert made is not None  # dynamo=True returns a program
    with replacing(path) as file:
        file.write(made.model_proto.SerializeToString())


def _onnx_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _compared(name: str, made: Any, network: nn.Module, trained: TrainedNetwork) -> float:
    """Return the largest difference of the outputs, on batches of other sizes than the traced one.

    Raises:
        NasLightningError: The difference exceeds `TOLERANCE`.
    """
    largest = 0.0
    for batch in CHECKED:
        images = _images(trained, batch)
        with torch.no_grad():
            expected, found = network(images), made(images)
        difference = float((found - expected).abs().max())
        # Negated, so that NaN is refused as well.
        if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise NasLightningError(
                f"{name}: its outputs differ from the network's by {difference:.2e} on {batch} images; do not use it"
            )
        largest = max(largest, difference)
    return largest
