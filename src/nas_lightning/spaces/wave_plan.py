"""Which operations of a cell the waves compute as one, and in which order; nothing here depends on numbers.

A *wave* is all edges that leave nodes of one level: the inputs of the cell have level 0, a node the level after its
last source. A *stack* is the operations of equal make on the edges of a wave. The DARTS cell has four waves, {0, 1} → 2
to 5, {2} → 3 to 5, {3} → 4, 5 and {4} → 5, with up to four stacks of convolutions each.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from nas_lightning.core.choices import Choice
from nas_lightning.spaces.known_operations import is_depthwise, is_hooked, is_known, is_plain_norm, is_pointwise
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.operations import AveragePool, FactorizedReduce, Identity, Zero
from nas_lightning.spaces.source_node import pool_settings

Place = tuple[int, int]
"""Row and option of an operation."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Operations of equal make on edges of one wave.

    Args:
        name: Their name where hooks act on their outputs; these are then kept apart and get no weight.
        places: Their rows and options, by source and then by target.
        operations: The modules, in that order.
    """

    name: str | None
    places: tuple[Place, ...]
    operations: tuple[nn.Module, ...]

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of the operations."""
        return tuple(row for row, _ in self.places)

    @cached_property
    def layers(self) -> list[tuple[nn.Module, ...]]:
        """By position, the layers of all operations; of a factorized reduction both convolutions and the norm."""
        first = self.operations[0]
        if isinstance(first, FactorizedReduce):
            return list(zip(*((op.conv_1, op.conv_2, op.norm) for op in self.operations), strict=True))
        return list(zip(*self.operations, strict=True)) if isinstance(first, nn.Sequential) else [self.operations]


