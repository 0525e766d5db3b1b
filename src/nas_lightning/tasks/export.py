"""`task=export`: write the trained network of a run as files that other programs load."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from torch import Tensor
from torch.utils.data import DataLoader

from nas_lightning.analyses.base import show_table
from nas_lightning.config.schema import RootConfig
from nas_lightning.config.sections import ExportConfig
from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.core.terminal import print_line, track_progress
from nas_lightning.deployment import TrainedNetwork, write_export
from nas_lightning.deployment.onnx_files import INSTALL_ONNX, onnx_is_wanted, require_onnx
from nas_lightning.deployment.quantising import LabelledSamples
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.trained import refuse_run, trained_network
from nas_lightning.training.workbench import Workbench

CALIBRATED = 256
"""Training images that set the ranges of a quantised network."""
BATCH = 256


def run_export(config: RootConfig, folder: RunFolder) -> dict[str, Any]:
    """Export the trained network of the run that `run` names to a new folder; return the content of export.json.

    The other run is only read.

    Raises:
        ConfigError: The run has no trained network, ONNX cannot be written, there are no images to quantise with, or
            the folder holds a run.
        NasLightningError: An exported file gives other outputs than the network.
    """
    settings = config.export or ExportConfig()
    onnx = onnx_is_wanted(settings.onnx)
    if settings.int8:
        require_onnx("export.int8=true", "export.int8=false")
        if not onnx:
            raise ConfigError("export.int8=true: network.int8.onnx is made of network.onnx; use export.onnx=true")
    refuse_run(folder)
    trained, network, about = trained_network(config)
    if settings.int8 and trained.number is not None:
        raise ConfigError(
            "export.int8=true: its cost is measured in accuracy, and this network predicts a number; use"
            " export.int8=false"
        )
    samples = _samples(config, trained) if settings.int8 else None
    try:
        made = write_export(trained, network, folder.path, onnx, about, config.trusted, samples)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    _show(made)
    for line in _notes(trained, onnx, settings.onnx, folder):
        print_line(escape(line))
    return made


def _samples(config: RootConfig, trained: TrainedNetwork) -> LabelledSamples:
    """Return images of the run, as the exported network takes them.

    Raises:
        ConfigError: `run` is an export, or its images cannot be read.
    """
    source = RunFolder(config.run or "", "run")
    if not source.holds_run:
        raise ConfigError(
            f"run={source}: an export has no images for export.int8=true; give the run that trained the network"
        )
    try:
        data = Workbench({**source.config(), "trusted": list(config.trusted)}, source).images
        train, test = (data.dataset(part, augment=False) for part in ("train", "test"))
        number = len(data.train_labels)
        chosen = np.unique(np.linspace(0, number - 1, min(CALIBRATED, number)).astype(int)).tolist()
        calibration = _unnormalised(torch.stack([train[index][0] for index in chosen]), trained)
    except DataError as error:
        raise ConfigError(f"export.int8=true: needs the images of run={source}: {error}; or use no int8") from error

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        loader: Any = DataLoader(test, BATCH)
        for images, labels in track_progress(loader, f"test: batches of {BATCH} images"):
            yield _unnormalised(images, trained), labels

    return LabelledSamples(calibration, batches())


def _unnormalised(images: Tensor, trained: TrainedNetwork) -> Tensor:
    """Return images from 0 to 1, which the exported network normalises itself; unchanged where it does not."""
    if trained.mean is None or trained.std is None:
        return images
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (trained.mean, trained.std))
    return (images * std + mean).clamp(0, 1)


def _show(made: Mapping[str, Any]) -> None:
    """Print size, memory, latency and difference of each file, and its accuracy where that was measured."""
    latency, accuracy = made["latency"], made.get("accuracy")
    threads = f"{latency['threads']} thread{'s' if latency['threads'] > 1 else ''}"
    columns = ["file", "MiB", "MiB of memory", f"ms per image ({threads})", "largest difference"]
    columns += [f"accuracy on {accuracy['test_images']} test images"] if accuracy else []
    rows = []
    for name, size in made["bytes"].items():
        milliseconds, difference = latency["files"].get(name), made["largest_difference"].get(name)
        memory = made["memory"]["files"].get(name)
        row = [name, f"{size / 2**20:.2f}", "–" if memory is None else f"{memory / 2**20:.1f}"]
        row.append("–" if milliseconds is None else f"{milliseconds:.2f}")
        row.append("–" if difference is None else f"{difference:.1e}")
        if accuracy:
            row.append(f"{accuracy['files'][name]:.2f} %" if name in accuracy["files"] else "–")
        rows.append(row)
    show_table("exported, compared with the trained network", columns, rows)


def _notes(trained: TrainedNetwork, onnx: bool, wanted: bool | None, folder: RunFolder) -> list[str]:
    """Return lines about the files that are missing, and about the scripts."""
    lines = []
    if not onnx and wanted is None:
        lines = [f"export.onnx=null: no network.onnx and no predict.py, their packages are missing; {INSTALL_ONNX}"]
    if onnx and trained.preprocessing is None:
        problem = "the transforms of your own data module are not known here"
        if trained.in_channels not in (1, 3):
            problem = f"photos have 1 or 3 channels, the images of this network {trained.in_channels}"
        lines = [f"no predict.py: {problem}"]
    lines.append(f"written: {folder} (python {folder}/load.py shows how to load it in PyTorch)")
    if onnx and trained.preprocessing is not None:
        lines.append(f"label photos without PyTorch: python {folder}/predict.py PHOTO (onnxruntime, numpy, pillow)")
    return lines
