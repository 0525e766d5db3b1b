"""Export a trained network to files that other programs load; compare each file with the network.

Shapes: B images, C channels, S pixels, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.core.errors import NasLightningError
from nas_lightning.core.functional import plain_autograd
from nas_lightning.deployment.description import TrainedNetwork
from nas_lightning.deployment.latency import cpu_name, median_milliseconds
from nas_lightning.deployment.onnx_files import BATCH_AXIS, OnnxNetwork, write_onnx
from nas_lightning.deployment.quantising import LabelledSamples, accuracies, write_int8
from nas_lightning.deployment.resident import peak_bytes
from nas_lightning.runs import documents, layout
from nas_lightning.runs.files import replacing, write_text

WEIGHTS, PROGRAM, ONNX = "weights.pt", "network.pt2", "network.onnx"
INT8 = "network.int8.onnx"
TRACED, CHECKED = 2, (1, 5)
"""Batch size of the traced batch, and of the compared ones: others, so that a fixed size is noticed."""
TOLERANCE = 1e-4
"""Largest difference that is taken for rounding, relative to the largest output (at least 1)."""

Networks = dict[str, Callable[[Tensor], Tensor]]
"""Exported networks by the names of their files: images [B, C, S, S] → logits [B, K]."""


def write_export(
    trained: TrainedNetwork,
    network: nn.Module,
    folder: Path,
    onnx: bool,
    about: Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
    samples: LabelledSamples | None = None,
) -> dict[str, Any]:
    """Write network.pt2, weights.pt, network.json, load.py, with ONNX network.onnx and predict.py; last export.json.

    A network whose preprocessing is unknown gets no predict.py.

    Args:
        trained: Description of the network.
        network: The trained network on the CPU; it is put into eval mode.
        folder: Folder to write to; it is created.
        onnx: Also write network.onnx and predict.py.
        about: Further entries of export.json.
        trusted: Further packages from which the space may come.
        samples: Images to quantise with; with them, and with ONNX, also write network.int8.onnx.

    Returns:
        The content of export.json: shapes; size, latency and memory of each file, and the largest difference of its
        outputs; with `samples` the accuracy before and after quantisation.

    Raises:
        NasLightningError: The outputs of a file differ from those of the network.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_former(folder)
    deployed, threads = trained.normalising(network).eval(), torch.get_num_threads()
    _write_plain(trained, network, folder)
    program = _traced(deployed, _images(trained, TRACED))
    with replacing(folder / PROGRAM) as file:
        torch.export.save(program, file)
    made: Networks = {
        WEIGHTS: _from_weights(trained, folder, trusted),
        PROGRAM: torch.export.load(folder / PROGRAM).module(),
    }
    if onnx:
        write_onnx(program, folder / ONNX, trained)
        made[ONNX] = OnnxNetwork(folder / ONNX, threads)
        if trained.preprocessing is not None:
            _copy("predict.py", folder)
    differences = {name: _compared(name, found, deployed, trained) for name, found in made.items()}
    summary = {
        **(about or {}),
        **_ports(trained),
        "checked_batch_sizes": list(CHECKED),
        "largest_difference": differences,
    }
    if onnx and samples is not None:
        write_int8(folder / ONNX, folder / INT8, samples.calibration)
        made[INT8] = OnnxNetwork(folder / INT8, threads)
        summary |= _accuracy({name: made[name] for name in (ONNX, INT8)}, samples)
    summary |= _cost(made, folder, trained, threads)
    documents.write_json(folder / "export.json", summary)
    return summary


def _remove_former(folder: Path) -> None:
    """Remove the files of a former export that this one may not write: they would be of another network."""
    if (folder / "export.json").exists():
        for name in ("export.json", ONNX, INT8, "predict.py"):
            (folder / name).unlink(missing_ok=True)


def _accuracy(networks: Networks, samples: LabelledSamples) -> dict[str, Any]:
    """Measure accuracies on the test images."""
    found, number = accuracies(networks, samples.test)
    return {
        "accuracy": {"unit": "%", "test_images": number, "files": found},
        "calibration_images": len(samples.calibration),
    }


def _cost(networks: Networks, folder: Path, trained: TrainedNetwork, threads: int) -> dict[str, Any]:
    """Measure sizes, latencies and, of ONNX files, memory; weights alone compute nothing."""
    images = _images(trained, 1)
    times = {name: median_milliseconds(network, images) for name, network in networks.items() if name != WEIGHTS}
    onnx_files = [name for name in networks if name.endswith(".onnx")]
    memory = {name: peak_bytes(folder / name, images.shape, threads) for name in onnx_files}
    return {
        "bytes": {name: (folder / name).stat().st_size for name in networks},
        "latency": {"unit": "ms, median", "batch": 1, "threads": threads, "cpu": cpu_name(), "files": times},
        "memory": {"unit": "bytes, peak", "batch": 1, "files": memory},
    }


def _ports(trained: TrainedNetwork) -> dict[str, Any]:
    """Describe input and output of the program and of ONNX."""
    side = trained.image_size
    values = "0 to 1" if trained.mean is not None else "as the user's own data module normalises"
    return {
        "input": {"name": "images", "shape": [BATCH_AXIS, trained.in_channels, side, side], "range": values},
        "output": {"name": trained.output_name, "shape": [BATCH_AXIS, trained.num_classes]},
    }


def _write_plain(trained: TrainedNetwork, network: nn.Module, folder: Path) -> None:
    """Write the weights, the description, and the script that loads both."""
    weights = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    with replacing(folder / WEIGHTS) as file:
        torch.save(weights, file)
    write_text(folder / layout.NETWORK, trained.to_json())
    _copy("load.py", folder)


def _copy(name: str, folder: Path) -> None:
    """Copy a script of this room, which runs without this package."""
    with replacing(folder / name) as file:
        file.write(Path(__file__).with_name(name).read_bytes())


def _images(trained: TrainedNetwork, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, trained.in_channels, trained.image_size, trained.image_size, generator=generator)


def _traced(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Trace a network with a dynamic batch size; autograd replaces custom gradients, which other programs lack."""
    shapes = ({0: torch.export.Dim(BATCH_AXIS)},)
    with torch.no_grad(), plain_autograd():
        return torch.export.export(network, (images,), dynamic_shapes=shapes)


def _from_weights(trained: TrainedNetwork, folder: Path, trusted: Sequence[str]) -> nn.Module:
    """Rebuild the network from weights.pt, as load.py does."""
    network = trained.build(trusted)
    network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return trained.normalising(network).eval()


def _compared(name: str, made: Callable[[Tensor], Tensor], network: nn.Module, trained: TrainedNetwork) -> float:
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
