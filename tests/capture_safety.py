"""Whether a pass can be captured on a GPU, found without one: run on the meta device through the stand-in.

Meta tensors take the branches of a GPU, because every check of a device in the package asks for the CPU. The stand-in
refuses what a graph cannot hold (`nas_lightning.capture.trace`), and a replay that is not the capture.
"""

import copy
from contextlib import contextmanager

import torch
from torch import Tensor

from nas_lightning.capture import Graphed, Policy, stand_in
from nas_lightning.core import draws


@contextmanager
def meta_draws():
    """There is no generator on the meta device."""
    before = draws.generator
    draws.generator = lambda *key, device="cpu", per_sample=False: (
        None if torch.device(device).type == "meta" else before(*key, device=device, per_sample=per_sample)
    )
    try:
        yield
    finally:
        draws.generator = before


def on_meta(module):
    """A copy of a module without memory."""
    return copy.deepcopy(module).to("meta")


def refused_on_meta(function, module, inputs, options=None, weights=None, passes=2):
    """Capture a pass with its gradients and replay it; the reason why that is refused, or None.

    Args:
        function: As for `Graphed`; it computes with `module`, which is on the meta device.
        module: The module whose weights and buffers it reads.
        inputs: Tensors by name, on any device.
        options: As for `Graphed`.
        weights: Other weights, on the meta device.
        passes: Number of passes, each another step of `draws.keyed`.
    """
    policy = Policy("auto", "test")
    graphed = Graphed(function, module, policy)
    given = {name: t.detach().to("meta").requires_grad_(t.requires_grad) for name, t in inputs.items()}
    with stand_in(), meta_draws():
        for step in range(passes):
            with draws.keyed(0, step, "weights"):
                outputs = graphed(given, weights, options)
            leading = outputs if isinstance(outputs, Tensor) else outputs[0]
            if leading.requires_grad:
                leading.sum().backward()
    return policy.reason
