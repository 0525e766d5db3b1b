"""The training step of a recipe, in pure torch: what is computed, and how it is made fast on a device."""

import time

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Objective
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.spaces.operations import Pointwise

FAST_DEVICES = ("cpu", "cuda")
"""Where channels_last and the fused optimizer are known to work and to be faster."""


class TrainingStep:
    """One step after the other: loss, gradients, clipping, SGD.

    Whoever draws random numbers by name (drop-path, noise) opens `draws.keyed` around a step.

    Args:
        network: It maps images [B, C, H, W] to logits [B, classes], or to (logits, auxiliary logits) in train mode.
        objective: The loss.
        recipe: Rates, regularisation, and how to compute.
    """

    def __init__(self, network: nn.Module, objective: Objective, recipe: Recipe) -> None:
        self.network = network
        self.objective = objective
        self.recipe = recipe
        self.channels_last = False

    def prepare(self, device: torch.device | str) -> None:
        """Lay the weights out for a device, and compile if asked for; in place, before the optimizer is made.

        Keys of the network's state_dict stay as they are.

        Raises:
            ConfigError: The network cannot be computed in channels_last here.
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

    def optimizer(self) -> torch.optim.SGD:
        """SGD on all weights, fused where their device has that."""
        recipe, weights = self.recipe, list(self.network.parameters())
        return torch.optim.SGD(
            weights,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=True if weights and all(w.device.type in FAST_DEVICES for w in weights) else None,
        )

    def outputs(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """What the network makes of [B, C, H, W].

        Compiled is only what is computed often, whole batches in train mode: every other size would be compiled anew.
        """
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        often = self.network.training and len(images) == self.recipe.batch_size
        return self.network(images) if often or not self.recipe.compile else self.network.forward(images)

    def loss(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(loss of the main head plus the weighted loss of the auxiliary head, logits [B, classes])."""
        outputs = self.outputs(images)
        logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        loss = self.objective.loss(logits, targets, self.recipe.label_smoothing)
        if auxiliary is not None:
            loss = loss + self.recipe.auxiliary * self.objective.loss(auxiliary, targets, self.recipe.label_smoothing)
        return loss, logits

    def clip(self) -> None:
        """Scale the gradient down to the recipe's norm."""
        if self.recipe.clip is not None:
            clip_grad_norm_(self.network.parameters(), self.recipe.clip)

    def __call__(self, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor) -> Tensor:
        """A whole step; returns the loss, detached."""
        optimizer.zero_grad()
        loss, _ = self.loss(images, targets)
        loss.backward()
        self.clip()
        optimizer.step()
        return loss.detach()


@torch.no_grad()
def lay_out_like_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give restored momentum the memory format of its weight.

    The fused step on the CPU reads weight and momentum in the order of memory: in two formats it would silently mix
    elements up.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _strides_over_pixels(network: nn.Module) -> bool:
    """Whether there is a convolution whose backward pass writes out of bounds in channels_last on the CPU.

    Those of our operations slice the image first.
    """
    return any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1)
        for m in network.modules()
        if not isinstance(m, Pointwise)
    )


def check_compiler(device: torch.device | str) -> None:
    """Compile something small.

    Raises:
        ConfigError: `torch.compile` does not work here.
    """
    now = time.time()  # a number that is in no cache: something is really compiled
    try:
        torch.compile(lambda x: x.sin() + now, dynamic=False)(torch.ones(2, device=device))
    except Exception as error:  # of any kind: no C++ compiler, no Triton, an operating system without support
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"evaluation.compile=true: torch.compile does not work on this machine ({reason}); use"
            " evaluation.compile=false"
        ) from error
