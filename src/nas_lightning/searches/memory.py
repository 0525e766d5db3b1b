"""Predict the most memory that a search holds, from sizes alone: its steps run on `meta`."""

import json
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core import draws
from nas_lightning.core.batches import Batch, first_of
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.errors import in_one_line
from nas_lightning.core.functional import evaluating, frozen_batch_stats, meta_as_cpu, plain_autograd
from nas_lightning.core.memory import FIXED, GIB, SHARE, Demand, LiveBytes
from nas_lightning.core.terminal import track_progress
from nas_lightning.data import ImageData
from nas_lightning.searches.build import bench_of, build_module, stages_of, stand_in
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.optimizers import build_optimizers, inner_step_of
from nas_lightning.searches.stages import Stage
from nas_lightning.training.memory import bound, free_for, in_words, refuse_excess
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

MAPS = 400
"""Images of its first cells' size and channels, for each cell and image, that no step of a built-in space exceeds."""
DOUBLE_BACKWARD = 1.3
"""Measured peak of a curvature measurement by the counted one: operators and the allocator take more in a double
backward pass. On the CPU 1.29 (space `darts`, 3 cells), 1.39 and 1.32 (`nasbench201`, 8 and 20 images); not measured on
a GPU."""
STEP, CURVATURE = "search step", "curvature"
"""Kinds of work."""


def check_memory(benches: Sequence[Workbench]) -> None:
    """Predict the peaks of all stages of searches, name them on screen, and refuse what does not fit what is free.

    A search so small that it fits in any case is not predicted, nor one that does not run on `meta`. Searches and
    stages of the same sizes are predicted once.

    Args:
        benches: The searches: one, or all members of several.

    Raises:
        ConfigError: One does not fit.
    """
    large: dict[Hashable, tuple[Workbench, Stage, int]] = {}
    for bench in benches:
        free = free_for(bench)
        if free is None:
            return
        for stage in stages_of(bench):
            parts = bench_of(bench, stage)
            if not isinstance(parts.data, ImageData):  # no other search has been measured
                continue
            if bound(parts.config.search, parts.space, parts.images.image_size, MAPS) >= SHARE * free:
                large.setdefault(_sizes(parts, stage), (parts, stage, free))
    stages = list(large.values())
    for parts, stage, free in track_progress(stages, "memory: stages to predict") if stages else ():
        _check_stage(parts, stage, free)


def _check_stage(bench: Workbench, stage: Stage, free: int) -> None:
    demands, settings = demands_of_stage(bench, stage), bench.config.search
    if demands:
        log.warning(
            "memory: %s, predicted for %s; %.1f GiB are free",
            *(", ".join(map(str, demands)), in_words(settings, bench.images.image_size, bench.space), free / GIB),
        )
    for demand in demands:
        if not demand.fits(free):
            refuse_excess(bench, _with_alternative(demand, bench, stage, free), free)


def demands_of_stage(bench: Workbench, stage: Stage) -> list[Demand]:
    """Predict the peaks of a stage on the device of the `trainer` section; empty where that is not possible."""
    try:
        peaks, weights = _predicted(bench, stage, bench.probe.strategy.root_device)
    except (NotImplementedError, RuntimeError) as error:  # a part reads numbers, of which `meta` has none
        log.info("memory of the search is not predicted: %s", in_one_line(error))
        return []
    size = bench.config.search.batch_size
    demands = []
    for kind, peak in peaks.items():
        key, images = "search.batch_size", size
        if kind == CURVATURE:
            named = bench.named("callbacks").items()
            name, part = next((name, part) for name, part in named if isinstance(part, CurvatureTracking))
            key, images = f"callbacks.{name}.images", min(part.images or size, size)
        demands.append(Demand(kind, peak, key, images, fixed=FIXED * weights))
    return demands


def _with_alternative(demand: Demand, bench: Workbench, stage: Stage, free: int) -> Demand:
    """Name `search.recompute=true` in the refusal of a step, where that would fit."""
    if demand.kind == CURVATURE or bench.config.search.recompute:
        return demand
    less = peaks_of_stage(bench, stage, bench.probe.strategy.root_device, recomputes=True)[demand.kind]
    words = f"search.recompute=true, which needs {less / GIB:.1f} GiB and 1.6 times the time"
    return replace(demand, instead=words) if replace(demand, peak=less).fits(free) else demand


def _sizes(bench: Workbench, stage: Stage) -> Hashable:
    """Return what the peaks of a stage depend on."""
    config, settings = bench.config, bench.config.search
    sections = (config.space, config.relaxation, config.hypergradient, config.perturbation)
    # What was dropped before a later fresh stage is built neither by it nor by those that continue it.
    shrinking = [control for control, _ in groupby(one.config.control for one in stage.so_far)] if stage.root else []
    parts = [*sections, shrinking, *config.regularizer.values(), *config.callbacks.values()]
    numbers = (settings.batch_size, settings.init_channels, settings.layers, settings.stem, settings.recompute)
    return (stage.phase, bench.data.sizes(), numbers, json.dumps(parts, sort_keys=True, default=str))


