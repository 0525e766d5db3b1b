"""Operations on given graphs against dense matrices of neighbours, in float64."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cases import seeded
from nas_lightning.points.neighbours import EdgeMessages, GivenEdges, to_rows
from nas_lightning.points.operations import GRAPH_OPERATIONS, GRAPHS, POINT_OPERATIONS, POINTS, Attention

NODES, CHANNELS = 9, 4
BY_NAME = sorted(GRAPH_OPERATIONS)
EDGES = torch.tensor([[0, 1, 2, 3, 0, 4, 5, 6, 1, 7, 2], [1, 0, 0, 0, 2, 5, 4, 5, 6, 6, 3]])
"""From the first row to the second, not all of them back: node 7 has no edge to it, node 8 none at all."""


@pytest.fixture
def x():
    return torch.randn(NODES, CHANNELS, 1, 1, generator=seeded(0), dtype=torch.float64)


def matrix():
    """[i, j] is 1 where an edge leads from j to i."""
    found = torch.zeros(NODES, NODES, dtype=torch.float64)
    for source, target in EDGES.t().tolist():
        found[target, source] = 1
    return found


def made(name, channels=CHANNELS):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        graph = GivenEdges()
        operation = GRAPHS.build(name, channels, graph).double()
        for norm in (module for module in operation.modules() if isinstance(module, torch.nn.BatchNorm1d)):
            torch.nn.init.normal_(norm.weight)  # also negative: a maximum does not pass through
            torch.nn.init.normal_(norm.bias)
    return operation, graph


def standardised(rows, norm):
    """Batch normalisation of [M, C] by its own statistics."""
    scaled = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + norm.eps).sqrt()
    return scaled * norm.weight + norm.bias


def masked_max(pairs, mask):
    """Maximum of [i, j, C] over the j that a mask [i, j] has; 0 where it has none."""
    found = pairs.masked_fill(~mask[..., None], -torch.inf).max(1).values
    return torch.where(mask.any(1)[:, None], found, torch.zeros_like(found))


class Dense:
    """Each operation as its formula stands, over all pairs of nodes."""

    def __init__(self, x):
        self.x = x
        self.a = matrix()
        self.whole = self.a + torch.eye(NODES, dtype=torch.float64)
        self.degrees = self.whole.sum(1)
        self.differences = x[None, :] - x[:, None]  # [i, j] is x_j − x_i

    def after(self, layer, rows):
        return standardised(torch.relu(rows), layer.norm)

    def layer(self, layer, rows):
        return self.after(layer, rows @ layer.convolution.weight.t())

    def none(self, op):
        return torch.zeros_like(self.x)

    def skip_connect(self, op):
        return self.x

    def conv_1x1(self, op):
        return self.layer(op, self.x)

    def edge_conv(self, op):
        weight = torch.cat([op.own.weight, op.difference.weight], dim=1)
        joined = torch.cat([self.x[:, None].expand(-1, NODES, -1), self.differences], dim=2)
        pairs, mask = torch.relu(joined @ weight.t()), self.a > 0
        edges = torch.zeros_like(pairs)
        edges[mask] = standardised(pairs[mask], op.norm)
        return masked_max(edges, mask)

    def mr_conv(self, op):
        return self.layer(op.layer, torch.cat([self.x, masked_max(self.differences, self.a > 0)], dim=1))

    def gat(self, op):
        h = self.x @ op.layer.convolution.weight.t()
        own, others = op.attention
        scores = torch.nn.functional.leaky_relu((h @ own)[:, None] + (h @ others)[None, :], 0.2)
        weights = scores.masked_fill(self.whole == 0, -torch.inf).softmax(1)
        return self.after(op.layer, weights @ h)

    def semi_gcn(self, op):
        root = torch.diag(self.degrees.pow(-0.5))
        return self.after(op.layer, root @ self.whole @ root @ self.x @ op.layer.convolution.weight.t())

    def gin(self, op):
        return self.layer(op.layer, self.x + self.a @ self.x)

    def sage(self, op, of=None):
        told = (self.x[None, :] if of is None else of) @ op.inner.weight.t()
        mean = (self.whole[..., None] * told).sum(1) / self.degrees[:, None]
        y = self.layer(op.outer, torch.cat([self.x, mean], dim=1))
        return y / y.norm(dim=1, keepdim=True)

    def rel_sage(self, op):
        return self.sage(op, self.differences)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_on_edges_is_its_formula_on_matrices(name, x):
    operation, graph = made(name)
    with graph.of(EDGES), torch.no_grad():
        found = operation(x)
        expected = getattr(Dense(to_rows(x)), name)(operation)
    assert found.shape == x.shape
    torch.testing.assert_close(to_rows(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_follows_a_permutation_of_the_nodes(name, x):
    """Node i becomes node place[i], and its edges with it, which come in another order, too."""
    operation, graph = made(name)
    place = torch.randperm(NODES, generator=seeded(2))
    shuffled = place[EDGES][:, torch.randperm(EDGES.shape[1], generator=seeded(3))]
    moved = torch.empty_like(x)
    moved[place] = x
    with torch.no_grad():
        with graph.of(EDGES):
            expected = operation(x)
        with graph.of(shuffled):
            found = operation(moved)
    torch.testing.assert_close(found[place], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", BY_NAME)
def test_gradients_on_edges_are_right_to_the_second_order(name, x):
    operation, graph = made(name)
    small = x[:6].clone().requires_grad_()
    edges = EDGES[:, (EDGES < 6).all(0)]

    def apply(values):
        with graph.of(edges):
            return operation(values)

    assert torch.autograd.gradcheck(apply, small)
    assert torch.autograd.gradgradcheck(apply, small)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("edges", [0, 1])
def test_graphs_of_no_edge_and_of_one_are_trained_on(name, edges, x):
    operation, graph = made(name)
    with graph.of(EDGES[:, :edges]):
        y = operation(x.requires_grad_())
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


def test_a_node_without_edges_has_zeros_for_mean_maximum_and_sum():
    messages = EdgeMessages(torch.tensor([0, 1]), torch.tensor([2, 2]), 4)
    edges = torch.tensor([[-1.0, 2.0], [-3.0, 4.0]])
    nothing = torch.zeros(2)
    for reduced, at_2 in (("largest", [-1.0, 4.0]), ("mean", [-2.0, 3.0]), ("total", [-4.0, 6.0])):
        found = getattr(messages, reduced)(edges)
        assert found[2].tolist() == at_2
        assert all(torch.equal(found[node], nothing) for node in (0, 1, 3))
    assert messages.reached(torch.ones(4, 1)).flatten().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("rows", [[0.0, -1.0], [0.0, 0.0], [-2.0, -3.0]])
def test_gradients_of_a_maximum_are_those_of_torch_also_at_zero(rows):
    """Two edges to node 1; the others have none and give finite zeros."""
    edges = torch.tensor(rows)[:, None].requires_grad_()
    found = EdgeMessages(torch.tensor([0, 2]), torch.tensor([1, 1]), 4).largest(edges)
    (gradient,) = torch.autograd.grad(found.sum(), edges)
    expected = edges.amax(0)
    assert found.flatten().tolist() == [0, expected.item(), 0, 0]
    assert torch.equal(gradient, torch.autograd.grad(expected.sum(), edges)[0])


class Sums(TorchDispatchMode):
    """Keeps the types that `index_add` adds in."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.index_add:
            self.types.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_sums_of_many_edges_are_not_rounded_one_by_one(dtype):
    """In bfloat16, 256 + 1 is 256; kernels of torch differ in whether they add in it, so the type is what is asked."""
    messages = EdgeMessages(torch.arange(1, 701), torch.zeros(700, dtype=torch.int64), 701)
    edges = torch.rand(700, 3, generator=seeded(4), dtype=torch.float64).to(dtype).requires_grad_()
    with Sums() as seen:
        total, mean = messages.total(edges), messages.mean(edges)
    assert seen.types == {torch.float64 if dtype == torch.float64 else torch.float32}
    assert total.dtype == mean.dtype == dtype
    tolerance = {"rtol": torch.finfo(dtype).eps / 2 + 1e-6 * (dtype == torch.float32) + 1e-14, "atol": 0}
    exact = edges.detach().double()
    torch.testing.assert_close(total[0].double(), exact.sum(0), **tolerance)
    torch.testing.assert_close(mean[0].double(), exact.mean(0), **tolerance)
    (gradient,) = torch.autograd.grad(total.sum(), edges)
    assert torch.equal(gradient, torch.ones_like(edges))
    with Sums() as seen:
        smoothed = messages.smoothed(torch.ones(701, 2, dtype=dtype))
    assert smoothed.dtype == dtype
    assert seen.types == {torch.promote_types(dtype, torch.float32)}
    torch.testing.assert_close(smoothed[0].double(), torch.full((2,), 700**0.5).double(), rtol=8e-3, atol=0)


