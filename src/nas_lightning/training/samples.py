"""What zero-cost proxies score networks on in a run: a fixed batch of training data, and how the networks begin."""

from functools import partial

import torch
from torch import nn

from nas_lightning.core.batches import placed_inputs
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proxy import Proxy, Sample
from nas_lightning.data.modules import evaluation_module
from nas_lightning.proxies import check_inputs, initialised
from nas_lightning.training.workbench import Workbench

BATCH_SIZE = 64
"""Images, columns or pairs that networks are scored on."""


def check_scored(proxy: Proxy, bench: Workbench) -> None:
    """Refuse a proxy that cannot score the networks of a run's evaluation.

    Raises:
        ConfigError: They read another kind of data than the proxy is for, or do not take the data of the run.
    """
    check_inputs(proxy, bench.space)
    if not proxy.reads_batch:
        return
    try:
        bench.evaluator.check_batch(bench)
    except ConfigError as error:
        raise ConfigError(
            f"{proxy.key}: {type(proxy).__name__} reads a batch of images, but {error}, or a proxy that reads none,"
            " such as synflow"
        ) from error


def sample_of(bench: Workbench, reads_batch: bool, device: torch.device, batch_size: int, seed: int) -> Sample:
    """Return what the networks of a run's evaluation are scored on.

    Args:
        bench: The parts of the run.
        reads_batch: Whether a proxy reads the batch: else the unit stands in for it, and no data are read.
        device: Where networks are scored.
        batch_size: Images, columns or pairs of the training part, all of them where there are fewer.
        seed: Of the batch.
    """
    unit = placed_inputs(bench.evaluator.unit(bench), device)
    if not reads_batch:
        return Sample(unit, torch.zeros(1, dtype=torch.long, device=device), bench.objective.loss, unit)
    loading = {**bench.loaders.model_dump(exclude={"augment_val"}), "num_workers": 0}
    data = evaluation_module(bench.data, batch_size, seed, loading)
    data.setup("fit")
    inputs, targets = next(iter(data.train_dataloader()))
    return Sample(placed_inputs(inputs, device), targets.to(device), bench.objective.loss, unit)


def network_at_start(genotype: Genotype, bench: Workbench, seed: int) -> nn.Module:
    """Build the network of a run's evaluation on the CPU, with weights drawn by a key."""
    return initialised(partial(bench.evaluator.bare_network, genotype, bench), seed)
