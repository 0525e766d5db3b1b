"""Scores of the networks of every image space, screens, and what cannot be scored."""

import math
from functools import partial

import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch.nn.functional import cross_entropy

from cases import BLOCK_SPACES, CONF, SPACES
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_macs
from nas_lightning.proxies import (
    GradientNorm,
    Macs,
    Naswot,
    Parameters,
    Proxy,
    Sample,
    Snip,
    Synflow,
    check_inputs,
    initialised,
    scores,
    screen,
)
from nas_lightning.proxies.gradients import gradients, weights_of
from nas_lightning.spaces.enumeration import random_genotype

PROXIES = {
    "synflow": Synflow(), "bn": Synflow(bn=True), "naswot": Naswot(), "norm": GradientNorm(), "snip": Snip(),
    "parameters": Parameters(), "macs": Macs(),
}  # fmt: skip
IMAGE_SPACES = (*SPACES, "nasbench201", *BLOCK_SPACES)


def space_of(name):
    values = yaml.safe_load((CONF / "space" / f"{name}.yaml").read_text())
    return instantiate(values.get("space", values), _convert_="all")


def build(space, genotype):
    layers = 3 if space.name in SPACES else 1
    return space.network(genotype, num_classes=4, in_channels=3, init_channels=4, layers=layers)


@pytest.fixture(scope="module")
def sample():
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 8, 8, generator=rng)
    return Sample(images, torch.randint(0, 4, (4,), generator=rng), cross_entropy, images[:1])


@pytest.mark.parametrize("name", IMAGE_SPACES)
def test_every_image_space(name, sample):
    """All scores are numbers, and the network is as it was."""
    space = space_of(name)
    network = initialised(partial(build, space, random_genotype(space, 1)), 5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = scores(PROXIES, network, sample, 5)
    assert all(math.isfinite(value) for value in found.values()), found
    assert all(value > 0 for key, value in found.items() if key != "bn")
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["s4", "nasbench201"])
def test_scores_depend_on_the_seed_alone(name, sample):
    """The same in any order and after other draws; with another seed all but the counts differ."""
    space = space_of(name)
    make = partial(build, space, random_genotype(space, 1))
    found = scores(PROXIES, initialised(make, 5), sample, 5)
    torch.rand(3)
    assert scores(dict(reversed(PROXIES.items())), initialised(make, 5), sample, 5) == found
    other = scores(PROXIES, initialised(make, 6), sample, 6)
    assert {key for key in found if other[key] == found[key]} == {"parameters", "macs"}


@pytest.mark.parametrize("name", ["s4", "nasbench201", "nasbench1shot1_1"])
def test_gradients_by_finite_differences(name, sample):
    """In float64: of a few weights of each of three layers, with S4's noise the same in all passes."""
    space = space_of(name)
    network = initialised(partial(build, space, random_genotype(space, 1)), 5).double()
    doubled = Sample(sample.inputs.double(), sample.targets, cross_entropy, sample.unit.double())
    with draws.keyed(5, 0, "proxies"):
        pairs = gradients(network, doubled)
    expected = sum(float((w * g).abs().sum()) for w, g in pairs)
    assert scores({"snip": Snip()}, network, doubled, 5)["snip"] == pytest.approx(expected, rel=1e-12)
    assert scores({"n": GradientNorm()}, network, doubled, 5)["n"] == pytest.approx(
        sum(float((g**2).sum()) ** 0.5 for _, g in pairs), rel=1e-12
    )

    def loss():
        with draws.keyed(5, 0, "proxies"), torch.no_grad():
            return float(cross_entropy(network(doubled.inputs), doubled.targets))

    weights = weights_of(network)
    for place in (0, len(weights) // 2, len(weights) - 1):
        weight, gradient = weights[place].detach(), pairs[place][1]
        for index in (0, weight.numel() - 1):
            start = float(weight.view(-1)[index])
            values = []
            for step in (1e-6, -1e-6):
                weight.view(-1)[index] = start + step
                values.append(loss())
            weight.view(-1)[index] = start
            difference = (values[0] - values[1]) / 2e-6
            assert float(gradient.flatten()[index]) == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_counts_are_those_of_summaries(sample):
    space = space_of("nasbench201")
    network = initialised(partial(build, space, random_genotype(space, 1)), 0)
    assert Parameters()(network, sample) == sum(p.numel() for p in network.parameters())
    assert Macs()(network, sample) == count_macs(network, 3, 8)


def test_initial_weights_are_keyed_and_leave_the_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = initialised(partial(torch.nn.Linear, 3, 2), 0)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first.weight, initialised(partial(torch.nn.Linear, 3, 2), 0).weight)
    assert not torch.equal(first.weight, initialised(partial(torch.nn.Linear, 3, 2), 1).weight)


def test_a_screen_keeps_the_highest_scores(sample):
    space = space_of("nasbench201")
    genotypes = [random_genotype(space, seed) for seed in range(12)]
    counts = [Parameters()(build(space, genotype), sample) for genotype in genotypes]
    assert len(set(counts)) < 12  # ties: the earlier stays before the later
    order = sorted(range(12), key=lambda place: (-counts[place], place))
    kept = screen(space, genotypes, Parameters(), 5, partial(build, space), sample)
    assert kept == [genotypes[place] for place in order[:5]]
    assert screen(space, genotypes, Parameters(), 50, partial(build, space), sample) == [genotypes[p] for p in order]
    genotypes = genotypes[:5]
    by_flow = screen(space, genotypes, Synflow(), 3, partial(build, space), sample, seed=2)
    flows = [Synflow()(initialised(partial(build, space, g), 2), sample) for g in genotypes]
    assert [flows[genotypes.index(g)] for g in by_flow] == sorted(flows, reverse=True)[:3]


def test_a_score_that_is_no_number_is_the_lowest(sample):
    class Odd(Proxy):
        values = iter([1.0, math.nan, -math.inf, 2.0])

        def __call__(self, network, sample):
            return next(self.values)

    space = space_of("nasbench201")
    genotypes = [random_genotype(space, seed) for seed in range(4)]
    kept = screen(space, genotypes, Odd(), 2, partial(build, space), sample)
    assert kept == [genotypes[3], genotypes[0]]


@pytest.mark.parametrize(("space", "words"), [("recurrent", "reads text"), ("disparity", "reads stereo")])
def test_what_cannot_be_scored_is_refused(space, words, sample):
    built = space_of(space)
    for proxy in (Synflow(), Naswot()):
        with pytest.raises(ConfigError, match=rf"^proxy: {type(proxy).__name__} scores .* images, but .*{words}"):
            check_inputs(proxy, built)
        with pytest.raises(ConfigError, match=words):
            screen(built, [], proxy, 1, partial(build, built), sample)
    for proxy in (GradientNorm(), Snip(), Parameters(), Macs()):
        check_inputs(proxy, built)


def test_a_screen_that_keeps_nothing_is_refused(sample):
    space = space_of("nasbench201")
    with pytest.raises(ConfigError, match=r"^proxy: keep=0: .*use keep=1 or more$"):
        screen(space, [], Snip(), 0, partial(build, space), sample)
