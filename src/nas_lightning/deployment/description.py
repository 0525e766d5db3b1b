"""All that is needed to build a trained network again and to feed it: the file network.json.

Shapes: B images, C = in_channels, S = image_size pixels, K = num_classes.
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
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.runs import documents
from nas_lightning.runs.layout import NETWORK as FILE


@dataclass(frozen=True)
class TrainedNetwork:
    """The architecture and the images of a trained network, without its weights.

    Args:
        space: Section of the configuration that builds the space.
        genotype: The architecture, as genotype.json has it.
        num_classes: K.
        in_channels: C.
        image_size: S.
        init_channels: Channels of the first cells.
        layers: Cells.
        stem: `cifar` or `imagenet`.
        class_names: One a class.
        mean: Of the training images, one a channel, where white is 1; None: images come normalised by the user.
        std: Likewise, the standard deviation.
        preprocessing: From a file to pixels; None where only the user's own transforms know.
        data: Name of the training images.
    """

    space: dict[str, Any]
    genotype: dict[str, Any]
    num_classes: int
    in_channels: int
    image_size: int
    init_channels: int
    layers: int
    stem: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    preprocessing: Preprocessing | None
    data: str

    @classmethod
    def load(cls, folder: str | Path) -> "TrainedNetwork":
        """Read network.json of a folder.

        Raises:
            ConfigError: It is missing or no such file.
        """
        path = Path(folder) / FILE
        try:
            return TypeAdapter(cls).validate_python(documents.read_json(path))
        except (OSError, ValueError, ValidationError) as error:
            raise ConfigError(f"run={folder}: cannot read {FILE} ({' '.join(str(error).split())[:300]})") from error

    def to_json(self) -> str:
        """The text of network.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def build(self, trusted: Sequence[str] = ()) -> nn.Module:
        """The network with weights at random, without the auxiliary head: normalised images → logits [B, K].

        Args:
            trusted: Packages besides ours that the space may come from.

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

    def normalising(self, network: nn.Module) -> nn.Module:
        """The network behind its normalisation: images [B, C, S, S] from 0 (black) to 1 (white) → logits [B, K]."""
        if self.mean is None or self.std is None:
            return network
        return Normalising(network, self.mean, self.std)


class Normalising(nn.Module):
    """A network that normalises its images itself.

    Args:
        network: Normalised images → logits.
        mean: One a channel, where white is 1.
        std: Likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] from 0 to 1 → logits [B, K]."""
        return self.network((images - self.mean) / self.std)


def plain_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights and buffers of a network, out of a checkpoint of its training; the auxiliary head stays behind."""
    prefix = "network."
    kept = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value.contiguous() for name, value in kept.items() if not name.startswith("auxiliary.")}
