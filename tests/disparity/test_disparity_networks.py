"""Networks and supernet of the disparity space: sizes of the release, one function of both, equal halves."""

import pytest
import torch

from cases import seeded
from nas_lightning.core.genotypes import Genotype
from nas_lightning.disparity import DisparitySpace
from nas_lightning.disparity.body import DisparityBody, Structure
from nas_lightning.disparity.operations import (
    DISPARITY_OPERATIONS,
    build_disparity_operation,
)
from nas_lightning.disparity.supernet import DisparitySupernet
from nas_lightning.regularizers import Regularizer
from nas_lightning.spaces.enumeration import random_genotype

S6 = ("sep_conv_3x3", "max_pool_3x3", "skip_connect")
CONCAT = {"normal": (2, 3, 4), "reduce": (2, 3, 4), "up": (4, 5, 6)}
RELEASED = {
    "normal": "skip_connect~0 sep_conv_5x5~1 | sep_conv_3x3~2 skip_connect~0 | dil_conv_3x3~2 dil_conv_3x3~0",
    "reduce": "sep_conv_5x5~1 sep_conv_3x3~0 | sep_conv_5x5~2 skip_connect~0 | skip_connect~1 sep_conv_5x5~3",
    "up": (
        "sep_conv_3x3~3 dil_conv_3x3~2 sep_conv_3x3~1 skip_connect~0 | sep_conv_3x3~3 sep_conv_3x3~4"
        " | sep_conv_3x3~2 dil_conv_5x5~4"
    ),
}


def genotype(only=None):
    """The released cells, or their edges with one operation."""
    cells = {}
    for kind, text in RELEASED.items():
        first = CONCAT[kind][0]
        edges = [(first + n, *edge.split("~")) for n, node in enumerate(text.split("|")) for edge in node.split()]
        cells[kind] = tuple((node, only or op, int(source)) for node, op, source in edges)
    return Genotype("disparity", cells, CONCAT)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


LARGE, SMALL = 64 / 42, 2.0


@pytest.mark.parametrize(
    ("channels", "multiplier", "only", "expected"),
    [
        (42, LARGE, None, 36_989_773),
        (42, LARGE, "skip_connect", 39_940_021),
        (42, LARGE, "max_pool_3x3", 18_343_621),
        (42, LARGE, "sep_conv_3x3", 30_040_453),
        (24, SMALL, "skip_connect", 13_113_605),
        (24, SMALL, "max_pool_3x3", 6_060_485),
        (24, SMALL, "sep_conv_3x3", 9_958_853),
        (18, SMALL, None, 6_931_157),
        (18, SMALL, "skip_connect", 7_385_117),
        (18, SMALL, "max_pool_3x3", 3_417_197),
        (18, SMALL, "sep_conv_3x3", 5_644_589),
    ],
)
def test_parameters_of_the_release(channels, multiplier, only, expected):
    space = DisparitySpace("disparity", tuple(DISPARITY_OPERATIONS), both_directions=True, stem_multiplier=multiplier)
    with torch.device("meta"):
        network = space.network(genotype(only), init_channels=channels)
    assert parameters(network) == expected


@pytest.mark.parametrize(("channels", "multiplier", "expected"), [(42, LARGE, 36_979_693), (18, SMALL, 6_926_837)])
def test_parameters_with_41_displacements(channels, multiplier, expected):
    space = DisparitySpace("disparity", tuple(DISPARITY_OPERATIONS), stem_multiplier=multiplier)
    with torch.device("meta"):
        network = space.network(genotype(), init_channels=channels)
    assert parameters(network) == expected


def small(operations=S6, **changes):
    sizes = {"stems": (5,), "features": 1, "encoder": 2, "decoder": 2, "max_displacement": 4}
    return DisparitySpace("disparity", operations, **{**sizes, **changes})


def pairs(height=16, width=24, number=2, seed=0):
    return torch.randn(number, 6, height, width, generator=seeded(seed), dtype=torch.float64)


def supernet_of(space, channels=3, seed=0):
    torch.manual_seed(seed)
    supernet = space.supernet(init_channels=channels, engine="reference")
    assert isinstance(supernet, DisparitySupernet)
    return supernet.double()


def mixing_of(space, seed=0):
    return {
        name: torch.rand(c.num_rows, c.num_options, generator=seeded(seed), dtype=torch.float64).softmax(1)
        for name, c in space.choices.items()
    }


