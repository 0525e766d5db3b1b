"""Predict the most memory that a search and a retraining hold, from sizes alone: their steps run on `meta`."""

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
from nas_lightning.core.functional import evaluating, frozen_batch_stats, meta_as_cpu, plain_autograd
from nas_lightning.core.memory import LiveBytes
from nas_lightning.searches.build import build_module
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.optimizers import build_optimizers, inner_step_of
from nas_lightning.searches.stages import Stage
from nas_lightning.training.workbench import Workbench

Batch = tuple[Tensor, Tensor]


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
        for _ in range(2):  # the second step has momenta
            live.peak = 0
            if learns:
                _arch_step(module, train, arch, sgd, adam)
            _weight_step(module, train, sgd)
        found["search step"] = live.peak
        for part in tracking if learns else ():
            live.peak = 0
            _curvature(module, (arch[0][: part.images], arch[1][: part.images]), part)
            found["curvature"] = max(found.get("curvature", 0), live.peak)
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
    module.mixing = lambda arch, name: linked(relax(numbers, name), arch)  # type: ignore[method-assign]
    module.at_mean = lambda arch=None: linked(mean(numbers), arch or module.arch)  # type: ignore[method-assign]
