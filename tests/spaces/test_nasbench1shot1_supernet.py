"""Supernet and networks of NAS-Bench-1Shot1 against loops, and numbers of parameters of the released code."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import nas_lightning as nl
from cases import BLOCK_SPACES, block_space, images, seeded
from nas_lightning.core.modules import CONV_1, CONV_3, MAX_POOL, Module
from nas_lightning.regularizers import Regularizer
from nas_lightning.relaxations import Softmax
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.spaces.nasbench101_networks import NasBench101Network, widths


def supernet_of(space, seed=0, channels=2, layers=1, **changes):
    torch.manual_seed(seed)
    return space.variant(**changes).supernet(3, 3, channels, layers).double()


def mixing_of(space, seed=0):
    weights = {}
    for name, choice in space.choices.items():
        table = torch.rand(choice.num_rows, choice.num_options, generator=seeded(seed), dtype=torch.float64)
        table = table * choice.mask
        weights[name] = table / table.sum(dim=1, keepdim=True)
    return weights


def count(module):
    return sum(p.numel() for p in module.parameters())


def loop(supernet, space, x, mixing):
    """The supernet, number by number: all projections, all blocks, all operations."""
    relu = functional.relu

    def unit(layers, y):  # conv, batch norm with the batch's statistics, relu
        return relu(functional.batch_norm(layers[0](y), None, None, layers[1].weight, layers[1].bias, training=True))

    x = unit(supernet.stem, x)
    blocks = len(space.parents)
    rows = {node: row for row, node in enumerate(space.choices["inputs"].nodes)}
    for index, cell in enumerate(supernet.cells):
        if index and index % supernet.layers == 0:
            x = functional.max_pool2d(x, 2, 2, padding=1)
        outputs = {}
        for b in range(1, blocks + 1):
            beta = mixing["inputs"][rows[b]] if b in rows else torch.ones(b, dtype=torch.float64)
            given = beta[0] * unit(cell.projections[b - 1], x)
            for j in range(1, b):
                given = given + beta[j] * outputs[j]
            pool, conv3, conv1 = cell.edges[b - 1].operations
            alpha = mixing["ops"][b - 1]
            outputs[b] = alpha[0] * pool(given) + alpha[1] * unit(conv3, given) + alpha[2] * unit(conv1, given)
        gamma = mixing["output"][0]
        joined = torch.cat([gamma[b] * outputs[b] for b in range(1, blocks + 1)], dim=1)
        x = gamma[0] * unit(cell.to_output, x) + joined
    y = functional.batch_norm(supernet.head[1](relu(x)), None, None, training=True)
    return supernet.classifier(y.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_supernet_against_a_loop(name):
    space = block_space(name)
    supernet, x, mixing = supernet_of(space), images(3, 8), mixing_of(space)
    torch.testing.assert_close(supernet(x, mixing), loop(supernet, space, x, mixing), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_gradients_of_all_mixing_weights_against_differences(name):
    space = block_space(name)
    supernet, x = supernet_of(space), images(2, 4)
    tables = [table.requires_grad_() for table in mixing_of(space).values()]

    def outputs(*given):
        return supernet(x, dict(zip(space.choices, given, strict=True))).square().sum()

    assert torch.autograd.gradcheck(outputs, tables, atol=1e-5)


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_an_active_path_equals_the_masked_mixture_and_computes_no_more(name):
    space = block_space(name)
    supernet, x = supernet_of(space), images(2, 8)
    for seed in range(12):
        path = {choice: weights.double() for choice, weights in space.sample(seeded(seed)).items()}
        supernet.zero_grad()
        found = supernet(x, path, {choice: weights > 0 for choice, weights in path.items()})
        torch.testing.assert_close(found, supernet(x, path), rtol=1e-10, atol=1e-10)
        found.sum().backward()
        taken = space.genotype_of(path).choices
        output = set(taken["output"])
        needed = set(output)
        for number in range(len(space.parents), 0, -1):
            if number in needed:
                needed |= set(taken["inputs"].get(str(number), range(number)))
        for cell in supernet.cells:
            for number in range(1, len(space.parents) + 1):
                trained = any(p.grad is not None for p in cell.edges[number - 1].parameters())
                assert trained == (number in needed and taken["ops"][number - 1] != MAX_POOL)
            assert (cell.to_output[0].weight.grad is not None) == (0 in output)


@pytest.mark.parametrize(
    ("name", "channels", "layers", "expected"),
    [
        ("nasbench1shot1_1", 16, 3, 1_101_402),
        ("nasbench1shot1_2", 16, 3, 1_101_402),
        ("nasbench1shot1_3", 16, 3, 1_509_594),
        ("nasbench1shot1_1", 4, 1, 20_894),
        ("nasbench1shot1_3", 4, 1, 27_646),
    ],
)
def test_parameters_of_the_released_supernets(name, channels, layers, expected):
    assert count(block_space(name).supernet(10, 3, channels, layers)) == expected


@pytest.mark.parametrize(
    ("matrix", "operations", "expected"),
    [
        ("0100110 0010000 0001001 0000010 0000010 0000001 0000000", "c3 mp c3 c3 c1", 8_555_530),
        ("011101 001100 000010 000010 000001 000000", "mp c3 c3 c3", 31_389_066),
        ("011101 000101 000010 000010 000001 000000", "c3 c1 c3 c3", 9_429_258),
        ("0110011 0001000 0000100 0000100 0000010 0000001 0000000", "c3 mp c3 mp c3", 31_389_066),
    ],
)
def test_parameters_of_the_benchmark(matrix, operations, expected):
    short = {"c3": CONV_3, "c1": CONV_1, "mp": MAX_POOL}
    module = Module.from_matrix(matrix.split(), [short[op] for op in operations.split()])
    with torch.device("meta"):
        assert count(NasBench101Network(module)) == expected


def test_three_parents_share_the_channels_of_the_output_unevenly():
    # 128 = 43 + 43 + 42, which depends on the order of the nodes.
    module = Module(((), (0,), (0,), (0,), (1, 2, 3)), (CONV_3, CONV_3, CONV_1))
    assert widths(module, 128) == [128, 43, 43, 42, 128]


@pytest.mark.parametrize("name", BLOCK_SPACES)
@pytest.mark.parametrize("size", [4, 5, 8])
def test_networks_run_and_train_every_weight(name, size):
    space = block_space(name)
    for seed in range(4):
        torch.manual_seed(seed)
        network = space.network(random_genotype(space, seed), 3, 1, 8, 1)
        network(torch.randn(4, 1, size, size)).square().sum().backward()
        assert all(p.grad is not None for p in network.parameters())


def test_the_input_alone_is_one_projection():
    network = NasBench101Network(Module(((), (0,)), ()), 3, 3, 4, 1)
    assert [len(cell.projections) for cell in network.cells] == [1, 1, 1]
    assert network(images(2, 8).float()).shape == (2, 3)


def test_drop_path_acts_in_training_only():
    network = block_space("nasbench1shot1_1").network(random_genotype(block_space("nasbench1shot1_1"), 1), 3, 3, 8, 1)
    network.drop_probability = 0.9
    x = images(8, 8).float()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.0
    torch.manual_seed(0)
    first = network(x)
    torch.manual_seed(1)
    assert not torch.equal(first, network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_hooks_see_blocks_and_partial_channels_bypass():
    class Seen(Regularizer):
        def __init__(self):
            self.ops, self.edges = [], []

        def on_op(self, y, op, edge):
            self.ops.append((op, edge.row, y.shape[1]))
            return y

        def on_edge(self, y, x, edge):
            self.edges.append((edge.source, edge.node, y.shape[1]))
            return y

    space, part = block_space("nasbench1shot1_2"), Seen()
    supernet = supernet_of(space, channels=4, partial_channels=2)
    supernet.attach((part,))
    supernet(images(2, 8), mixing_of(space))
    assert part.edges[:4] == [(b, b, 4) for b in (1, 2, 3, 4)]
    assert part.ops[:3] == [(MAX_POOL, 0, 2), (CONV_3, 0, 2), (CONV_1, 0, 2)]
    assert len(part.ops) == 3 * 4 * 3


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_the_sum_of_each_row_is_a_flat_direction_of_the_curvature(name):
    """Softmax of a row does not see what all its parameters share: as many eigenvalues are zero as there are rows."""
    space = block_space(name)
    supernet, x, softmax = supernet_of(space), images(4, 8), Softmax(init_std=0.5)
    arch = {choice: a.double() for choice, a in softmax.init(space.choices, seeded(0)).items()}
    sizes = {choice: int(table.mask.sum()) for choice, table in space.choices.items()}

    def loss(flat):
        parts = dict(zip(sizes, flat.split(list(sizes.values())), strict=True))
        placed = {
            choice: torch.zeros_like(arch[choice]).masked_scatter(table.mask, parts[choice])
            for choice, table in space.choices.items()
        }
        return functional.cross_entropy(supernet(x, softmax(placed)), torch.tensor([0, 1, 2, 0]))

    flat = torch.cat([arch[choice][table.mask] for choice, table in space.choices.items()])
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    rows = sum(table.num_rows for table in space.choices.values())
    assert int((values.abs() < 1e-10 * values.abs().max()).sum()) >= rows
    assert values.abs().max() > 1e-3


def momenta(network):
    return {part.momentum for part in network.modules() if isinstance(part, nn.BatchNorm2d)}


def test_networks_keep_the_benchmarks_statistics_where_the_supernet_has_the_released_mistake():
    space = nl.build_space(nl.compose(["experiment=nasbench1shot1"]))
    assert momenta(space.supernet(10, 3, 4, 1)) == {0.997}
    assert momenta(space.network(random_genotype(space, 0), 10, 3, 4, 1)) == {0.003}
    digits = nl.build_space(nl.compose(["space=nasbench1shot1_1", "data=digits"]))
    assert (
        momenta(digits.supernet(10, 1, 4, 1))
        == momenta(digits.network(random_genotype(digits, 0), 10, 1, 4, 1))
        == {0.1}
    )
