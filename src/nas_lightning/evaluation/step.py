"""The training step of a recipe in pure torch, with its memory format and compilation."""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_

from nas_lightning.capture import Graphed, Policy
from nas_lightning.core.batches import Inputs
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Objective
from nas_lightning.evaluation import mixing
from nas_lightning.evaluation.optimizers import FAST_DEVICES
from nas_lightning.evaluation.recipe import BaseRecipe
from nas_lightning.spaces.operations import Pointwise


class TrainingStep:
    """Computes training steps: loss, gradients, clipping, SGD.

    The caller opens `draws.keyed` around a step if the network draws random numbers by name (drop-path, noise).

    Args:
        network: Maps images [B, C, H, W] to logits [B, classes], or to (logits, auxiliary logits) in train mode.
        objective: The loss.
        recipe: Rates, regularisation, memory format, compilation and graphs.

    Attributes:
        policy: Whether passes are captured as CUDA graphs, and why not.
    """

    def __init__(self, network: nn.Module, objective: Objective, recipe: BaseRecipe) -> None:
        self.network = network
        self.objective = objective
        self.recipe = recipe
        self.channels_last = False
        self.policy = Policy(recipe.graph, "evaluation.graph")
        self._passes = _Passes(network)
        self._graphed = Graphed(self._compute, self._passes, self.policy)

    def prepare(self, device: torch.device | str) -> None:
        """Set the memory format for a device and compile if the recipe does, in place, before `optimizer`.

        The keys of the network's state_dict are unchanged.

        Raises:
            ConfigError: channels_last is requested, and the network would get wrong gradients on this device.
        """
        kind, wanted = torch.device(device).type, self.recipe.channels_last
        unsafe = kind == "cpu" and _strides_over_pixels(self.network)
        if wanted and unsafe:
            raise ConfigError(
                "evaluation.channels_last=true: the network has a strided 1×1 convolution, of which torch computes"
                " wrong gradients in channels_last on the CPU; use evaluation.channels_last=null"
            )
        self.channels_last = kind in FAST_DEVICES and not unsafe if wanted is None else wanted
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if self.recipe.compile:
            self.network.compile(dynamic=False)

    def optimizer(self) -> torch.optim.Optimizer:
        """Build the recipe's optimizer on all weights."""
        return self.recipe.build_optimizer(list(self.network.parameters()))

    def outputs(self, images: Inputs) -> Any:
        """Return the network's outputs for images [B, C, H, W] or other inputs of `core.batches`.

        Only whole batches in train mode are compiled: every other shape would need a compilation of its own. Graphs
        hold whole batches, too, and those of evaluation.
        """
        if not isinstance(images, Tensor):
            return self._passes(images, True)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        whole = self.network.training and len(images) == self.recipe.batch_size
        called = whole or not self.recipe.compile
        if self.policy.reason is None and (whole or not self.network.training):
            # Without drop-path the network draws no masks at all, which is another graph.
            drops = self.network.training and float(getattr(self.network, "drop_probability", 0.0)) > 0
            return self._graphed({"images": images}, options=(called, drops))
        return self._passes(images, called)

    def _compute(self, weights: Any, inputs: Any, options: Any) -> Tensor | tuple[Tensor, ...]:
        return functional_call(self._passes, dict(weights), (inputs["images"], options[0]))

    def loss(self, images: Inputs, targets: Tensor) -> tuple[Tensor, Any]:
        """Return the loss of the main head plus the weighted one of the auxiliary head, and the main outputs.

        Where the recipe mixes images, the outputs are those of the mixtures.
        """
        if not self.recipe.mixes or not isinstance(images, Tensor):
            return self._loss(images, targets, 1.0)
        mixed = mixing.mix(images, targets, mixing.draw(self.recipe.mixup, self.recipe.cutmix))
        return self._loss(mixed.images, targets, mixed.share, mixed.partners)

    def _loss(
        self, images: Inputs, targets: Tensor, share: float, partners: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        outputs = self.outputs(images)
        logits, auxiliary = outputs if type(outputs) is tuple else (outputs, None)  # outputs may be a named tuple
        loss = self._total(logits, auxiliary, targets)
        if partners is not None:
            loss = share * loss + (1 - share) * self._total(logits, auxiliary, partners)
        return loss, logits

    def _total(self, logits: Any, auxiliary: Any, targets: Tensor) -> Tensor:
        """Return the loss of both heads for one set of targets."""
        loss = self.objective.training_loss(logits, targets, self.recipe.label_smoothing)
        if auxiliary is not None:
            loss = loss + self.recipe.auxiliary * self.objective.loss(auxiliary, targets, self.recipe.label_smoothing)
        return loss

    def clip(self) -> None:
        """Clip the global L2 norm of the gradient to the recipe's."""
        if self.recipe.clip is not None:
            clip_grad_norm_(self.network.parameters(), self.recipe.clip)

    def __call__(self, optimizer: torch.optim.Optimizer, images: Inputs, targets: Tensor) -> Tensor:
        """Carry out one step; return the detached loss."""
        optimizer.zero_grad()
        loss, _ = self.loss(images, targets)
        loss.backward()
        self.clip()
        optimizer.step()
        return loss.detach()


class _Passes(nn.Module):
    """A network with a choice between its possibly compiled call and its plain forward pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Inputs, called: bool) -> Any:
        """Compute the network's outputs."""
        return self.network(images) if called else self.network.forward(images)


@torch.no_grad()
def lay_out_like_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give restored momentum the memory format of its weight.

    The fused step on the CPU reads weight and momentum in memory order: if their formats differ, it silently pairs
    the wrong elements.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _strides_over_pixels(network: nn.Module) -> bool:
    """Return True if a convolution's backward pass writes out of bounds in channels_last on the CPU.

    These are the strided 1×1 ones; `Pointwise` slices the image first, so it is safe.
    """
    return any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1)
        for m in network.modules()
        if not isinstance(m, Pointwise)
    )


def check_compiler(device: torch.device | str) -> None:
    """Compile a small function as a test.

    Raises:
        ConfigError: `torch.compile` does not work on this machine.
    """
    now = time.time()  # a constant that no compilation cache can hold
    try:
        torch.compile(lambda x: x.sin() + now, dynamic=False)(torch.ones(2, device=device))
    except Exception as error:  # its type depends on the cause: no C++ compiler, no Triton, an unsupported system
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"evaluation.compile=true: torch.compile does not work on this machine ({reason}); use"
            " evaluation.compile=false"
        ) from error
