"""Load the trained network of another run, for `task=export` and `task=predict`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas_lightning.config.compose import options
from nas_lightning.config.schema import RootConfig
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import exists
from nas_lightning.deployment import TrainedNetwork
from nas_lightning.deployment.description import plain_weights
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.versions import versions
from nas_lightning.training.workbench import Workbench


def trained_network(root: RootConfig) -> tuple[TrainedNetwork, nn.Module, dict[str, Any]]:
    """Load the network that `run` names on the CPU; return its description, the network in eval mode and its origin.

    Raises:
        ConfigError: No run is named, or it has no complete trained network.
    """
    if root.run is None:
        raise ConfigError(f"run=null: task={root.task} needs a run with a trained network; give run=outputs/DATE/TIME")
    folder, trusted = RunFolder(root.run, "run"), tuple(root.trusted)
    # The folder of an export has network.json and no config.yaml; a run has config.yaml and, unless it is old, both.
    if not folder.holds_run and exists(folder.path / layout.NETWORK):
        trained = TrainedNetwork.load(folder.path)
        weights = _exported_weights(folder.path)
        about: dict[str, Any] = {"run": str(folder)}
    else:
        config = {**folder.config(), "trusted": list(trusted)}
        summary = folder.summary()
        weights = _trained_weights(folder, summary)
        about = {"run": str(folder), "evaluation": summary["evaluation"], "versions": versions()}
        described = (folder.path / layout.NETWORK).exists()
        trained = TrainedNetwork.load(folder.path) if described else _described(config, folder)
    network = trained.build(trusted)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"run={folder}: its weights do not fit {layout.NETWORK} there ({reason})") from error
    return trained, network.eval(), about


def _trained_weights(folder: RunFolder, summary: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights after the last epoch, whose accuracy the run reports."""
    evaluation, name = summary["evaluation"], layout.EVALUATED
    begun = (folder.checkpoints / name).exists()
    if not evaluation and begun:
        raise ConfigError(f"run={folder}: its network is not trained to the end; continue with {folder.command()}")
    if not evaluation or not begun:
        problem = "it has no trained network, only a genotype"
        if evaluation:
            problem = "its accuracy is from a table, or its checkpoints/evaluation/last.ckpt is missing"
        trained_by = shlex.join(["task=evaluate", f"genotype={folder}", *_words_of_images(folder, summary)])
        raise ConfigError(f"run={folder}: {problem}; train it with {trained_by} and name that run")
    saved = folder.checkpoint(name)
    assert saved is not None  # the file is there
    return plain_weights(saved["state_dict"])


def _words_of_images(folder: RunFolder, summary: Mapping[str, Any]) -> list[str]:
    """Return the words that choose the images of a run, as far as a command can; its genotype names the space."""
    if summary["data"] not in options("data"):  # of a user's own class
        return []
    places = folder.data_record().get("places", {})
    own = [f"{key}={value}" for key, value in places.items() if key.startswith("data.") and isinstance(value, str)]
    return [f"data={summary['data']}", *own]


def _exported_weights(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"run={folder}: cannot read weights.pt ({reason}); export the network again") from error


def _described(config: Mapping[str, Any], folder: RunFolder) -> TrainedNetwork:
    """Describe the network of an older run, which has no network.json, from its configuration and its images."""
    bench = Workbench(config, folder)
    evaluator = bench.evaluator
    if not isinstance(evaluator, Retraining):
        raise ConfigError(
            f"run={folder}: {type(evaluator).__name__} wrote no {layout.NETWORK}, which only trainings on images do;"
            " build the network in Python: nl.build_space(config).build_network(…)"
        )
    return evaluator.described(folder.genotype(), bench)


def refuse_run(folder: RunFolder) -> None:
    """Refuse a folder that holds a run: the files of export and predict need one of their own.

    Raises:
        ConfigError: The folder holds a run.
    """
    if folder.holds_run:
        raise ConfigError(f"hydra.run.dir={folder}: the folder holds a run; choose another one")
