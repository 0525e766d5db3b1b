"""The fast engine (`engine=fast`): the nodes of a cell with what its edges share computed once.

What the mathematics allows and an edge by itself cannot see: edges that leave one node share its ReLU, its pools with
their batch statistics, its strided slices and its phases; the mixing weight, the weight of the edge and the
normalisation that ends an operation are one scale (see `normed_sums`); what enters a node is summed once, shuffled once
and un-phased once; the option `none` costs nothing. Values, gradients and buffers are those of `edge_by_edge` up to
rounding. Draws are keyed, so they are the same, and noise is never shared.

A hook that acts on an operation or an edge gets its output as it would there; see `Hooks.acts_on`. Operations that are
not made of the known parts, or that a user has registered hooks on, are computed by themselves.
Shapes: E edges, O options, B images, C channels of an operation, N = B·H·W.
"""

from collections.abc import Callable, Hashable, Iterator
from functools import reduce
from operator import add
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.spaces.depthwise import depthwise, dilated_by_even, dilated_by_phases, from_phases, to_phases
from nas_lightning.spaces.mixed import Mix, MixedCell, MixedOperation
from nas_lightning.spaces.normed_sums import Term, by_hand, image, move, normed, normed_sum, rows, scaled_sum
from nas_lightning.spaces.operations import AveragePool, FactorizedReduce, Identity, Pointwise, Zero
from nas_lightning.spaces.partial import bypass, join

T = TypeVar("T")

_POOL_SETTINGS = (*nn.MaxPool2d.__constants__, *nn.AvgPool2d.__constants__)

GRAM_CHANNELS = 16
"""Up to here 1×1 convolutions are normalised without being computed: beyond, the products of Ci×Ci matrices cost more
than the passes over memory that they save (measured on AVX2; see docs/performance.md)."""


def shared(cell: MixedCell, nodes: list[Tensor], mix: Mix) -> list[Tensor]:
    """All nodes of a cell; see `edge_by_edge`, which this equals."""
    return _Pass(cell, nodes, mix).nodes


