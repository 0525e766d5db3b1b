"""Score networks with keyed initial weights, and keep the most promising of many genotypes."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.core.space import SearchSpace


def check_inputs(proxy: Proxy, space: SearchSpace) -> None:
    """Refuse a space whose networks a proxy cannot score.

    Raises:
        ConfigError: They read another kind of data than the proxy is defined for.
    """
    if space.inputs not in proxy.inputs:
        raise ConfigError(
            f"{proxy.key}: {type(proxy).__name__} scores networks that read {' or '.join(proxy.inputs)}, but"
            f" space={space.name} reads {space.inputs}; remove it or use another, such as snip"
        )


def initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network on the CPU with weights drawn by a key; torch's own generator is left as it was.

    Args:
        build: Builds the network; all that it draws comes from torch's generator of the CPU.
        seed: Equal seeds give equal weights, whatever was drawn before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.hashed_seed(seed, "proxies"))
        return build()


def scores(proxies: Mapping[str, Proxy], network: nn.Module, sample: Sample, seed: int) -> dict[str, float]:
    """Return the score of a network by each proxy, by name; each depends on the others in nothing.

    Args:
        proxies: By name.
        network: As it is initialised.
        sample: On the device of the network.
        seed: Of what the network itself draws: noise, dropout.
    """
    found = {}
    for name, proxy in proxies.items():
        with draws.keyed(seed, 0, "proxies"):
            found[name] = float(proxy(network, sample))
    return found


def screen(
    space: SearchSpace,
    genotypes: Sequence[Genotype],
    proxy: Proxy,
    keep: int,
    build: Callable[[Genotype], nn.Module],
    sample: Sample,
    seed: int = 0,
) -> list[Genotype]:
    """Return the genotypes with the highest scores, the highest first; of equal ones the earlier.

    Args:
        space: Their space.
        genotypes: Genotypes to choose from.
        proxy: What scores their networks; a score that is no number is the lowest.
        keep: How many are returned, all of them where there are fewer.
        build: Builds the network of one, without auxiliary head, on the CPU.
        sample: What networks are scored on; they are moved to its device.
        seed: Of the initial weights.

    Raises:
        ConfigError: The proxy cannot score networks of the space, or `keep` is less than 1.
    """
    check_inputs(proxy, space)
    if keep < 1:
        raise ConfigError(f"{proxy.key}: keep={keep}: a screen keeps one genotype at least; use keep=1 or more")
    found = []
    for genotype in genotypes:
        network = initialised(partial(build, genotype), seed).to(sample.targets.device)
        (value,) = scores({"proxy": proxy}, network, sample, seed).values()
        found.append(-math.inf if math.isnan(value) else value)
    places = sorted(range(len(found)), key=lambda place: -found[place])  # stable
    return [genotypes[place] for place in places[:keep]]