def peaks_of_stage(bench: Workbench, stage: Stage, device: torch.device, recomputes: bool = False) -> dict[str, int]:
    """Return the peak in bytes of each kind of work of a stage: `search step` and, where it is measured, `curvature`.

    Weights, gradients, momenta and one batch of each stream are part of a peak; the interpreter and its libraries and
    what operators allocate inside themselves are not.

    Args:
        bench: The workbench of the stage.
        stage: The stage.
        device: Device that it will run on, whose way to compute is taken.
        recomputes: Whether cells are computed again in backward passes, whatever the configuration says.
    """
    return _predicted(bench, stage, device, recomputes)[0]


def _predicted(
    bench: Workbench, stage: Stage, device: torch.device, recomputes: bool = False
) -> tuple[dict[str, int], int]:
    """Return the peaks, and the bytes of the weights."""
    module = stand_in(bench, stage) if stage.root else build_module(bench, stage)
    if recomputes:
        module.supernet.recomputes = True  # type: ignore[assignment]
    size = bench.config.search.batch_size
    callbacks = bench.build_named("callbacks").values()
    tracking = [part for part in callbacks if isinstance(part, CurvatureTracking)]
    with meta_as_cpu(device.type == "cpu"):
        peaks = _peaks(module, lambda: bench.data.example(size, "meta"), tracking if stage.phase == "search" else [])
    return peaks, sum(weight.nbytes for weight in module.supernet.parameters())


def _peaks(module: SearchModule, batch: Callable[[], Batch], tracking: Iterable[CurvatureTracking]) -> dict[str, int]:
    _move_to_meta(module)
    learns = module.hypergradient.learns
    sgd, adam = build_optimizers(module.supernet, module.arch, module.settings, module.decisions)
    joint = learns and module.settings.arch.images == "train"
    live = LiveBytes()
    live.hold([*module.supernet.parameters(), *module.supernet.buffers()])
    found = {}
    with live:
        train, arch = batch(), batch()
        if module.settings.weights.optimizer == "sgd" and module.settings.weights.momentum:  # as after a first step
            for weight in module.supernet.parameters():
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        if learns and not joint:
            _arch_step(module, train, arch, sgd, adam)
        _weight_step(module, train, sgd, joint)
        found[STEP] = live.peak
        for part in tracking if learns else ():
            live.peak = 0
            _curvature(module, first_of(arch, part.images), part)
            found[CURVATURE] = max(found.get(CURVATURE, 0), int(DOUBLE_BACKWARD * live.peak))
    return found


def _arch_step(module: SearchModule, train: Batch, arch: Batch, sgd: Any, adam: Any) -> None:
    gradients, _ = module.hypergradient(module.problem_of(train, arch, inner_step_of(sgd)))
    for name, a in module.arch.items():
        a.grad = gradients[name]
    adam.step()
    adam.zero_grad()


def _weight_step(module: SearchModule, batch: Batch, sgd: Any, joint: bool = False) -> None:
    module.objective.training_loss(module.weight_outputs(batch, joint)[0], batch[1]).backward()
    if module.settings.weights.clip is not None:
        nn.utils.clip_grad_norm_(module.supernet.parameters(), module.settings.weights.clip)
    sgd.step()
    sgd.zero_grad()


def _curvature(module: SearchModule, batch: Batch, part: CurvatureTracking) -> None:
    """Compute gradient and one product; the products after it hold no more."""
    weights = {name: weight.detach() for name, weight in module.supernet.named_parameters()}

    def loss(arch: Tensors) -> Tensor:
        mixing, active = module.at_mean(arch)
        with draws.keyed(module.seed, 0, "curvature", 0):
            outputs = functional_call(module.supernet, weights, (batch[0], mixing, active))
        return module.objective.loss(outputs, batch[1])

    leaves = [a.detach().clone().requires_grad_() for a in module.arch.values()]
    # As `hessian_products` and `HessianProducts`, which read numbers.
    with _mode(module.supernet, part.mode), plain_autograd(), frozen_batch_stats(module.supernet):
        value = loss(dict(zip(module.arch, leaves, strict=True)))
        found = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
        curved = [g for g in found if g is not None and g.requires_grad]
        seeds = [torch.ones_like(g) for g in curved]
        torch.autograd.grad(curved, leaves, seeds, retain_graph=True, allow_unused=True)


@contextmanager
def _mode(supernet: nn.Module, mode: str) -> Iterator[None]:
    if mode == "eval":
        with evaluating(supernet):
            yield
    else:
        yield


def _move_to_meta(module: SearchModule) -> None:
    """Move weights and architecture to `meta`; mixing weights are computed on the CPU, where numbers decide paths."""
    numbers = {name: a.detach().cpu() for name, a in module.arch.items()}
    relax, mean = module.mixing, module.at_mean

    def linked(found: tuple[Mixing, Active | None], arch: Tensors) -> tuple[Mixing, Active | None]:
        link = torch.stack([a.sum() for a in arch.values()]).sum()
        return {name: value.detach().to("meta") + link for name, value in found[0].items()}, found[1]

    module.supernet.to("meta")
    module.arch = {name: a.to("meta").requires_grad_() for name, a in numbers.items()}
    module.mixing = lambda arch, pass_name: linked(relax(numbers, pass_name), arch)  # type: ignore[method-assign]
    module.at_mean = lambda arch=None: linked(mean(numbers), arch or module.arch)  # type: ignore[method-assign]