class Source:
    """A node as the edges that leave it see it: what they compute alike is computed when first asked for.

    Args:
        x: The node, [B, C·K, H, W].
        channels: C: operations see the first C channels.
    """

    def __init__(self, x: Tensor, channels: int) -> None:
        self.whole = x
        self.x = x if x.shape[1] == channels else x[:, :channels]
        self._made: dict[Hashable, object] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned when it was first called under this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]

    @property
    def relu(self) -> Tensor:
        """[B, C, H, W]."""
        return self.once("relu", lambda: F.relu(self.x))

    @property
    def phases(self) -> Tensor:
        """Phases of the ReLU, [4·B, C, H/2, W/2]."""
        return self.once("phases", lambda: to_phases(self.relu))

    def strided(self, first: int) -> Tensor:
        """Every second row and column of the ReLU from `first` on, [B, C, H/2, W/2]."""

        def make() -> Tensor:
            x = self.relu[:, :, first::2, first::2]
            return x.contiguous(memory_format=torch.channels_last) if by_hand(x) else x

        return self.once(("strided", first), make)

    def pooled(self, pool: nn.Module) -> Tensor:
        """The pool of the node; pools of equal settings are computed once."""
        return self.once(_settings(pool), lambda: pool(self.x))

    def normed_pool(self, pool: nn.Module, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised pool, the mean and the unbiased variance that it was normalised by."""

        def make() -> tuple[Tensor, Tensor, Tensor]:
            y = self.pooled(pool)
            if not norm.track_running_stats:
                return F.batch_norm(y, None, None, training=True, eps=norm.eps), y, y
            assert norm.running_mean is not None
            mean, var = (torch.zeros(y.shape[1], dtype=norm.running_mean.dtype, device=y.device) for _ in range(2))
            return F.batch_norm(y, mean, var, training=True, momentum=1.0, eps=norm.eps), mean, var

        return self.once(("normed", _settings(pool), norm.eps, norm.track_running_stats), make)

    def bypass(self, channels: int, stride: int) -> Tensor:
        """The channels that no operation sees."""
        return self.once(("bypass", stride), lambda: bypass(self.whole, channels, stride))


class Sum:
    """A sum that is put together when all of its terms are known; the terms of a kind in one go."""

    def __init__(self) -> None:
        self._terms: dict[tuple[Hashable, ...], list[Term]] = {}
        self._scaled: list[tuple[Tensor, Tensor]] = []

    def add_normed(self, term: Term, phased: bool = False) -> None:
        """A normalised term, of an image or of its phases."""
        norm = term.norm
        alike = (phased, term.pointwise is None, term.x.shape[1], norm.training, norm.eps, norm.momentum)
        self._terms.setdefault(alike, []).append(term)

    def add(self, x: Tensor, weight: Tensor) -> None:
        """A scalar times [B, C, H, W]."""
        self._scaled.append((x, weight))

    def value(self) -> Tensor | None:
        """[B, C, H, W], or None without terms."""
        total: Tensor | None = None
        like: torch.Size | None = None
        for (phased, *_), terms in self._terms.items():
            y, like = normed_sum(terms), terms[0].x.shape
            if phased:
                y, like = from_phases(y, like), torch.Size((like[0] // 4, like[1], 2 * like[2], 2 * like[3]))
            total = y if total is None else total + y
        if self._scaled:
            like = self._scaled[0][0].shape
            total = scaled_sum(total, [rows(x) for x, _ in self._scaled], [weight for _, weight in self._scaled])
        return None if total is None or like is None else image(total, like)


class _Pass:
    """One forward pass of a cell."""

    def __init__(self, cell: MixedCell, nodes: list[Tensor], mix: Mix) -> None:
        self.cell, self.mix = cell, mix
        first = self._edge(0)
        self.channels, self.divisor = first.edge.channels, first.partial_channels
        self.on_edge = [part for part in mix.regularizers if _acts_on_edges(part)]
        self.weights = mix.weights
        self.factors: list[Tensor | None] = [None] * len(cell.edges)
        if mix.edge_weights is not None:
            places = [(n, p) for n, rows in enumerate(cell.choice.rows_of_node.values()) for p in range(len(rows))]
            factors = mix.edge_weights[tuple(torch.tensor(places).T)]
            self.factors = list(factors.unbind())
            if not self.on_edge:
                self.weights = self.weights * factors[:, None]
        self.scalars = [row.unbind() for row in self.weights.unbind()]
        self.moved: list[tuple[nn.BatchNorm2d, Tensor, Tensor]] = []
        self.sources = [Source(x, self.channels) for x in nodes]
        self.nodes = list(nodes)
        for node, rows_in in cell.choice.rows_of_node.items():
            total = self._node(rows_in)
            if total is None:  # every edge into the node is switched off
                total = cell.nothing[str(node)](self.nodes[cell.choice.sources[rows_in[0]]])
            total = total.to(nodes[0].dtype)
            self.nodes.append(total)
            self.sources.append(Source(total, self.channels))
        if self.moved:
            norms, means, variances = zip(*self.moved, strict=True)
            move(norms, means, variances)

    def _node(self, rows_in: list[int]) -> Tensor | None:
        """The sum of all edges into a node."""
        found = [y for y in self._summands(rows_in) if y is not None]
        return _total(found) if found else None

    def _summands(self, rows_in: list[int]) -> Iterator[Tensor | None]:
        """Edges that someone sees by themselves one by one, all others in one."""
        together: list[int] = []
        for row in rows_in:
            edge = self._edge(row)
            if _is_watched(edge):
                y = edge(_as_written(self._source(row).whole), *self.mix.of_row(row))
            elif self.on_edge:
                y = self._edges([row])
                if y is not None:
                    for part in self.on_edge:
                        y = part.on_edge(y, self._source(row).whole, edge.edge)
            else:
                together.append(row)
                continue
            yield y if y is None else self._factored(row, y)
        yield self._edges(together)

    def _edges(self, group: list[int]) -> Tensor | None:
        """The sum of some edges into a node; of several, with the weights of the edges."""
        group = [row for row in group if any(self.mix.active[row])]
        if not group:
            return None
        total = Sum()
        for row in group:
            for option, active in enumerate(self.mix.active[row]):
                if active:
                    self._add_option(total, row, option)
        y = total.value()
        if y is None:  # nothing but `none`
            y = Zero(self._edge(group[0]).edge.stride)(self._source(group[0]).x)
        weighted = (lambda row, y: y) if self.on_edge else self._factored
        if self.mix.offsets is not None:
            offsets = self.mix.offsets
            y = y + _total([weighted(row, offsets[row]) for row in group])
        if self.divisor > 1:
            beside = [weighted(row, self._bypass(row)) for row in group]
            y = join(y, _total(beside), self.divisor)
        return y

    def _bypass(self, row: int) -> Tensor:
        return self._source(row).bypass(self.channels, self._edge(row).edge.stride)

    def _factored(self, row: int, y: Tensor) -> Tensor:
        """Times the weight of the edge."""
        factor = self.factors[row]
        return y if factor is None else factor * y

    def _edge(self, row: int) -> MixedOperation:
        edge = self.cell.edges[row]
        assert isinstance(edge, MixedOperation)
        return edge

    def _source(self, row: int) -> Source:
        return self.sources[self.cell.choice.sources[row]]

    def _add_option(self, total: Sum, row: int, option: int) -> None:
        """One candidate operation, with its weight."""
        edge = self._edge(row)
        name, operation, source = edge.names[option], edge.operations[option], self._source(row)
        weight = self.scalars[row][option]
        hooks = [part for part in self.mix.regularizers if _acts_on(part, name)]
        if not hooks:
            self._add(total, operation, source, weight)
            return
        alone = Sum()
        self._add(alone, operation, source, None)
        y = alone.value()
        if y is None:
            y = operation(source.x)
        for part in hooks:
            y = part.on_op(y, name, edge.edge)
        total.add(y, weight)

    def _add(self, total: Sum, operation: nn.Module, source: Source, weight: Tensor | None) -> None:
        """What an operation makes of a node; a weight of None is 1."""
        one = source.x.new_ones(()) if weight is None else weight
        if _is_watched(operation):
            total.add(operation(_as_written(source.x)), one)
        elif type(operation) is Zero:
            return
        elif type(operation) is Identity:
            total.add(source.x, one)
        elif type(operation) in (nn.MaxPool2d, AveragePool):
            total.add(source.pooled(operation), one)
        elif type(operation) is FactorizedReduce and _is_plain(operation.norm):
            z = operation.convolve(source.strided(0), source.strided(1))
            total.add_normed(Term(z, operation.norm, weight))
        elif type(operation) is not nn.Sequential or not _is_known(operation):
            total.add(operation(_as_written(source.x)), one)
        elif isinstance(operation[0], nn.MaxPool2d | AveragePool) and len(operation) == 2:
            self._add_pool(total, operation[0], operation[1], source, one)  # type: ignore[arg-type]
        elif isinstance(operation[0], nn.ReLU) and len(operation) > 2:
            _add_convolutions(total, list(operation)[1:], source, weight)
        else:
            total.add(operation(source.x), one)

    def _add_pool(self, total: Sum, pool: nn.Module, norm: nn.BatchNorm2d, source: Source, weight: Tensor) -> None:
        """A normalised pool: in training the statistics of all edges from a node are the same."""
        if not norm.training:
            total.add(normed(norm, source.pooled(pool)), weight)
            return
        y, mean, var = source.normed_pool(pool, norm)
        if norm.track_running_stats:
            self.moved.append((norm, mean, var))
        total.add(y, weight)


def _add_convolutions(total: Sum, layers: list[nn.Module], source: Source, weight: Tensor | None) -> None:
    """Convolutions behind a shared ReLU, the last of them before a normalisation."""
    *layers, norm = layers
    first = layers[0]
    assert isinstance(norm, nn.BatchNorm2d)
    phased = False
    if not isinstance(first, nn.Conv2d):
        x = source.relu
    else:
        layers = layers[1:]
        if not _is_depthwise(first):
            if isinstance(first, Pointwise) and not layers:
                x = source.relu if first.stride == (1, 1) else source.strided(0)
                total.add_normed(_pointwise(x, first, norm, weight))
                return
            x = first(source.relu)
        elif first.dilation == (1, 1):
            x = depthwise(first, source.relu)
        elif first.stride == (2, 2):
            x = dilated_by_even(first, source.strided(0))
        elif len(layers) == 1 and _is_pointwise(layers[0]) and source.x.shape[2] % 2 == source.x.shape[3] % 2 == 0:
            x, phased = dilated_by_phases(first, source.phases), True
        else:
            x = first(source.relu)
    while layers:
        layer, *layers = layers
        if _is_pointwise(layer):
            assert isinstance(layer, nn.Conv2d)
            if not layers:
                total.add_normed(_pointwise(x, layer, norm, weight), phased)
                return
            if len(layers) >= 2 and _is_plain(layers[0]) and isinstance(layers[1], nn.ReLU):
                x = image(normed_sum([_pointwise(x, layer, layers[0], None)], relu=True), x.shape).to(x.dtype)  # type: ignore[arg-type]
                layers = layers[2:]
                continue
        x = depthwise(layer, x) if _is_depthwise(layer) and layer.dilation == (1, 1) else layer(x)  # type: ignore[arg-type]
    total.add_normed(Term(x, norm, weight), phased)


def _pointwise(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d, weight: Tensor | None) -> Term:
    """The term of a 1×1 convolution and its normalisation, which are one matrix on running statistics at any width."""
    folded = by_hand(x) and (x.shape[1] <= GRAM_CHANNELS or not norm.training)
    if folded or not by_hand(x):
        return Term(x, norm, weight, convolution.weight)
    return Term(F.conv2d(x, convolution.weight), norm, weight)


def _as_written(x: Tensor) -> Tensor:
    """The layout that operations of unknown make get: channels_last is unsafe there; see `Pointwise`, `AveragePool`."""
    return x.contiguous()


def _total(tensors: list[Tensor]) -> Tensor:
    return reduce(add, tensors)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def _is_pointwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1)


def _is_known(operation: nn.Sequential) -> bool:
    """Whether an operation is made of the parts that its sum takes apart, as this package builds them."""
    return _is_plain(operation[-1]) and all(_is_known_layer(layer) for layer in operation)


def _is_known_layer(layer: nn.Module) -> bool:
    if _is_watched(layer):
        return False
    if type(layer) not in (nn.Conv2d, Pointwise):
        return type(layer) in (nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d, AveragePool)
    assert isinstance(layer, nn.Conv2d)
    side, dilation = layer.kernel_size[0], layer.dilation[0]
    padding = dilation * (side - 1) // 2
    return (
        layer.bias is None
        and side % 2 == 1
        and dilation <= 2
        and (layer.stride == (1, 1) or (layer.stride == (2, 2) and (side > 1 or type(layer) is Pointwise)))
        and layer.padding_mode == "zeros"
        and (layer.kernel_size, layer.dilation, layer.padding)
        == ((side, side), (dilation, dilation), (padding, padding))
    )


def _is_plain(norm: nn.Module) -> bool:
    """Whether a layer is the batch normalisation that sums are made of: neither affine nor of another kind."""
    if type(norm) is not nn.BatchNorm2d or norm.affine or _is_watched(norm):
        return False
    return norm.momentum is not None and norm.running_mean is not None


def _is_watched(module: nn.Module) -> bool:
    """Whether someone has registered hooks on a module, who must see it called."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _acts_on(part: Regularizer, operation: str) -> bool:
    return not _is_told(part, "acts_on", "on_op") or part.acts_on(operation)


def _acts_on_edges(part: Regularizer) -> bool:
    return not _is_told(part, "acts_on_edges", "on_edge") or part.acts_on_edges()


def _is_told(part: Regularizer, statement: str, hook: str) -> bool:
    """Whether a part says when its hook acts: not where a class overrides the hook and inherits the statement."""
    for base in type(part).__mro__:
        if statement in vars(base) or hook in vars(base):
            return statement in vars(base)
    return False


def _settings(pool: nn.Module) -> tuple[Hashable, ...]:
    """What makes two pools equal; their `repr` leaves some of it out."""
    return (type(pool), *(repr(getattr(pool, name, None)) for name in _POOL_SETTINGS))
