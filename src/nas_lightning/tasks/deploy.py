"""From `task=export` and `task=predict` to files: the trained network of another run, found and put to use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import nn

from nas_lightning.analyses.base import QUIET, show_table
from nas_lightning.config.schema import PredictConfig, RootConfig, validate
from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.deployment import TrainedNetwork, image_files, predict_images, save_predictions, write_export
from nas_lightning.deployment.description import plain_weights
from nas_lightning.deployment.exporting import INSTALL_ONNX, onnx_is_wanted
from nas_lightning.deployment.predicting import Prediction
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.versions import versions
from nas_lightning.searches.one_shot import tell, track_progress
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench

SHOWN = 10
"""Predictions in the table on the terminal."""


def run_export(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Write the trained network of the run that `run` names into a folder of this task; that run is only read.

    Raises:
        ConfigError: The run has no trained network, ONNX cannot be written, or the folder holds a run.
    """
    root = validate(config)
    wanted = None if root.export is None else root.export.onnx
    onnx = onnx_is_wanted(wanted)
    _refuse_run(folder)
    trained, network, about = trained_network(root)
    try:
        made = write_export(trained, network, folder.path, onnx, about, root.trusted)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    differences = made["largest_difference"]
    show_table(
        "exported, compared with the trained network",
        ("file", "largest difference"),
        [(name, f"{difference:.1e}") for name, difference in differences.items()],
    )
    if not onnx and wanted is None:
        tell(escape(f"network.onnx left out: its packages are not installed; {INSTALL_ONNX}"))
    tell(escape(f"written: {folder} (python {folder}/load.py shows how to load it)"))
    return made


def run_predict(config: Mapping[str, Any], folder: RunFolder) -> list[Prediction]:
    """Label images; writes predictions.csv into a folder of this task.

    Raises:
        ConfigError: There are no images, the run has no trained network, or what it expects of images is not known.
        DataError: No image can be read.
    """
    root = validate(config)
    settings = root.predict or PredictConfig()
    if root.images is None:
        raise ConfigError("images=null: task=predict needs a photo or a folder of photos; give images=FOLDER")
    check_processes(config["trainer"], root.task)
    _refuse_run(folder)
    paths = image_files(root.images)
    trained, network, _ = trained_network(root)
    if trained.preprocessing is None:
        raise ConfigError(
            f"run={root.run}: its images came through a data module of your own, whose transforms are not known here;"
            " use task=export and load the network in Python"
        )
    device = Workbench(config, folder).plain_trainer([], max_epochs=1, **QUIET).strategy.root_device
    predictions = predict_images(
        trained.normalising(network),
        paths,
        trained.preprocessing,
        trained.class_names,
        settings.batch_size,
        settings.num_workers,
        settings.top,
        device,
        track_progress,
    )
    broken = [found for found in predictions if found.error]
    if len(broken) == len(predictions):
        raise DataError(f"images={root.images}: none of {len(paths)} could be read; the first: {broken[0].error}")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        save_predictions(folder.path / layout.PREDICTIONS, predictions)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    _show(predictions, broken)
    tell(escape(f"written: {folder}/{layout.PREDICTIONS}"))
    return predictions


def trained_network(root: RootConfig) -> tuple[TrainedNetwork, nn.Module, dict[str, Any]]:
    """The network that `run` names, on the CPU: what it is, itself with its weights, and where it is from.

    Raises:
        ConfigError: No run is named, or it has no trained network.
    """
    if root.run is None:
        raise ConfigError(f"run=null: task={root.task} needs a run with a trained network; give run=outputs/DATE/TIME")
    folder, trusted = RunFolder(root.run, "run"), tuple(root.trusted)
    if not folder.holds_run and (folder.path / layout.NETWORK).exists():
        trained = TrainedNetwork.load(folder.path)
        weights = _exported_weights(folder.path)
        about: dict[str, Any] = {"run": str(folder)}
    else:
        config = {**folder.config(), "trusted": list(trusted)}
        summary = folder.summary()
        weights = _trained_weights(folder, summary)
        about = {"run": str(folder), "evaluation": summary["evaluation"], "versions": versions()}
        trained = (
            TrainedNetwork.load(folder.path) if (folder.path / layout.NETWORK).exists() else _described(config, folder)
        )
    network = trained.build(trusted)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"run={folder}: its weights do not fit {layout.NETWORK} there ({reason})") from error
    return trained, network.eval(), about


def _trained_weights(folder: RunFolder, summary: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Those of the last epoch, which is what the run reports."""
    evaluation, name = summary["evaluation"], layout.EVALUATED
    begun = (folder.checkpoints / name).exists()
    if evaluation is None and begun:
        raise ConfigError(f"run={folder}: its network is not trained to the end; go on with resume={folder}")
    if evaluation is None or not begun:
        what = "it has no trained network, only a genotype"
        if evaluation is not None:
            what = "its network was looked up, or its checkpoints/evaluation/last.ckpt is gone"
        raise ConfigError(f"run={folder}: {what}; train it with task=evaluate genotype={folder} and name that run")
    saved = folder.checkpoint(name)
    assert saved is not None  # the file is there
    return plain_weights(saved["state_dict"])


def _exported_weights(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"run={folder}: cannot read weights.pt ({reason}); export the network again") from error


def _described(config: Mapping[str, Any], folder: RunFolder) -> TrainedNetwork:
    """What a run of an older version did not write down, from its configuration and its images."""
    bench = Workbench(config, folder)
    evaluator = bench.evaluator
    if not isinstance(evaluator, Retraining):
        raise ConfigError(
            f"run={folder}: its evaluator is not ours and left no {layout.NETWORK}; train it with one of ours"
        )
    return evaluator.described(folder.genotype(), bench)


def _refuse_run(folder: RunFolder) -> None:
    if folder.holds_run:
        raise ConfigError(f"hydra.run.dir={folder}: the folder holds a run; choose another one")


def _show(predictions: Sequence[Prediction], broken: Sequence[Prediction]) -> None:
    good = [found for found in predictions if not found.error]
    more = len(good) - SHOWN
    show_table(
        "predictions",
        ("image", "label", "probability"),
        [(escape(found.path), escape(found.labels[0]), f"{found.probabilities[0]:.3f}") for found in good[:SHOWN]],
        caption=f"and {more} more" if more > 0 else None,
    )
    counts = Counter(found.labels[0] for found in good).most_common()
    tell(escape(f"{len(good)} images: {', '.join(f'{label} {count}' for label, count in counts[:SHOWN])}"))
    if broken:
        tell(escape(f"{len(broken)} could not be read, see the column error; the first: {broken[0].error}"))
