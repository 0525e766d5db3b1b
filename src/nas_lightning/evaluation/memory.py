"""Predict the most memory that the training of a discrete network holds, from sizes alone: a step runs on `meta`."""

import copy
import logging
from collections.abc import Callable

import torch
from torch import nn

from nas_lightning.core import draws
from nas_lightning.core.errors import in_one_line
from nas_lightning.core.functional import meta_as_cpu
from nas_lightning.core.memory import FIXED, GIB, SHARE, Demand, LiveBytes
from nas_lightning.core.objective import Objective
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import TrainingStep
from nas_lightning.training.memory import bound, free_for, in_words, refuse_excess
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

MAPS = 80
"""Images of its first cells' size and channels, for each cell and image, that no step of a built-in space exceeds."""

OPERATORS = 1.25
"""Measured peak of a training step by the counted one: operators and the allocator take more. On the CPU 1.18 to 1.34
(`darts`, `s3` and `nasbench201`, two genotypes each, 8 to 96 images, 8 to 20 cells); not measured on a GPU."""


def check_memory(recipe: Recipe, build: Callable[[], nn.Module], bench: Workbench, found: bool = True) -> None:
    """Predict the peak of a training, name it on screen, and refuse it if it does not fit what is free.

    A training so small that it fits in any case is not predicted.

    Args:
        recipe: Its recipe.
        build: Returns the network.
        bench: Images, objective and device.
        found: Whether it is the network to train; otherwise it has a random genotype.

    Raises:
        ConfigError: It does not fit.
    """
    free, side = free_for(bench), bench.images.image_size
    if free is None:
        return
    if bound(recipe, bench.space, side, MAPS) < SHARE * free:
        return
    demand = demand_of_training(recipe, build(), bench, found)
    if demand is None:
        return
    log.warning(
        "memory: %s, predicted for %s; %.1f GiB are free",
        *(demand, in_words(recipe, side, bench.space), free / GIB),
    )
    refuse_excess(bench, demand, free)


def demand_of_training(recipe: Recipe, network: nn.Module, bench: Workbench, found: bool = True) -> Demand | None:
    """Predict the peak of a training on the device of the `trainer` section; None where that is not possible.

    Args:
        recipe: Its recipe.
        network: The network.
        bench: Images, objective and device.
        found: Whether it is the network to train; otherwise it has a random genotype.
    """
    data, device = bench.images, bench.probe.strategy.root_device
    shape = (data.in_channels, data.image_size, data.image_size)
    try:
        peak = peak_of_step(recipe, network, bench.objective, shape, device)
    except (NotImplementedError, RuntimeError) as error:  # the network reads numbers, of which `meta` has none
        log.info("memory of the retraining is not predicted: %s", in_one_line(error))
        return None
    fixed = FIXED * sum(weight.nbytes for weight in network.parameters())
    what = "" if found else " of a random genotype"
    return Demand("training step", peak, "evaluation.batch_size", recipe.batch_size, fixed, what=what)


def peak_of_step(
    recipe: Recipe, network: nn.Module, objective: Objective, shape: tuple[int, int, int], device: torch.device
) -> int:
    """Return the peak in bytes of a training step: weights, gradients, their averages, one batch, what backward keeps.

    Args:
        recipe: Batch size and losses.
        network: The network; it stays as it is.
        objective: The loss.
        shape: Channels and sides of an image.
        device: Device that it will run on, whose way to compute is taken.
    """
    image = copy.deepcopy(network).to("meta").train()
    step = TrainingStep(image, objective, recipe)
    optimizer = step.optimizer()
    live = LiveBytes()
    live.hold([*image.parameters(), *image.buffers()])
    with meta_as_cpu(device.type == "cpu"), draws.keyed(0, 0, "memory"), live:
        for weight in image.parameters():  # a first step makes what the optimizer keeps
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        optimizer.zero_grad()
        average = [] if recipe.ema_decay is None else [torch.empty_like(weight) for weight in image.parameters()]
        images = torch.empty(recipe.batch_size, *shape, device="meta")
        step(optimizer, images, torch.empty(recipe.batch_size, dtype=torch.long, device="meta"))
        del average
    return int(OPERATORS * live.peak)
