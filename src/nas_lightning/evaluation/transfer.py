"""Start a training from the weights of another run's network, with a classifier of its own: fine-tuning."""

from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.deployment.description import TrainedNetwork, plain_weights
from nas_lightning.evaluation.dropout import classifier_of
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder

KEY = "evaluation.weights_of"


def described(run: str) -> TrainedNetwork:
    """Read the description of the network that another run has trained to the end.

    Args:
        run: Its folder.

    Raises:
        ConfigError: There is no such run, or it has trained no network, or not to the end.
    """
    folder = RunFolder(run, KEY)
    folder.config()  # refuses what is no run
    begun = (folder.checkpoints / layout.EVALUATED).exists()
    if not (folder.path / layout.NETWORK).exists() or not begun:
        raise ConfigError(
            f"{KEY}={run}: it has no network that was trained on images to the end; name a run with"
            f" {layout.NETWORK} and checkpoints/{layout.EVALUATED}"
        )
    return TrainedNetwork.load(folder.path)


def check_sizes(run: str, space: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Refuse a run whose networks are of another space or of other sizes.

    Args:
        run: Its folder.
        space: Configuration of the space of the training.
        sizes: Sizes of its network by their names in the recipe, and the channels of its images.

    Raises:
        ConfigError: It is.
    """
    trained = described(run)
    kept = {name: getattr(trained, name) for name in sizes}
    for name, (theirs, ours) in {name: (kept[name], sizes[name]) for name in sizes}.items():
        if theirs != ours:
            fix = f"use evaluation.{name}={theirs}" if name != "in_channels" else "use images with so many channels"
            raise ConfigError(f"{KEY}={run}: its network has {name}={theirs}, not {ours}; {fix}")
    changed = sorted(key for key in {*trained.space, *space} if trained.space.get(key) != space.get(key))
    if changed:
        key = "name" if "name" in changed else changed[0]
        raise ConfigError(
            f"{KEY}={run}: its network is of another space, space.{key}={trained.space.get(key)} and not"
            f" {space.get(key)}; use the space of that run"
        )


def check_genotype(run: str, genotype: Genotype) -> None:
    """Refuse a run that trained another genotype.

    Raises:
        ConfigError: It did.
    """
    if described(run).genotype != genotype.to_dict():
        raise ConfigError(
            f"{KEY}={run}: its network has another genotype; use genotype={run}, or the run that trained it"
        )


@torch.no_grad()
def take_weights(network: nn.Module, run: str, space: str) -> None:
    """Load weights and running statistics of another run's network in place, all but those of the classifier.

    Where that run averaged its weights, these are the averages. An auxiliary head keeps its random weights.

    Args:
        network: The network, of the same architecture.
        run: Folder of the run.
        space: Name of the space, for messages.

    Raises:
        ConfigError: They do not fit.
    """
    classifier_of(network, f"weights_of={run}", space)
    saved = RunFolder(run, KEY).checkpoint(layout.EVALUATED)
    if saved is None:
        raise ConfigError(f"{KEY}={run}: checkpoints/{layout.EVALUATED} is gone; name a run that has it")
    theirs = _body(plain_weights(saved["state_dict"]))
    ours = _body({name: value for name, value in network.state_dict().items() if not name.startswith("auxiliary.")})
    wrong = sorted(theirs.keys() ^ ours.keys()) or [n for n in ours if ours[n].shape != theirs[n].shape]
    if wrong:
        raise ConfigError(
            f"{KEY}={run}: its weights do not fit this network, first {wrong[0]}; use the space of that run"
        )
    for name, value in ours.items():
        value.copy_(theirs[name])


def _body(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("classifier.")}
