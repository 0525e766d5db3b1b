"""Edge normalisation: β on the simplex of each node, its gradient, its place in the other parts."""

import logging

import pytest
import torch

from cases import build_space, images, seeded, tiny_supernet
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.perturbations import Adversarial, Random
from nas_lightning.regularizers import EdgeNormalisation, PartialChannels
from nas_lightning.relaxations import Softmax, Uniform
from nas_lightning.selectors import Magnitude
from nas_lightning.spaces import CellSpace, Choice

BETAS = ("normal_edge", "reduce_edge")


def pc_darts(name="s3"):
    space = EdgeNormalisation().build(PartialChannels(2).build(build_space(name)))
    relaxation = Softmax(init_std=1.0)
    arch = relaxation.init(space.choices, seeded(0))
    return space, relaxation, {key: a.double().requires_grad_() for key, a in arch.items()}


def test_weights_of_a_node_sum_to_one():
    _, relaxation, arch = pc_darts()
    assert isinstance(EdgeNormalisation(), Regularizer)
    mixing = relaxation(arch)
    for name in BETAS:
        beta = arch[name].detach()
        assert beta.shape == (4, 5)
        for row, count in enumerate((2, 3, 4, 5)):
            assert mixing[name][row, :count].sum().item() == pytest.approx(1, abs=1e-12)
            expected = beta[row, :count].exp() / beta[row, :count].exp().sum()
            torch.testing.assert_close(mixing[name][row, :count].detach(), expected)
            assert mixing[name][row, count:].eq(0).all()
    # α comes first, so that it starts as it would without β
    plain = Softmax(init_std=1.0).init(build_space("s3").choices, seeded(0))
    assert torch.equal(arch["reduce"].detach().float(), plain["reduce"])


def test_the_gradient_reaches_beta():
    space, relaxation, arch = pc_darts()
    tiny_supernet(space)(images(), relaxation(arch)).square().sum().backward()
    for name in BETAS:
        mask = space.choices[name].mask
        assert arch[name].grad[mask].abs().gt(0).all()
        assert arch[name].grad[~mask].eq(0).all()


def test_magnitude_reads_alpha_times_beta():
    space, relaxation, arch = pc_darts("darts")
    mixing = {name: weights.detach() for name, weights in relaxation.mean(arch).items()}
    derived = space.genotype(mixing)
    for cell in ("normal", "reduce"):
        expected = []
        for node in (2, 3, 4, 5):
            first = sum(range(2, node))
            strengths = []
            for source in range(node):
                values = mixing[cell][first + source, 1:] * mixing[f"{cell}_edge"][node - 2, source]  # but none
                option = space.choices[cell].options[0][1 + int(values.argmax())]
                strengths.append((float(values.max()), option, source))
            expected += [(node, op, source) for _, op, source in sorted(strengths, reverse=True)[:2]]
        assert derived.cells[cell] == tuple(expected)
    assert Magnitude()(space, relaxation.mean(arch)) == derived


@pytest.mark.parametrize("perturbation", [Random(), Adversarial(steps=2)], ids=["random", "adversarial"])
def test_perturbations_leave_beta_as_it_is(perturbation):
    space, relaxation, arch = pc_darts("s2")
    supernet = tiny_supernet(space)
    mixing = relaxation({name: a.detach() for name, a in arch.items()})

    def loss(candidate):
        for name in BETAS:
            assert torch.equal(candidate[name], mixing[name])  # in every pass of an attack too
        return supernet(images(), candidate).square().mean()

    changed = perturbation(mixing, loss, space.choices, 0.1, seeded(1), lambda tensors: tensors)
    for name in BETAS:
        assert torch.equal(changed[name], mixing[name])
    for name in ("normal", "reduce"):
        assert not torch.equal(changed[name], mixing[name])


def test_drawn_paths_weigh_edges_equally():
    space, _, _ = pc_darts()
    relaxation = Uniform()
    arch = relaxation.init(space.choices, seeded(0))
    mixing = relaxation(arch, 0, seeded(0))
    for name in BETAS:
        for row, count in enumerate((2, 3, 4, 5)):
            assert mixing[name][row].tolist() == pytest.approx([1 / count] * count + [0] * (5 - count))
    logits = tiny_supernet(space)(images(), mixing, relaxation.active(mixing))
    assert logits.isfinite().all()


@pytest.mark.parametrize(("keep", "nodes", "weighted"), [(1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False)])
def test_a_fixed_topology_is_left_alone_and_said_so(keep, nodes, weighted, caplog):
    space = CellSpace("mine", ["skip_connect", "sep_conv_3x3"], nodes, keep)
    with caplog.at_level(logging.WARNING):
        built = EdgeNormalisation().build(space)
    assert built.edge_weights == weighted
    assert (built is space) == (not weighted)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (not weighted)
    assert all("edge_normalisation does nothing: nodes of space 'mine' keep all" in message for message in messages)


def test_a_choice_that_keeps_everything_is_a_fixed_topology(caplog):
    class Fixed:
        name = "fixed"
        choices = {"cell": Choice("cell", "op", (("a",),) * 3, (0, 0, 1), (1, 2, 2))}  # noqa: RUF012

    space = Fixed()
    assert EdgeNormalisation().build(space) is space
    assert "space 'fixed'" in caplog.text
