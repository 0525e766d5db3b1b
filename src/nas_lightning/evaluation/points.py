"""The evaluator that trains a network of point clouds from scratch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import Kind
from nas_lightning.evaluation.optimizers import fused_on
from nas_lightning.evaluation.training import Training
from nas_lightning.points import PointSpace
from nas_lightning.training.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class PointTraining(Training):
    """Trains on point clouds by SGD; the last epoch is the result.

    Source of the published recipe: Li et al., SGAS (CVPR 2020), released code for ModelNet40.

    Args:
        init_channels: Channels C of a node.
        layers: Number of cells.
        neighbours: Neighbours of a point, itself included; None: those of the space.
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum.
        drop_path: Largest probability of dropping a path; in epoch e of E it is e/E of this.
        label_smoothing: Label smoothing of the training loss.

    Raises:
        ConfigError: Values that contradict each other.
    """

    inputs: ClassVar[Kind] = "points"

    init_channels: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    neighbours: Annotated[int, Field(ge=2)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def check(self, bench: Workbench) -> None:
        """Refuse what cannot be trained, before anything is written.

        Raises:
            ConfigError: Clouds have too few points for the network, the data do not fit the recipe, or labels are
                smoothed that are no classes.
        """
        if self.label_smoothing > 0 and not bench.objective.has_classes:
            raise ConfigError(
                f"evaluation.label_smoothing={self.label_smoothing}: objective.metric={bench.objective.metric} has no"
                " classes to smooth; use evaluation.label_smoothing=0"
            )
        super().check(bench)
        if isinstance(bench.space, PointSpace):
            bench.space.check_cloud(bench.data.sizes()[1], self)

    def build_optimizer(self, weights: Sequence[nn.Parameter]) -> torch.optim.SGD:
        """Build SGD on all weights, fused if their device supports it."""
        return torch.optim.SGD(
            weights,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=fused_on(weights),
        )

    def sizes(self) -> dict[str, Any]:
        """Return channels, cells and, where the recipe has its own, neighbours."""
        sizes = {"init_channels": self.init_channels, "layers": self.layers, "neighbours": self.neighbours}
        return {key: value for key, value in sizes.items() if value is not None}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("evaluation.nesterov=true: needs momentum; use evaluation.momentum=0.9")
