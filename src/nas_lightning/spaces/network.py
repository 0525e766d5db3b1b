"""The discrete network of a genotype, trained from scratch to evaluate it.

Source: Liu et al., DARTS (ICLR 2019), released code: affine normalisation, drop-path on every selected operation but
the identity, an auxiliary head on the second reduction cell.
Shapes: B images, C channels of a node, H' and W' the sides of a cell's output.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.spaces.macro import CellPlan, Preprocess, build_stem, plan_cells
from nas_lightning.spaces.operations import Identity, build_operation
from nas_lightning.spaces.quick import quicken


class DiscreteCell(nn.Module):
    """A cell with the operations of a genotype.

    Attributes:
        kind: `normal` or `reduce`.
        paths: Keys of the draws of drop-path, one for each operation that it acts on: all but the identities.
    """

    def __init__(self, genotype: Genotype, plan: CellPlan) -> None:
        super().__init__()
        self.kind = plan.kind
        self.concat = genotype.concat[plan.kind]
        self.preprocess = Preprocess(plan, affine=True)
        self.edges = genotype.cells[plan.kind]
        self.operations = nn.ModuleList()
        for row, (_, name, source) in enumerate(self.edges):
            stride = 2 if plan.kind == "reduce" and source < 2 else 1
            key = (plan.index, row)
            self.operations.append(quicken(build_operation(name, plan.channels, stride, search=False, key=key)))
        self.paths = [
            ("drop_path", plan.index, row)
            for row, operation in enumerate(self.operations)
            if not isinstance(operation, Identity)
        ]

    def forward(self, before: Tensor, last: Tensor, scales: Tensor | None = None) -> Tensor:
        """Compute the output [B, len(concat)·C, H', W'] from those of cells k-2 and k-1.

        `scales` [len(paths), B, 1, 1, 1] multiply the outputs of the operations that drop-path acts on.
        """
        nodes: list[Tensor | None] = [*self.preprocess(before, last)]
        nodes += [None] * (max(node for node, _, _ in self.edges) - 1)
        path = 0
        for (node, _, source), operation in zip(self.edges, self.operations, strict=True):
            y = operation(nodes[source])
            if scales is not None and not isinstance(operation, Identity):
                y = y * scales[path].to(y.dtype)
                path += 1
            total = nodes[node]
            nodes[node] = y if total is None else total + y
        return torch.cat([nodes[node] for node in self.concat], dim=1)  # type: ignore[misc]


class AuxiliaryHead(nn.Module):
    """A second classifier on the feature map after two thirds of the cells; it helps training only.

    Args:
        channels: Channels of the feature map.
        num_classes: Outputs.
        stem: With `imagenet` the pool has stride 2 and there is no normalisation after the second convolution
            (a slip of the released code that is kept because the published numbers come from it).
    """

    def __init__(self, channels: int, num_classes: int, stem: str) -> None:
        super().__init__()
        cifar = stem == "cifar"
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3 if cifar else 2, padding=0, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([nn.BatchNorm2d(768)] if cifar else []),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    @staticmethod
    def smallest_map(stem: str) -> int:
        """Return the smallest side of the feature map that the pool and the 2×2 convolution can take."""
        return 8 if stem == "cifar" else 7

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits [B, num_classes] of [B, channels, H, W]."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))  # 1×1 at the published sizes


class CellNetwork(nn.Module):
    """Stem, stack of discrete cells, global average, linear classifier, optional auxiliary head.

    Args:
        genotype: The architecture, of a cell space.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first cells; even.
        layers: Number of cells.
        auxiliary: Whether to build the auxiliary head.
        stem: `cifar` or `imagenet`.

    Attributes:
        drop_probability: Chance of dropping a path in train mode; set by the training schedule, 0 at first.

    Raises:
        ConfigError: The channel count is odd, or the stem is unknown.
    """

    def __init__(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 36,
        layers: int = 20,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        self.drop_probability = 0.0
        self.stem = build_stem(stem, in_channels, init_channels)
        self.cells = nn.ModuleList()
        self.auxiliary: AuxiliaryHead | None = None
        multiplier = {name: len(nodes) for name, nodes in genotype.concat.items()}
        self.auxiliary_cell = 2 * layers // 3
        width = 0
        for plan in plan_cells(layers, init_channels, multiplier, stem):
            self.cells.append(DiscreteCell(genotype, plan))
            width = multiplier[plan.kind] * plan.channels
            if auxiliary and plan.index == self.auxiliary_cell:
                self.auxiliary = AuxiliaryHead(width, num_classes, stem)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute logits [B, num_classes] of images [B, in_channels, H, W].

        With an auxiliary head and in train mode: (logits, auxiliary logits).
        """
        scales = self._drop_path(inputs) if self.training else None
        before, last = self.stem(inputs)
        auxiliary_logits: Tensor | None = None
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last, None if scales is None else scales[index])
            if self.training and self.auxiliary is not None and index == self.auxiliary_cell:
                auxiliary_logits = self.auxiliary(last)
        logits = self.classifier(last.mean(dim=(2, 3)))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)

    @torch.compiler.disable  # named draws cannot be traced, and the probability changes from epoch to epoch
    def _drop_path(self, inputs: Tensor) -> list[Tensor | None] | None:
        """Draw the scales of each cell, [paths, B, 1, 1, 1], or return None where the probability p is 0.

        A scale is 0 where an image's path is dropped, else 1 / (1 − p).
        """
        paths: list[Any] = [cell.paths for cell in self.cells]
        if self.drop_probability == 0.0:
            return None
        if not any(paths):
            return [None] * len(paths)
        like = draws.sample_like(inputs)

        def scales() -> Tensor:
            keep = 1.0 - self.drop_probability
            return torch.stack([draws.keep_mask(like, keep, *key) for of_cell in paths for key in of_cell]) / keep

        # One tensor for all cells: a captured pass copies it in one piece.
        of_cells = draws.outside(scales).split([len(of_cell) for of_cell in paths])
        return [scale if of_cell else None for scale, of_cell in zip(of_cells, paths, strict=True)]


def auxiliary_fits(image_size: int, stem: str) -> bool:
    """Check whether images of this side leave a feature map that the auxiliary head can take; warn if not."""
    side = image_size // ({"cifar": 4, "imagenet": 32}[stem])
    fits = side >= AuxiliaryHead.smallest_map(stem)
    if not fits:
        warnings.warn(
            f"auxiliary head off: images of side {image_size} leave it a {side}×{side} feature map, it needs at least"
            f" {AuxiliaryHead.smallest_map(stem)}×{AuxiliaryHead.smallest_map(stem)} (evaluation.auxiliary=0 silences"
            " this)",
            stacklevel=2,
        )
    return fits
