"""The engine for GPUs (`engine=fast` there): compute a cell wave by wave, in few and large kernels.

A GPU waits for the processor, which launches a kernel in tens of microseconds, and a kernel on 16 channels keeps a
tenth of it busy. So what the edges of one level compute alike becomes one kernel on their stacked channels: `wave_plan`
says what belongs together, `wave_layers` how it is computed, `wave_layout` where it goes. On the CPU, which waits for
memory, stacking gains nothing, and `node_by_node` is faster.

- The mixing weight, times that of the edge, is the scale of the normalisation that ends an operation.
- Pools and identities are computed once a source; one product with the mixing weights adds them to all targets.
- Kernels of equal shape are joined once a cell, running statistics too; each buffer moves once, as torch moves it.
- Inactive options and `none` are left out of the plan: they cost nothing and move nothing.

Values, gradients and buffers are those of `edge_by_edge` up to rounding, with the same keyed draws; hooks are called in
the order of the waves. Only torch's own operators are used, so gradients can be differentiated again. Parameters are
copied in the forward pass: gradients are those of that pass, even if a parameter changes in between.
Source: horizontal fusion as in HFTA (Wang et al., MLSys 2021), there of many models, here of the edges of one.
Shapes: B images, C channels of an operation; of a wave: S sources, G operations of a stack, L slots; see `wave_layout`.
"""

from collections.abc import Hashable, Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nas_lightning.core import constants
from nas_lightning.spaces.cell_pass import CellPass
from nas_lightning.spaces.known_operations import is_hooked
from nas_lightning.spaces.mixed import Mix, MixedCell, MixedOperation
from nas_lightning.spaces.norm_statistics import normed_by_batch
from nas_lightning.spaces.operation_terms import in_contiguous_layout
from nas_lightning.spaces.wave_layers import Parameters, Sources, shared_output, stacked
from nas_lightning.spaces.wave_layout import Layout, product
from nas_lightning.spaces.wave_plan import Stack, Wave, plan_waves

_plans: WeakKeyDictionary[MixedCell, dict[Hashable, Layout]] = WeakKeyDictionary()
_KEPT = 8
"""Plans kept by cell: passes of a search alternate between a few, those of sampled methods never repeat."""