@dataclass(frozen=True, eq=False)
class Wave:
    """Edges that leave the nodes of one level.

    Args:
        sources: These nodes.
        rows: The edges, by source and then by target.
        stacks: Operations that are computed as one.
        shared: Stacks of which all edges that leave a node share the output: identities, and pools that are normalised
            by the statistics of the batch.
        singles: Operations that are called one by one: users' own, those with hooks of torch, random ones.
    """

    sources: tuple[int, ...]
    rows: tuple[int, ...]
    stacks: tuple[Stack, ...]
    shared: tuple[Stack, ...]
    singles: tuple[Place, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """The waves of a cell.

    Args:
        order: The intermediate nodes, level by level.
        waves: In the order of levels.
        wave_of_row: Which of them each merged edge is in.
    """

    order: tuple[int, ...]
    waves: tuple[Wave, ...]
    wave_of_row: dict[int, int]


def plan_waves(
    choice: Choice, edges: Sequence[MixedOperation], active: Sequence[Sequence[bool]], hooked: frozenset[str]
) -> Plan:
    """Plan the waves of a cell.

    Args:
        choice: Its edges and their options.
        edges: Its mixed operations.
        active: Which options are computed, [E][O].
        hooked: Names of operations that regularizers now act on.
    """
    computed = [row for row in range(choice.num_rows) if any(active[row])]
    level = _levels(choice, set(computed))
    merged = [row for row in computed if not is_hooked(edges[row])]
    waves: list[Wave] = []
    for depth in sorted({level[choice.sources[row]] for row in merged}):
        rows = [row for row in merged if level[choice.sources[row]] == depth]
        rows.sort(key=lambda row: (choice.sources[row], choice.nodes[row]))
        sources = tuple(sorted({choice.sources[row] for row in rows}))
        waves.append(Wave(sources, tuple(rows), *_stacks(rows, edges, active, hooked)))
    wave_of_row = {row: index for index, wave in enumerate(waves) for row in wave.rows}
    order = sorted(choice.rows_of_node, key=lambda node: (level[node], node))
    return Plan(tuple(order), tuple(waves), wave_of_row)


def _levels(choice: Choice, computed: set[int]) -> dict[int, int]:
    """Return the level of each node: 0 for inputs, else one more than that of its last source."""
    level = {source: 0 for source in choice.sources if source not in choice.rows_of_node}
    for node, rows in choice.rows_of_node.items():
        # A node without edges reads the shape of its first source.
        used = [row for row in rows if row in computed] or rows[:1]
        level[node] = 1 + max(level[choice.sources[row]] for row in used)
    return level


def _stacks(
    rows: Sequence[int], edges: Sequence[MixedOperation], active: Sequence[Sequence[bool]], hooked: frozenset[str]
) -> tuple[tuple[Stack, ...], tuple[Stack, ...], tuple[Place, ...]]:
    """Return the operations of a wave's edges: those of equal make together, likewise shared ones, those alone."""
    alike: dict[tuple[str | None, Hashable], list[Place]] = {}
    singles: list[Place] = []
    for row in rows:
        for option, (name, operation) in enumerate(zip(edges[row].names, edges[row].operations, strict=True)):
            acted_on = name in hooked
            if not active[row][option] or (type(operation) is Zero and not acted_on and not is_hooked(operation)):
                continue  # zeros add nothing: neither a value nor a gradient
            make = make_of(operation)
            if make is None:
                singles.append((row, option))
            else:
                alike.setdefault((name if acted_on else None, make), []).append((row, option))
    found: dict[bool, list[Stack]] = {False: [], True: []}
    for (acting, _), places in alike.items():
        operations = tuple(edges[row].operations[option] for row, option in places)
        found[_is_shared(operations[0])].append(Stack(acting, tuple(places), operations))
    return tuple(found[False]), tuple(found[True]), tuple(singles)


def make_of(operation: nn.Module) -> Hashable | None:
    """Return what operations that are computed as one have in common; None for those that are called as they are."""
    if is_hooked(operation):
        return None
    if type(operation) is Identity:
        return ("identity",)
    if type(operation) in (nn.MaxPool2d, AveragePool):
        return pool_settings(operation)
    if type(operation) is FactorizedReduce and is_plain_norm(operation.norm):
        if any(type(layer) is not nn.Conv2d or is_hooked(layer) for layer in (operation.conv_1, operation.conv_2)):
            return None
        return ("factorized reduce", operation.conv_1.in_channels, _layer(operation.norm))
    if type(operation) is not nn.Sequential or not is_known(operation):
        return None
    layers = list(operation)
    return tuple(map(_layer, layers)) if _is_stackable(layers) else None


def _is_stackable(layers: list[nn.Module]) -> bool:
    """Check for a pool and its normalisation, or a ReLU, a convolution, then layers that keep channels apart."""
    first, *others = layers
    if isinstance(first, nn.MaxPool2d | AveragePool):
        return len(others) == 1
    if not isinstance(first, nn.ReLU) or not isinstance(others[0], nn.Conv2d):
        return False
    if others[0].groups > 1 and not is_depthwise(others[0]):
        return False
    return all(isinstance(layer, nn.ReLU) or is_plain_norm(layer) or _by_group(layer) for layer in others[1:])


def _by_group(layer: nn.Module) -> bool:
    return is_depthwise(layer) or is_pointwise(layer)


def _is_shared(operation: nn.Module) -> bool:
    """Check whether edges that leave one node share the output of an operation.

    Pools on running statistics do not: each edge has its own.
    """
    if isinstance(operation, nn.Sequential) and isinstance(operation[0], nn.MaxPool2d | AveragePool):
        return operation[-1].training
    return isinstance(operation, Identity | nn.MaxPool2d | AveragePool)


def _layer(layer: nn.Module) -> Hashable:
    """Return what two equal layers have in common."""
    if isinstance(layer, nn.Conv2d):
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.dilation, layer.groups)
        return (type(layer), *sizes)
    if isinstance(layer, nn.BatchNorm2d):
        return (layer.num_features, layer.eps, layer.momentum, layer.training, layer.track_running_stats)
    return pool_settings(layer) if isinstance(layer, nn.MaxPool2d | AveragePool) else (type(layer),)
