"""Where the outputs of a wave go: the weight of each operation, and the slot that each edge is added to.

Shapes: E edges, O options, B images, C channels of an operation; of a wave: S sources, G operations of a stack, D
shared stacks, L slots, which are the nodes that its edges enter, or the edges themselves where hooks act on these.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nas_lightning.core.choices import Choice
from nas_lightning.core.functional import without_autocast
from nas_lightning.spaces.wave_plan import Plan, Stack, Wave


class Layout:
    """A plan with its constants on a device.

    Args:
        plan: The plan.
        choice: The edges of the cell.
        by_edge: Whether the slots of a wave are its edges; else they are the nodes that these enter.
        like: Mixing weights [E, O], for their shape, type and device.

    Attributes:
        stacks: The stacks of all waves, without shared ones.
    """

    def __init__(self, plan: Plan, choice: Choice, by_edge: bool, like: Tensor) -> None:
        self.plan, self.choice, self.by_edge = plan, choice, by_edge
        self.stacks = [stack for wave in plan.waves for stack in wave.stacks]
        self._slots = {wave: list(dict.fromkeys(sorted(map(self.slot, wave.rows)))) for wave in plan.waves}
        self._scaled = [stack for stack in self.stacks if stack.name is None]
        self._shared = {wave: [s for s in wave.shared if s.name is None] for wave in plan.waves}
        hole = like.numel()  # the place of a zero that is appended to the weights
        scales = [row * like.shape[1] + option for stack in self._scaled for row, option in stack.places]
        matrices = [place for wave in plan.waves for place in self._matrix(wave, like.shape[1], hole)]
        self._holes = hole in matrices
        self._sizes = [len(scales), len(matrices)]
        self._index = torch.tensor([*scales, *matrices], dtype=torch.long, device=like.device)
        self._selections = {
            (wave, stack.rows): self._selection(wave, stack.rows, like)
            for wave in plan.waves
            for stack in wave.stacks
            if stack.name is None
        }

    def slot(self, row: int) -> int:
        """Return the slot that the edge of a row is added to."""
        return row if self.by_edge else self.choice.nodes[row]

    def slots(self, wave: Wave) -> list[int]:
        """Return the slots of a wave, in order."""
        return self._slots[wave]

    def counts(self, wave: Wave, rows: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many of the edges leave each source of a wave."""
        sources = [self.choice.sources[row] for row in rows]
        return tuple(map(sources.count, wave.sources))

    def weights_of(
        self, weights: Tensor, channels: int, dtype: torch.dtype
    ) -> tuple[dict[Stack, Tensor], dict[Wave, Tensor]]:
        """Gather mixing weights [E, O] for the stacks.

        Args:
            weights: The mixing weights.
            channels: C.
            dtype: Type of the images; scales are of that precision or, where it is low, of that of the weights.

        Returns:
            The scales of stacks that end in a normalisation, each [G·C], and of each wave the matrix [L, D·S] by which
            the shared outputs enter the slots.
        """
        if not len(self._index):
            return {}, {}
        flat = weights.reshape(-1)
        if self._holes:
            flat = torch.cat([flat, flat.new_zeros(1)])
        scales, matrices = flat.index_select(0, self._index).split(self._sizes)
        if dtype in (torch.float32, torch.float64):
            scales = scales.to(dtype)
        wide = scales[:, None].expand(-1, channels).reshape(-1)
        of_stacks = wide.split([len(stack.places) * channels for stack in self._scaled])
        of_waves = matrices.split([len(self._slots[wave]) * self._width(wave) for wave in self.plan.waves])
        shaped = {
            wave: matrix.view(-1, self._width(wave))
            for wave, matrix in zip(self.plan.waves, of_waves, strict=True)
            if self._shared[wave]
        }
        return dict(zip(self._scaled, of_stacks, strict=True)), shaped

    def summed(self, wave: Wave, rows: tuple[int, ...], y: Tensor, total: Tensor | None) -> Tensor:
        """Add the outputs of edges, [B, G·C, H, W], to the slots of a wave, [B, L, C·H·W]."""
        y = y.view(len(y), len(rows), -1)
        selection = self._selections[wave, rows]
        if selection is not None:
            return product(selection, y, total)
        repeats = len(rows) // len(self._slots[wave])
        if repeats > 1:  # every source reaches every slot
            y = y.view(len(y), repeats, -1, y.shape[2]).sum(1)
        return y if total is None else total + y

    def _width(self, wave: Wave) -> int:
        return len(self._shared[wave]) * len(wave.sources)

    def _matrix(self, wave: Wave, num_options: int, hole: int) -> Iterator[int]:
        """Yield the places of the weights [L, D·S] of the shared stacks of a wave."""
        for slot in self._slots[wave]:
            for stack in self._shared[wave]:
                into = [(row, option) for row, option in stack.places if self.slot(row) == slot]
                places = {self.choice.sources[row]: row * num_options + option for row, option in into}
                yield from (places.get(source, hole) for source in wave.sources)

    def _selection(self, wave: Wave, rows: tuple[int, ...], like: Tensor) -> Tensor | None:
        """Return zeros and ones [L, G] that add edges to slots; None where a plain sum over the sources does."""
        slots, reached = self._slots[wave], [self.slot(row) for row in rows]
        if reached == slots * (len(reached) // len(slots)):
            return None
        return torch.tensor([[float(slot == other) for other in reached] for slot in slots]).to(like)


def product(matrix: Tensor, y: Tensor, total: Tensor | None) -> Tensor:
    """Multiply [L, K] by each image of [B, K, N], and add it to `total` [B, L, N] if there is one."""
    with without_autocast(y.device.type):  # sums keep the type of their terms
        matrices = matrix.to(y.dtype).expand(len(y), -1, -1)
        return torch.bmm(matrices, y) if total is None else torch.baddbmm(total, matrices, y)
