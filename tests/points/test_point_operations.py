"""Operations on point clouds against loops over clouds, points and neighbours, in float64."""

import math

import pytest
import torch

from nas_lightning.core.errors import ConfigError
from nas_lightning.points.neighbours import NearestPoints, from_rows, nearest, to_rows
from nas_lightning.points.operations import POINT_OPERATIONS, POINTS, Attention

CLOUDS, CHANNELS, POINT_COUNT, NEIGHBOURS = 3, 4, 11, 5
BY_NAME = sorted(POINT_OPERATIONS)


@pytest.fixture
def x():
    return torch.randn(
        CLOUDS, CHANNELS, POINT_COUNT, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def built(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        graph = NearestPoints()
        operation = POINTS.build(name, CHANNELS, graph).double()
        for norm in operation.modules():
            if isinstance(norm, torch.nn.BatchNorm1d):
                torch.nn.init.normal_(norm.weight)  # also negative: a maximum does not pass through
                torch.nn.init.normal_(norm.bias)
    return operation, graph


def neighbours_by_loop(x, count, dilation=1):
    """By sorted distances, the point itself first: [cloud][point][neighbour]."""
    found = []
    for cloud in x.squeeze(3).tolist():
        points = list(zip(*cloud, strict=True))
        found.append([])
        for i, p in enumerate(points):
            others = sorted((math.dist(p, q), j) for j, q in enumerate(points) if j != i)
            found[-1].append([i, *(j for _, j in others)][: count * dilation : dilation])
    return found


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_neighbours_are_the_nearest_points_and_every_dth_of_them(x, dilation):
    found = nearest(x, NEIGHBOURS, dilation)
    assert found.permute(1, 2, 0).tolist() == neighbours_by_loop(x, NEIGHBOURS, dilation)


def test_a_point_is_its_own_first_neighbour_even_where_points_coincide():
    same = torch.zeros(1, 3, 6, 1)
    assert nearest(same, 3)[0].tolist() == [list(range(6))]


def test_neighbours_do_not_depend_on_a_lower_precision_of_the_rest():
    x = torch.randn(2, 3, 16, 1, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest(x, 4)
    assert torch.equal(found, nearest(x, 4))


def normed(layers, norm):
    """Batch normalisation of a list of vectors by their own statistics."""
    values = torch.stack(layers)
    mean, variance = values.mean(0), values.var(0, unbiased=False)
    return list((values - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias)


class Reference:
    """Each operation as its formula stands, over [cloud][point] vectors."""

    def __init__(self, x, graph):
        self.x = [[x[b, :, n, 0] for n in range(POINT_COUNT)] for b in range(CLOUDS)]
        self.graph = graph
        self.places = [(b, n) for b in range(CLOUDS) for n in range(POINT_COUNT)]

    def layer(self, module, vectors):
        return normed([torch.relu(module.convolution.weight @ v) for v in vectors], module.norm)

    def own(self):
        return [self.x[b][n] for b, n in self.places]

    def others(self, b, n):
        return [self.x[b][j] for j in self.graph[b][n] if j != n]

    def all(self, b, n):
        return [self.x[b][j] for j in self.graph[b][n]]

    def none(self, op):
        return [torch.zeros(CHANNELS, dtype=torch.float64) for _ in self.places]

    def skip_connect(self, op):
        return self.own()

    def conv_1x1(self, op):
        return self.layer(op, self.own())

    def edge_conv(self, op):
        weight = torch.cat([op.own.weight, op.difference.weight], dim=1)
        edges = [
            torch.relu(weight @ torch.cat([self.x[b][n], other - self.x[b][n]]))
            for b, n in self.places
            for other in self.others(b, n)
        ]
        values = torch.stack(normed(edges, op.norm)).view(len(self.places), NEIGHBOURS - 1, CHANNELS)
        return list(values.max(1).values)

    def mr_conv(self, op):
        joined = []
        for b, n in self.places:
            differences = torch.stack([other - self.x[b][n] for other in self.others(b, n)])
            joined.append(torch.cat([self.x[b][n], differences.max(0).values]))
        return self.layer(op.layer, joined)

    def gat(self, op):
        h = dict(zip(self.places, self.layer(op.layer, self.own()), strict=True))
        a = op.attention.flatten()
        outputs = []
        for b, n in self.places:
            scores = [torch.nn.functional.leaky_relu(a @ torch.cat([h[b, n], h[b, j]]), 0.2) for j in self.graph[b][n]]
            weights = torch.stack(scores).softmax(0)
            outputs.append(sum(w * h[b, j] for w, j in zip(weights, self.graph[b][n], strict=True)))
        return outputs

    def semi_gcn(self, op):
        h = dict(zip(self.places, self.layer(op.layer, self.own()), strict=True))
        return [sum(h[b, j] for j in self.graph[b][n]) / NEIGHBOURS for b, n in self.places]

    def gin(self, op):
        return self.layer(op.layer, [self.x[b][n] + sum(self.others(b, n)) for b, n in self.places])

    def sage(self, op, relative=False):
        outputs = []
        for b, n in self.places:
            base = self.x[b][n] if relative else torch.zeros_like(self.x[b][n])
            inner = torch.stack([torch.relu(op.inner.weight @ (v - base)) for v in self.all(b, n)]).max(0).values
            y = torch.relu(op.outer.weight @ torch.cat([self.x[b][n], inner]))
            outputs.append(y / max(float(y.norm()), 1e-12))
        return outputs

    def rel_sage(self, op):
        return self.sage(op, relative=True)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_is_its_formula(name, x):
    operation, graph = built(name)
    with graph.of(nearest(x, NEIGHBOURS)), torch.no_grad():
        found = operation(x)
        expected = getattr(Reference(x, neighbours_by_loop(x, NEIGHBOURS)), name)(operation)
    assert found.shape == x.shape
    for row, vector in zip(to_rows(found), expected, strict=True):
        torch.testing.assert_close(row, vector, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", BY_NAME)
def test_gradients_are_right_to_the_second_order(name, x):
    operation, graph = built(name)
    small = x[:2, :, :6].clone().requires_grad_()
    indices = nearest(small, 3)

    def apply(values):
        with graph.of(indices):
            return operation(values)

    assert torch.autograd.gradcheck(apply, small)
    assert torch.autograd.gradgradcheck(apply, small)


def test_the_weights_of_attention_sum_to_one_over_the_point_and_its_neighbours(x):
    operation, graph = built("gat")
    assert isinstance(operation, Attention)
    with graph.of(nearest(x, NEIGHBOURS)):
        weights = operation.weights(to_rows(x), graph.messages(CLOUDS * POINT_COUNT, itself=True))
    assert weights.shape == (NEIGHBOURS, CLOUDS * POINT_COUNT, 1)
    torch.testing.assert_close(weights.sum(0), torch.ones(CLOUDS * POINT_COUNT, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        *((name, 1088, 16640) for name in ("conv_1x1", "semi_gcn", "gin")),
        ("gat", 1152, 16896),
        *((name, 2112, 33024) for name in ("edge_conv", "mr_conv")),
        *((name, 3072, 49152) for name in ("sage", "rel_sage")),
        *((name, 0, 0) for name in ("none", "skip_connect")),
    ],
)
def test_parameters_are_those_of_the_released_code(name, small, large):
    for channels, expected in ((32, small), (128, large)):
        operation = POINTS.build(name, channels, NearestPoints())
        assert sum(weight.numel() for weight in operation.parameters()) == expected


def test_rows_and_maps_are_inverses(x):
    rows = to_rows(x)
    assert rows.shape == (CLOUDS * POINT_COUNT, CHANNELS)
    assert torch.equal(rows[POINT_COUNT + 2], x[1, :, 2, 0])
    assert torch.equal(from_rows(rows, CLOUDS), x)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ConfigError, match="operation 'conv_3x3' is unknown; allowed: none, skip_connect"):
        POINTS.build("conv_3x3", 4, NearestPoints())
