"""Predict the most memory that a search holds, from sizes alone: its steps run on `meta`."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core import draws
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.errors import ConfigError, in_one_line
from nas_lightning.core.functional import evaluating, frozen_batch_stats, meta_as_cpu, plain_autograd
from nas_lightning.core.memory import GIB, LiveBytes, free_bytes
from nas_lightning.searches.build import bench_of, build_module, stages_of
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.optimizers import build_optimizers, inner_step_of
from nas_lightning.searches.stages import Stage
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
MAPS = 400
"""Images of its first cells' size and channels, for each cell and image, that no step of a built-in space exceeds."""
DOUBLE_BACKWARD = 1.3
"""Measured peak of a curvature measurement by the counted one: operators and the allocator take more in a double
backward pass. On the CPU 1.29 (space `darts`, 3 cells), 1.39 and 1.32 (`nasbench201`, 8 and 20 images); not measured on
a GPU."""
SHARE = 0.9
"""Share of the free memory that a search may take by its prediction."""


def check_memory(bench: Workbench) -> None:
    """Predict the peaks of all stages, name them on screen, and refuse a search that does not fit what is free.

    A search so small that it fits in any case is not predicted, nor one that does not run on `meta`.

    Raises:
        ConfigError: It does not fit.
    """
    device = bench.probe.strategy.root_device
    free = free_bytes(device)
    if free is None:
        return
    for stage in stages_of(bench):
        parts = bench_of(bench, stage)
        settings, side = parts.config.search, parts.data.image_size
        pixels = settings.batch_size * side**2 * (1 if settings.stem == "cifar" else 1 / 64)
        if 4 * MAPS * pixels * settings.init_channels * settings.layers < SHARE * free:
            continue
        try:
            peaks = peaks_of_stage(parts, stage, device)
        except (NotImplementedError, RuntimeError) as error:  # a part reads numbers, of which `meta` has none
            log.info("memory of the search is not predicted: %s", in_one_line(error))
            continue
        shown = ", ".join(f"{kind} {peak / GIB:.1f} GiB" for kind, peak in peaks.items())
        log.warning(
            "memory: %s, predicted for %d px, batch %d, %d channels, space %s; %.1f GiB are free",
            *(shown, side, settings.batch_size, settings.init_channels, parts.space.name, free / GIB),
        )
        for kind, peak in peaks.items():
            if peak > SHARE * free:
                raise ConfigError(_refusal(parts, kind, peak, free))


def _refusal(bench: Workbench, kind: str, peak: int, free: int) -> str:
    size = bench.config.search.batch_size
    key, images = "search.batch_size", size
    if kind == "curvature":
        name, part = next((n, p) for n, p in bench.named("callbacks").items() if isinstance(p, CurvatureTracking))
        key, images = f"callbacks.{name}.images", min(part.images or size, size)
    fits = int(images * SHARE * free / peak)  # all but the weights grows with the images
    override = f"{key}={fits}" if fits >= 2 else "a smaller data.image_size or search.init_channels"
    needs = f"a {kind} needs about {peak / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free"
    return f"{key}={images}: {needs}; use {override}"


def peaks_of_stage(bench: Workbench, stage: Stage, device: torch.device) -> dict[str, int]:
    """Return the peak in bytes of each kind of work of a stage: `search step` and, where it is measured, `curvature`.

    Weights, gradients, momenta and one batch of each stream are part of a peak; the interpreter and its libraries and
    what operators allocate inside themselves are not.

    Args:
        bench: The workbench of the stage.
        stage: The stage.
        device: Device that it will run on, whose way to compute is taken.
    """
    module = build_module(bench, stage)
    size, data = bench.config.search.batch_size, bench.data
    shape = (data.in_channels, data.image_size, data.image_size)
    callbacks = bench.build_named("callbacks").values()
    tracking = [part for part in callbacks if isinstance(part, CurvatureTracking)]
    with meta_as_cpu(device.type == "cpu"):
        return _peaks(module, size, shape, tracking if stage.phase == "search" else [])


def _peaks(
    module: SearchModule, size: int, shape: Sequence[int], tracking: Iterable[CurvatureTracking]
) -> dict[str, int]:
    _move_to_meta(module)
    learns = module.hypergradient.learns
    sgd, adam = build_optimizers(module.supernet, module.arch, module.settings)
    live = LiveBytes()
    live.hold([*module.supernet.parameters(), *module.supernet.buffers()])
    found = {}
    with live:
        train, arch = _batch(size, shape), _batch(size, shape)
        if module.settings.weights.momentum:  # as after a first step
            for weight in module.supernet.parameters():
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        if learns:
            _arch_step(module, train, arch, sgd, adam)
        _weight_step(module, train, sgd)
        found["search step"] = live.peak
        for part in tracking if learns else ():
            live.peak = 0
            _curvature(module, (arch[0][: part.images], arch[1][: part.images]), part)
            found["curvature"] = max(found.get("curvature", 0), int(DOUBLE_BACKWARD * live.peak))
    return found


def _arch_step(module: SearchModule, train: Batch, arch: Batch, sgd: Any, adam: Any) -> None:
    gradients, _ = module.hypergradient(module.problem_of(train, arch, inner_step_of(sgd)))
    for name, a in module.arch.items():
        a.grad = gradients[name]
    adam.step()
    adam.zero_grad()


def _weight_step(module: SearchModule, batch: Batch, sgd: Any) -> None:
    module.objective.loss(module.weight_outputs(batch), batch[1]).backward()
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


def _batch(size: int, shape: Sequence[int]) -> Batch:
    return torch.empty(size, *shape, device="meta"), torch.empty(size, dtype=torch.long, device="meta")


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