STRUCTURES = {
    "default": {},
    "softplus": {"prediction": "softplus", "both_directions": True},
    "two stems": {"stems": (3, 5), "decoder": 4},
    "no features": {"features": 0, "decoder": 1},
    "long encoder": {"encoder": 5, "decoder": 3, "features": 2},
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("operations", [S6, tuple(DISPARITY_OPERATIONS)], ids=["s6", "all"])
def test_supernet_on_a_path_is_the_network_of_its_genotype(name, operations):
    space = small(operations, **STRUCTURES[name])
    multiple = space.structure.multiple
    supernet, x = supernet_of(space), pairs(multiple, 2 * multiple)
    found = random_genotype(space, 1)
    network = space.network(found, init_channels=3).double()
    weights = dict(supernet.state_dict())
    copied = {}
    for index, kind in enumerate(supernet.body.kinds):
        choice = space.choices[kind]
        for place, (node, op, source) in enumerate(found.cells[kind]):
            row = [*zip(choice.nodes, choice.sources, strict=True)].index((node, source))
            prefix = f"body.cells.{index}.nodes.edges.{row}.operations.{choice.options[row].index(op)}."
            for key, value in weights.items():
                if key.startswith(prefix):
                    copied[f"body.cells.{index}.nodes.operations.{place}.{key.removeprefix(prefix)}"] = value
    shared = {key: value for key, value in weights.items() if ".edges." not in key}
    network.load_state_dict({**shared, **copied})  # strict: nothing is left out on either side
    path = {key: table.double() for key, table in space.path_of(found).items()}
    for active in (None, {key: table.bool() for key, table in path.items()}):
        for one, other in zip(supernet(x, path, active).scales, network(x).scales, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sides", [(8, 8), (8, 24), (24, 40), (64, 128)])
def test_sizes_of_the_maps(sides):
    space = small(max_displacement=1)
    found = supernet_of(space)(pairs(*sides), mixing_of(space)).scales
    height, width = sides
    assert [tuple(scale.shape) for scale in found] == [(2, 1, height // k, width // k) for k in (8, 4, 2, 1)]
    assert all((scale >= 0).all() for scale in found)


def test_predictions_begin_at_the_mean():
    space = small()
    for prediction in ("relu", "softplus"):
        network = small(prediction=prediction).network(random_genotype(space, 0), mean=8.0)
        for head in network.body.predictions:
            assert head(torch.zeros(1, head.convolution.in_channels, 2, 2)).mean().item() * 20 == pytest.approx(8.0)


def features(body, images):
    return body.features(images, lambda index, *inputs: body.cells[index](*inputs, 0.0))


def test_both_images_are_read_by_the_same_weights():
    network = small().network(random_genotype(small(), 0)).double()
    x = pairs()
    left, right = x.chunk(2, dim=1)
    together = features(network.body, torch.cat([left, right]))
    swapped = features(network.body, torch.cat([right, left]))
    for level, other, alone in zip(together, swapped, features(network.body, left), strict=True):
        torch.testing.assert_close(level, torch.cat(other.chunk(2)[::-1]))
        torch.testing.assert_close(level.chunk(2)[0], alone)


def test_the_disparity_depends_on_both_images():
    network = small().network(random_genotype(small(), 0)).double()
    left, right = pairs().chunk(2, dim=1)
    predicted = [network(torch.cat(pair, dim=1)).scales[-1] for pair in ((left, right), (right, left), (left, left))]
    assert not torch.allclose(predicted[0], predicted[1])
    assert not torch.allclose(predicted[0], predicted[2])


@pytest.mark.slow
def test_gradients_of_all_mixing_weights_against_differences():
    space = small(encoder=2, decoder=1)
    supernet, x = supernet_of(space, channels=1), pairs(8, 16, number=1)
    tables = [table.requires_grad_() for table in mixing_of(space).values()]

    def outputs(*given):
        found = supernet(x, dict(zip(space.choices, given, strict=True)))
        return sum(scale.square().mean() for scale in found.scales)

    assert torch.autograd.gradcheck(outputs, tables, atol=1e-5)


def test_inactive_options_are_not_computed():
    class Names(Regularizer):
        def __init__(self):
            self.seen = set()

        def on_op(self, y, op, edge):
            self.seen.add((edge.choice, op))
            return y

    space = small()
    supernet, seen = supernet_of(space), Names()
    supernet.attach((seen,))
    active = {name: choice.where("skip_connect") for name, choice in space.choices.items()}
    supernet(pairs(), mixing_of(space), active)
    assert seen.seen == {(kind, "skip_connect") for kind in ("normal", "reduce", "up")}
    supernet(pairs(), mixing_of(space))
    assert len(seen.seen) == 9


def test_hooks_see_every_edge_with_its_place():
    class Edges(Regularizer):
        def __init__(self):
            self.seen = []

        def on_edge(self, y, x, edge):
            self.seen.append(edge)
            assert y.shape[1] == x.shape[1] == edge.channels
            assert x.shape[2] == y.shape[2] * edge.stride
            return 2 * y

    space = small()
    supernet, seen = supernet_of(space), Edges()
    plain = supernet(pairs(), mixing_of(space)).scales[-1]
    supernet.attach((seen,))
    changed = supernet(pairs(), mixing_of(space)).scales[-1]
    assert not torch.allclose(plain, changed)
    assert len(seen.seen) == 9 + 9 + 9 + 15 + 15
    assert {(edge.choice, edge.source, edge.stride) for edge in seen.seen if edge.stride == 2} == {
        ("reduce", 0, 2),
        ("reduce", 1, 2),
    }


def test_cells_that_are_computed_again_give_the_same_gradients():
    space = small()
    supernet, x, mixing = supernet_of(space), pairs(), mixing_of(space)
    gradients = []
    for again in (False, True):
        supernet.recomputes = again
        loss = sum(scale.mean() for scale in supernet(x, mixing).scales)
        gradients.append(torch.autograd.grad(loss, list(supernet.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_second_derivatives_exist():
    """What early stopping by curvature needs: the Hessian of the architecture is symmetric and not zero."""
    space = small(decoder=1)
    supernet, x = supernet_of(space, channels=1), pairs(8, 16, number=1)
    tables = [table.requires_grad_() for table in mixing_of(space).values()]
    loss = sum(s.square().mean() for s in supernet(x, dict(zip(space.choices, tables, strict=True))).scales)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, tables, create_graph=True)])
    picked = range(0, 99, 11)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(gradient[i], tables, retain_graph=True)]) for i in picked
    ]
    hessian = torch.stack(rows)[:, list(picked)]
    torch.testing.assert_close(hessian, hessian.T)
    assert hessian.abs().max() > 0


def test_the_sum_of_a_row_is_a_direction_without_curvature():
    """So an architecture's Hessian has the weight decay as an eigenvalue at least 33 times, once a row."""
    space = small(decoder=1)
    supernet, x = supernet_of(space, channels=1), pairs(8, 16, number=1)
    logits = {name: table.log().requires_grad_() for name, table in mixing_of(space).items()}
    mixing = {name: table.softmax(dim=1) for name, table in logits.items()}
    loss = sum(scale.square().mean() for scale in supernet(x, mixing).scales)
    gradient = torch.autograd.grad(loss, list(logits.values()), create_graph=True)
    moved = torch.autograd.grad(gradient[2][:, 1].sum(), list(logits.values()), retain_graph=True)
    assert max(float(part.abs().max()) for part in moved) > 1e-6
    for choice, row in ((0, 0), (0, 8), (1, 3), (2, 2), (2, 14)):
        along = torch.autograd.grad(gradient[choice][row].sum(), list(logits.values()), retain_graph=True)
        assert max(float(part.abs().max()) for part in along) < 1e-9


def test_paths_are_dropped_in_training_only():
    network = small().network(random_genotype(small(), 0)).double()
    x = pairs()
    plain = network.eval()(x).scales[-1]
    network.drop_probability = 0.9
    assert torch.equal(network(x).scales[-1], plain)
    torch.manual_seed(0)
    assert not torch.allclose(network.train()(x).scales[-1], plain)


@pytest.mark.parametrize("name", DISPARITY_OPERATIONS)
@pytest.mark.parametrize("stride", [1, 2])
def test_operations_keep_the_channels_and_halve_the_sides(name, stride):
    operation = build_disparity_operation(name, 4, stride)
    assert operation(torch.randn(2, 4, 8, 12)).shape == (2, 4, 8 // stride, 12 // stride)


def test_separable_convolutions_have_biases_behind_the_pointwise_one_only():
    shapes = {name: tuple(p.shape) for name, p in build_disparity_operation("sep_conv_3x3", 4, 1).named_parameters()}
    assert shapes == {"0.weight": (4, 1, 3, 3), "1.weight": (4, 4, 1, 1), "1.bias": (4,),
                      "3.weight": (4, 1, 3, 3), "4.weight": (4, 4, 1, 1), "4.bias": (4,)}  # fmt: skip


def test_a_body_has_as_many_cells_as_its_structure_says():
    body = DisparityBody(Structure(), lambda kind, index, channels: torch.nn.Identity(), 3, 2, 8.0)
    assert body.kinds == ["reduce", *["normal", "reduce"] * 3, *["up"] * 4]
    assert len(body.predictions) == 5
    assert (Structure().multiple, Structure().reach) == (64, 320)
