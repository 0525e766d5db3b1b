"""Supernets with regularizers and discrete networks through graphs, bit for bit."""

import pytest
import torch
from torch.func import functional_call

from cases import build_space, images, random_genotype, random_mixing, tiny_supernet
from graphed_toy import same, state
from nas_lightning.capture import Graphed, Policy, stand_in, statements
from nas_lightning.core import draws
from nas_lightning.regularizers import DropPath, Noise, SkipDropPath


@pytest.fixture(autouse=True)
def recorded():
    with stand_in():
        yield


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("space", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("darts", "s2")), "s4"])
def test_supernets_with_regularizers(space, engine):
    """Mixing weights as inputs with gradients; probabilities and strengths change from epoch to epoch."""
    space = build_space(space)
    nets, parts = [], []
    for _ in range(2):
        parts.append((DropPath(0.4, epochs=4), Noise("all", decay=True, epochs=4), SkipDropPath(0.2)))
        net = tiny_supernet(space, engine=engine, layers=2).double()
        net.attach(parts[-1])
        nets.append(net)
    plain, module = nets
    names = list(random_mixing(space))
    policy = Policy("required", "search.graph")
    graphed = Graphed(
        lambda w, i, _: functional_call(module, w, (i["images"], {n: i[n] for n in names})), module, policy
    )
    for step in range(4):
        results = []
        for net, of_net in zip(nets, parts, strict=True):
            of_net[2].probability = 0.2 + 0.1 * step
            for part in of_net:
                part.at_epoch(step)
            mixing = {n: m.double().requires_grad_() for n, m in random_mixing(space, step).items()}
            x = images(seed=step).double()
            with draws.keyed(0, step, "weights"):
                if net is plain:
                    y = net(x, mixing)
                else:
                    operations = sorted({op for c in space.choices.values() for row in c.options for op in row})
                    y = graphed({"images": x, **mixing}, options=statements(of_net, operations))
            net.zero_grad()
            y.square().sum().backward()
            results.append([y, *(m.grad for m in mixing.values()), *(p.grad for p in net.parameters())])
        same(*results)
        same(state(module), state(plain))
    assert policy.captures == 2  # without drop-path in the first epoch, with it afterwards


def test_networks_with_drop_path():
    space = build_space("s4")
    genotype = random_genotype(space, 3)
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(space.network(genotype, 3, init_channels=4, layers=3, auxiliary=True).double())
    plain, module = nets
    graphed = Graphed(lambda w, i, _: functional_call(module, w, (i["x"],)), module, Policy("required", "graph"))
    for step in range(3):
        results = []
        for net in nets:
            net.drop_probability = 0.1 * (step + 1)
            x = images(4, 32, seed=step).double()
            with draws.keyed(0, step, "evaluation"):
                logits, auxiliary = net(x) if net is plain else graphed({"x": x})
            net.zero_grad()
            (logits.square().sum() + auxiliary.sum()).backward()
            results.append([logits, auxiliary, *(p.grad for p in net.parameters())])
        same(*results)
        same(state(module), state(plain))
