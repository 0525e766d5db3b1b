"""Uniform sampling: paths, what is computed of them, and the supernet on a path against the whole one."""

import pytest
import torch
from torch import nn

from cases import BLOCK_SPACES, SPACES, block_space, build_space, images, seeded, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.relaxations import Uniform
from nas_lightning.spaces import CellSpace, Choice

RAGGED = {
    "cell": Choice("cell", "op", (("a", "b", "c"), ("a",), ("a", "b")), (0, 1, 2), (3, 3, 3), keep=2),
    "edge": Choice("edge", "edge", (("x", "y", "z"),), (0,), (3,)),
}
SINGLE = {"cell": Choice("cell", "op", (("a",), ("a",), ("a",)), (0, 1, 2), (3, 3, 3), keep=2)}
EVERYTHING = {"cell": Choice("cell", "op", (("a",), ("a",)), (0, 1), (3, 3))}
TABLES = {**{name: build_space(name).choices for name in SPACES}, "ragged": RAGGED, "single": SINGLE}
TABLES |= {name: block_space(name).choices for name in BLOCK_SPACES}


@pytest.mark.parametrize("name", TABLES)
def test_paths_and_their_mean(name):
    choices, relaxation = TABLES[name], Uniform()
    arch = relaxation.init(choices, seeded(0))
    assert {key: value.shape for key, value in arch.items()} == {
        key: (choice.num_rows, choice.num_options) for key, choice in choices.items()
    }
    assert all(value.eq(0).all() for value in arch.values())
    arch = {key: value.double().requires_grad_() for key, value in arch.items()}

    path = relaxation(arch, 3, seeded(1))
    again, other = relaxation(arch, 4, seeded(1)), relaxation(arch, 3, seeded(2))
    assert all(torch.equal(path[key], again[key]) for key in path)
    assert name == "single" or any(not torch.equal(path[key], other[key]) for key in path)
    active = relaxation.active(path)
    for key, choice in choices.items():
        assert (path[key].dtype, path[key].requires_grad) == (torch.float64, False)
        assert active[key].dtype == torch.bool
        assert torch.equal(active[key], path[key] != 0)
        if choice.kind == "edge":
            assert torch.equal(active[key], choice.mask)
            continue
        assert path[key].eq(0).logical_or(path[key].eq(1)).all()
        for rows in choice.rows_of_node.values():
            if choice.kind == "op":
                assert path[key][rows].sum() == min(choice.keep or len(rows), len(rows))
        if choice.kind in ("input", "output"):
            assert path[key].sum(dim=1).tolist() == list(choice.taken)
            assert not path[key][~choice.mask].any()

    mean = relaxation.mean(arch)
    for key, choice in choices.items():
        rows = [[1 / len(row)] * len(row) + [0.0] * (choice.num_options - len(row)) for row in choice.options]
        torch.testing.assert_close(mean[key], torch.tensor(rows, dtype=torch.float64), rtol=1e-7, atol=0)
        assert not mean[key].requires_grad
    assert relaxation.active(mean) is None
    assert relaxation.penalty(arch) is None


def test_a_path_of_everything_needs_no_flags():
    relaxation = Uniform()
    path = relaxation(relaxation.init(EVERYTHING))
    assert path["cell"].tolist() == [[1.0], [1.0]]
    assert relaxation.active(path) is None


def test_paths_are_those_of_the_space():
    space = build_space("s3")
    for none in (True, False):
        relaxation = Uniform(none=none)
        arch = relaxation.init(space.choices)
        found = [relaxation(arch, 0, seeded(seed)) for seed in range(20)]
        for seed, path in enumerate(found):
            expected = space.sample(seeded(seed), none)
            assert all(torch.equal(path[key], expected[key]) for key in expected)
        assert any(path["normal"][:, 0].any() for path in found) == none


def test_a_later_space_replaces_the_first():
    relaxation = Uniform()
    relaxation.init(RAGGED)
    arch = relaxation.init(SINGLE)
    assert relaxation(arch)["cell"].sum() == 2
    assert relaxation.active(relaxation.mean(arch)) is None


# ---------------------------------------------------------------------------------------------- in a supernet
def run(space, mixing, active):
    """Outputs, gradients and buffers of one training pass of the same tiny supernet."""
    net = tiny_supernet(space)
    with draws.keyed(0, 0, "weights"):
        outputs = net(images(), mixing, active)
    nn.functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0])).backward()
    return net, outputs.detach(), {name: p.grad for name, p in net.named_parameters()}


def operation_of(name):
    """(cell, row, column) of the operation that a parameter or buffer belongs to, or None."""
    parts = name.split(".")
    return (int(parts[1]), int(parts[3]), int(parts[5])) if parts[2:3] == ["edges"] else None


@pytest.mark.parametrize("name", ["darts", "s1", "s3", "s4", "s5"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_path_computes_what_the_whole_supernet_would(name, seed):
    space, relaxation = build_space(name), Uniform()
    arch = {key: value.double() for key, value in relaxation.init(space.choices).items()}
    path = relaxation(arch, 0, seeded(seed))
    fresh = dict(tiny_supernet(space).named_buffers())
    net, outputs, grads = run(space, path, relaxation.active(path))
    whole, expected, whole_grads = run(space, path, None)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)

    kinds = [cell.choice.name for cell in net.cells]
    counts = {True: 0, False: 0}

    def on_path(key):
        where = operation_of(key)
        return where is None or path[kinds[where[0]]][where[1], where[2]] == 1

    for key, grad in grads.items():
        if grad is None:
            assert whole_grads[key] is None or whole_grads[key].eq(0).all()
        else:
            assert on_path(key)
            torch.testing.assert_close(grad, whole_grads[key], rtol=1e-9, atol=1e-12)
        counts[bool(on_path(key))] += 1
    assert min(counts.values()) > 0
    assert any(grad is not None and grad.ne(0).any() for key, grad in grads.items() if operation_of(key))

    moved, whole_moved = dict(net.named_buffers()), dict(whole.named_buffers())
    for key, buffer in fresh.items():
        if on_path(key):
            torch.testing.assert_close(moved[key], whole_moved[key], rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(moved[key], buffer)
        if key.endswith("num_batches_tracked"):
            assert moved[key] == int(on_path(key))
            assert whole_moved[key] == 1


def test_an_optimizer_leaves_undrawn_weights_alone():
    """No gradient, so neither decay nor momentum; the released code computes zeros and lets both act."""
    space = CellSpace("two", ["skip_connect", "sep_conv_3x3"], num_nodes=1, keep=1)
    relaxation = Uniform()
    arch = relaxation.init(space.choices)
    net = tiny_supernet(space, layers=1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    states = []
    for column in (1, 0):  # the convolution is on the path first, then it is not, but has momentum by then
        path = {key: torch.zeros_like(value) for key, value in arch.items()}
        for value in path.values():
            value[0, column] = 1
        net(images(), path, relaxation.active(path)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        states.append({key: value.clone() for key, value in net.state_dict().items()})
    convolutions = [key for key in states[0] if ".edges.0.operations.1." in key]
    assert len(convolutions) > 4
    assert all(torch.equal(states[0][key], states[1][key]) for key in convolutions)
    assert not torch.equal(states[0]["classifier.weight"], states[1]["classifier.weight"])
