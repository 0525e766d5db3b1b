"""The screen before a pool: a zero-cost proxy scores suggestions, the best become candidates (`candidates.screen`).

Source: Wang et al., RANK-NOSH (ICCV 2021), which puts zero-cost proxies below the first level of its pyramid. How many
suggestions are scored for each one that is kept is ours.
"""

import logging
from collections.abc import Sequence
from functools import cached_property, partial

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.proxies import screen
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.samples import BATCH_SIZE, check_scored, network_at_start, sample_of
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


class Screen:
    """Chooses among suggestions by the score of the network that the run's evaluation would train, untrained.

    Initial weights and batch follow from the seed of the run, the same for all suggestions.

    Args:
        bench: The parts of the run, whose section has a screen.
    """

    def __init__(self, bench: Workbench) -> None:
        section = bench.config.candidates.screen
        assert section is not None
        self.bench = bench
        self.proxy: Proxy = bench.build("candidates.screen", section)
        self.factor = bench.config.candidates.screened

    def check(self) -> None:
        """Refuse what cannot be scored, before anything is written.

        Raises:
            ConfigError: The proxy does not suit the space or the data, or the evaluation has no network.
        """
        check_scored(self.proxy, self.bench)
        seed = self.bench.config.seed
        network_at_start(random_genotype(self.bench.space, seed), self.bench, seed)

    def kept(self, suggested: Sequence[Genotype], number: int) -> list[Genotype]:
        """Return the suggestions with the highest scores, the highest first; of equal ones the earlier."""
        seed = self.bench.config.seed
        build = partial(self.bench.evaluator.bare_network, bench=self.bench)
        found = screen(self.bench.space, suggested, self.proxy, number, build, self._sample, seed)
        log.info("screen: %s keeps %d of %d suggestions", type(self.proxy).__name__, len(found), len(suggested))
        return found

    @cached_property
    def _sample(self) -> Sample:
        device = self.bench.probe.strategy.root_device
        return sample_of(self.bench, self.proxy.reads_batch, device, BATCH_SIZE, self.bench.config.seed)


def screen_of(bench: Workbench) -> Screen | None:
    """Return the screen of a run; None where all that is suggested is judged."""
    return None if bench.config.candidates.screen is None else Screen(bench)