def test_a_maximum_without_neighbours_is_that_of_the_node_and_zeros(x):
    """`mr_conv` of an isolated node reads [x, 0]; with the running statistics, so that no other node counts."""
    operation, graph = made("mr_conv")
    operation.eval()
    with graph.of(EDGES):
        alone = operation(x)[8].flatten()
    layer = operation.layer
    read = torch.relu(layer.convolution.weight[:, :CHANNELS] @ x[8].flatten())
    torch.testing.assert_close(alone, read / (1 + layer.norm.eps) ** 0.5 * layer.norm.weight + layer.norm.bias)


def test_the_weights_of_attention_sum_to_one_over_the_edges_to_a_node(x):
    operation, graph = made("gat")
    assert isinstance(operation, Attention)
    with graph.of(EDGES):
        messages = graph.messages(NODES, itself=True)
        weights = operation.weights(50 * to_rows(x), messages)  # large scores: their exponentials would overflow
    assert weights.shape == (EDGES.shape[1] + NODES, 1)
    torch.testing.assert_close(messages.total(weights), torch.ones(NODES, 1, dtype=torch.float64))


@pytest.mark.parametrize(("family", "bound"), [(GRAPHS, (6 / 65) ** 0.5), (POINTS, 3**0.5)])
def test_attention_begins_within_the_bound_of_its_released_layer(family, bound):
    """PyTorch Geometric's weights of attention have the shape [1, 1, 2C], a 1x1 kernel other fans."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        largest = max(
            float(family.build("gat", 32, family.neighbourhood()).attention.detach().abs().max()) for _ in range(20)
        )
    assert 0.99 * bound < largest <= bound


@pytest.mark.parametrize("name", ["gat", "semi_gcn"])
def test_maps_of_graph_convolutions_begin_by_glorot_and_those_of_clouds_do_not(name):
    def largest(family):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [family.build(name, 32, family.neighbourhood()).layer for _ in range(5)]
        return max(float(layer.convolution.weight.detach().abs().max()) for layer in layers)

    assert 0.99 * (6 / 64) ** 0.5 < largest(GRAPHS) <= (6 / 64) ** 0.5
    assert 0.99 * 32**-0.5 < largest(POINTS) <= 32**-0.5


def test_four_operations_differ_from_those_of_point_clouds():
    assert sorted(name for name in BY_NAME if GRAPH_OPERATIONS[name] is not POINT_OPERATIONS[name]) == [
        *("gat", "rel_sage", "sage", "semi_gcn")
    ]


@pytest.mark.parametrize(
    ("name", "weights"),
    [("gat", 1152), ("semi_gcn", 1088), ("sage", 3 * 32**2 + 2 * 32), ("rel_sage", 3 * 32**2 + 2 * 32)],
)
def test_parameters_follow_from_the_formulas(name, weights):
    assert sum(weight.numel() for weight in GRAPHS.build(name, 32, GivenEdges()).parameters()) == weights