def waves(cell: MixedCell, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
    """Compute all nodes of a cell, equal to those of `edge_by_edge` up to rounding."""
    return _Waves(cell, inputs, mix).run()


class _Waves(CellPass):
    """A pass that computes the waves one after the other, each when the first of its targets is asked for."""

    def __init__(self, cell: MixedCell, inputs: list[Tensor], mix: Mix) -> None:
        super().__init__(cell, inputs, mix)
        self.layout = self._layout()
        self.parameters = Parameters(self.layout.stacks, inputs[0].device.type)
        self.scales, self.matrices = self.layout.weights_of(self.weights, self.channels, inputs[0].dtype)
        self.totals: dict[int, Tensor] = {}
        self.num_done = 0

    def order(self) -> list[int]:
        """Return the intermediate nodes level by level."""
        return list(self.layout.plan.order)

    def run(self) -> list[Tensor]:
        """Compute inputs and intermediate nodes, each [B, C·K, H, W]."""
        nodes = super().run()
        self.parameters.write_back()
        return nodes

    def sum_of(self, rows: list[int]) -> Tensor | None:
        """Sum the weighted operations of some edges into one node, [B, C, H, W]; None if all of them are `none`."""
        last = max(self.layout.plan.wave_of_row[row] for row in rows)
        while self.num_done <= last:
            self._compute(self.num_done)
            self.num_done += 1
        return self.totals.get(self.layout.slot(rows[0]))

    def _layout(self) -> Layout:
        """Return the plan for the present active options, hooks and modes of the layers."""
        names = {name for edge in self.cell.edges for name in edge.names}  # type: ignore[union-attr]
        hooked = frozenset(name for name in names if self.mix.regularizers and self.hooks_on(name))
        modes = tuple(_modes(self.cell))
        active = tuple(map(tuple, self.mix.active))
        key = (active, hooked, bool(self.edge_hooks), self.weights.device, self.weights.dtype, modes)
        kept = _plans.setdefault(self.cell, {})
        if key not in kept:
            edges = [self.edge(row) for row in range(len(self.cell.edges))]
            plan = plan_waves(self.cell.choice, edges, self.mix.active, hooked)
            if len(kept) == _KEPT:
                del kept[next(iter(kept))]
            with torch.inference_mode(False):  # no training could use constants that a validation has made
                kept[key] = Layout(plan, self.cell.choice, bool(self.edge_hooks), self.weights)
        constants.keep(kept[key])
        return kept[key]

    def _compute(self, index: int) -> None:
        """Add what leaves the sources of a wave to the totals of its slots."""
        wave = self.layout.plan.waves[index]
        sources = Sources([self.sources[node] for node in wave.sources])
        total: Tensor | None = None
        shape = sources.x.shape
        for rows, y in self._stacks(wave, sources).items():
            shape, total = y.shape, self.layout.summed(wave, rows, y, total)
        if shared := self._shared(wave, sources):
            shape = shared[0].shape
            by_source = [y.view(len(y), len(wave.sources), -1) for y in shared]
            joined = by_source[0] if len(shared) == 1 else torch.cat(by_source, 1)
            total = product(self.matrices[wave], joined, total)
        if total is not None:
            for slot, y in zip(self.layout.slots(wave), total.unbind(1), strict=True):
                self._add_to(slot, y.view(len(y), self.channels, *shape[2:]))
        for row, option in wave.singles:
            name, operation = self.edge(row).names[option], self.edge(row).operations[option]
            self._add_single(row, option, name, operation(in_contiguous_layout(self.source(row).x)))

    def _stacks(self, wave: Wave, sources: Sources) -> dict[tuple[int, ...], Tensor]:
        """Compute the stacks of a wave; return the sum of those on the same edges, [B, G·C, H, W], by these edges."""
        found: dict[tuple[int, ...], Tensor] = {}
        for stack in wave.stacks:
            counts = self.layout.counts(wave, stack.rows)
            y = _wide(stacked(stack, sources, counts, self.parameters, self.scales.get(stack)))
            if stack.name is not None:
                self._hooked(stack, stack.name, y.split(self.channels, 1))
            else:
                found[stack.rows] = found[stack.rows] + y if stack.rows in found else y
        return found

    def _shared(self, wave: Wave, sources: Sources) -> list[Tensor]:
        """Compute pools and identities of all sources; return those without hooks, each [B, S·C, H, W]."""
        found: list[Tensor] = []
        for stack in wave.shared:
            y, norm = shared_output(stack, sources)
            y = _wide(y if norm is None else self._normed_by_batch(stack, wave, y, norm))
            if stack.name is None:
                found.append(y)
            else:
                of_source = dict(zip(wave.sources, y.split(self.channels, 1), strict=True))
                self._hooked(stack, stack.name, [of_source[self.cell.choice.sources[row]] for row in stack.rows])
        return found

    def _normed_by_batch(self, stack: Stack, wave: Wave, y: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """Normalise the pools of all sources; the statistics go to the normalisation of each edge."""
        y, mean, var = normed_by_batch(norm, y)
        if mean is None or var is None:
            return y
        means, variances = mean.split(self.channels), var.split(self.channels)
        for row, of_edge in zip(stack.rows, stack.layers[-1], strict=True):
            source = wave.sources.index(self.cell.choice.sources[row])
            self.updates.add(of_edge, means[source], variances[source])  # type: ignore[arg-type]
        return y

    def _hooked(self, stack: Stack, name: str, outputs: Sequence[Tensor]) -> None:
        """Hand each output of a stack, [B, C, H, W], to the hooks by itself."""
        for (row, option), y in zip(stack.places, outputs, strict=True):
            self._add_single(row, option, name, y)

    def _add_single(self, row: int, option: int, name: str, y: Tensor) -> None:
        """Add one output [B, C, H, W] with its mixing weight, after the hooks on it."""
        for part in self.hooks_on(name):
            y = part.on_op(y, name, self.edge(row).edge)
        self._add_to(self.layout.slot(row), self.weights[row, option] * _wide(y))

    def _add_to(self, slot: int, y: Tensor) -> None:
        self.totals[slot] = self.totals[slot] + y if slot in self.totals else y


def _wide(y: Tensor) -> Tensor:
    """Return low precision as float32: sums are in float32 whatever the precision of the terms."""
    return y.float() if y.dtype in (torch.float16, torch.bfloat16) else y


def _modes(cell: MixedCell) -> Iterator[Hashable]:
    """Yield what a plan depends on: the modules, torch's hooks on them, and where norms have their statistics from.

    All are looked at in each pass, so that nothing that is exchanged goes unnoticed; loops are faster than `modules()`.
    """
    for edge in cell.edges:
        assert isinstance(edge, MixedOperation)
        yield is_hooked(edge)
        for operation in edge.operations:
            yield id(operation), is_hooked(operation)
            for layer in operation.children():
                if isinstance(layer, nn.BatchNorm2d):
                    yield id(layer), is_hooked(layer), layer.training, layer.track_running_stats, layer.momentum
                else:
                    yield id(layer), type(layer), is_hooked(layer)
