"""Describe a trained network so that it can be rebuilt and fed: the file network.json.

Shapes: B images, C = in_channels, S = image_size pixels, K = num_classes outputs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from nas_lightning.config.parts import check_part, target_of
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import NumberScale
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.runs import documents
from nas_lightning.runs.layout import NETWORK as FILE


@dataclass(frozen=True)
class TrainedNetwork:
    """Architecture and image format of a trained network, without its weights.

    Args:
        space: Section of the configuration that builds the space.
        genotype: Architecture in the format of genotype.json.
        num_classes: K.
        in_channels: C.
        image_size: S.
        init_channels: Channels of the first cells; None where the space fixes them.
        layers: Number of cells; None likewise.
        stem: `cifar` or `imagenet`; None likewise.
        class_names: Names of the K classes; none where the output is a number.
        mean: Mean of the training images per channel, [C], on the scale where white is 1; None: the user normalises.
        std: Standard deviation, likewise.
        preprocessing: Steps from a file to pixels; None if they are in the user's own transforms.
        data: Name of the training images.
        number: What the single output stands for; None for classes.
    """

    space: dict[str, Any]
    genotype: dict[str, Any]
    num_classes: int
    in_channels: int
    image_size: int
    init_channels: int | None
    layers: int | None
    stem: str | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    preprocessing: Preprocessing | None
    data: str
    number: NumberScale | None = None

    @classmethod
    def load(cls, folder: str | Path) -> "TrainedNetwork":
        """Read network.json of a folder.

        Raises:
            ConfigError: The file is missing or invalid.
        """
        path = Path(folder) / FILE
        try:
            return TypeAdapter(cls).validate_python(documents.read_json(path))
        except (OSError, ValueError, ValidationError) as error:
            raise ConfigError(f"run={folder}: cannot read {FILE} ({' '.join(str(error).split())[:300]})") from error

    def to_json(self) -> str:
        """Return the text of network.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def build(self, trusted: Sequence[str] = ()) -> nn.Module:
        """Build the network with random weights, without the auxiliary head: normalised images [B, C, S, S] → [B, K].

        Args:
            trusted: Further packages from which the space may come.

        Raises:
            ConfigError: The space or the genotype is not valid.
        """
        problems = check_part("space", self.space, tuple(trusted))
        if problems:
            raise ConfigError(f"{FILE}: {'; '.join(problems)}")
        arguments = {key: value for key, value in self.space.items() if not key.startswith("_")}
        space = target_of("space", self.space, tuple(trusted))(**arguments)
        return space.network(
            Genotype.from_dict(self.genotype, FILE),
            self.num_classes,
            self.in_channels,
            self.init_channels,
            self.layers,
            False,
            self.stem,
        )

    @property
    def output_name(self) -> str:
        """Name of the output of an exported network."""
        return "logits" if self.number is None else "value"

    def normalising(self, network: nn.Module) -> nn.Module:
        """Put the normalisation before the network: images [B, C, S, S] from 0 (black) to 1 (white) → [B, K].

        Results are logits or, behind the network, the number that its output stands for.
        """
        if self.number is not None:
            network = Denormalising(network, self.number)
        if self.mean is None or self.std is None:
            return network
        return Normalising(network, self.mean, self.std)


class Normalising(nn.Module):
    """Normalise images, then apply a network.

    Args:
        network: Normalised images → logits.
        mean: Mean per channel, [C], on the scale where white is 1.
        std: Standard deviation per channel, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the outputs [B, K] of images [B, C, S, S] from 0 to 1."""
        return self.network((images - self.mean) / self.std)


class Denormalising(nn.Module):
    """Apply a network, then return the number that its output stands for.

    Args:
        network: Images → outputs [B, 1].
        scale: What they stand for.
    """

    def __init__(self, network: nn.Module, scale: NumberScale) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        """Compute numbers [B, 1] of images [B, C, S, S]."""
        return self.network(images) * self.scale.std + self.scale.mean


AVERAGED = "average.module."
"""How the names of averaged weights begin in a checkpoint of a training."""


def plain_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights and buffers of the network in a checkpoint of its training, without the auxiliary head.

    Where the training averaged them, these are the averages, whose accuracy the run reports.
    """
    prefix = next((AVERAGED for name in state if name.startswith(AVERAGED)), "network.")
    kept = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value.contiguous() for name, value in kept.items() if not name.startswith("auxiliary.")}
