"""Widen the operations of a supernet with partial channels (C/K₀ → C/K₁ channels each, K₁ < K₀).

Convolutions and normalisations grow by copies of randomly chosen channels, appended to the channels that they have.
A layer that reads a convolution's output within an operation grows by the same choice as the output:
    convolution          its input by what came before it in the operation, else by a choice of its own; its output by
                         another choice of its own
    depthwise            its only side by a choice of its own; it then has as many groups as channels
    normalisation        by what came before it, else (behind a pool) by a choice of its own
    factorised reduction each of its two convolutions by choices of its own; the normalisation by both, the copies of
                         each half behind that half
The function is not preserved: copies are not divided by how many of them there are, and where an operation's input is
copied, it sees further channels of its edge. Everything outside of the operations stays as it is.

Source: Chen et al., DrNAS (ICLR 2021), progressive architecture learning, and its released code. Where they differ: in
the released code all copies in the normalisation of a factorised reduction are appended to both halves together and
come from the first, so they do not match the channels of the convolutions; here they follow the two convolutions.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Size, Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.operations import FactorizedReduce

Indices = tuple[Tensor | None, ...]
"""For each dimension, of which old entry every new one is a copy; None leaves the dimension, as do missing ones."""
Plan = dict[str, Indices]
"""By the name of a parameter or buffer in the state_dict; tensors that are not named stay as they are."""

_KEY = "regularizer.partial_channels.divisor"


def plan_widening(old: nn.Module, new: nn.Module, generator: Generator) -> Plan:
    """Choose the channels to copy when the operations of a supernet become as wide as those of another.

    Args:
        old: A supernet, or a module that holds one.
        new: The same with a smaller divisor of the channels. Only shapes and names are read of the two.
        generator: The generator to draw from, on the CPU; equal generators make equal plans.

    Raises:
        ConfigError: The two differ in more than the widths of their operations, `new` is narrower, or an operation is
            not made of what can be widened.
    """
    before, after = old.state_dict(), new.state_dict()
    differing = min(before.keys() ^ after.keys(), default=None)
    if differing is not None:
        raise ConfigError(
            f"search.stages: a stage has {differing}, another has not; between them only {_KEY} may change"
        )
    growth = _Growth(generator)
    for name, module in new.named_modules():
        if isinstance(module, MixedOperation):
            narrow = old.get_submodule(f"{name}.operations" if name else "operations")
            for index, operation in module.operations.named_children():
                path = f"{name}.operations.{index}".removeprefix(".")
                growth.grow(narrow.get_submodule(index), operation, path)
    for name, tensor in before.items():
        found = grown_shape(tensor.shape, growth.plan.get(name, ()))
        if found != after[name].shape:
            raise ConfigError(
                f"search.stages: {name} has shape {list(tensor.shape)} in a stage and {list(after[name].shape)} in the"
                f" next; of what shapes depend on, only {_KEY} may change"
            )
    return growth.plan


def widen(state: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """Grow named tensors.

    Args:
        state: A state_dict, or the momentum buffers of an optimizer by the names of their parameters.
        plan: The channels to copy.

    Returns:
        New tensors by the same names, detached.
    """
    return {name: grow(tensor.detach().clone(), plan.get(name, ())) for name, tensor in state.items()}


def grow(tensor: Tensor, indices: Indices) -> Tensor:
    """Select the given entries of each dimension of a tensor.

    >>> grow(torch.tensor([[1, 2], [3, 4]]), (None, torch.tensor([0, 1, 1])))
    tensor([[1, 2, 2],
            [3, 4, 4]])
    """
    for dimension, index in enumerate(indices):
        if index is not None:
            tensor = tensor.index_select(dimension, index.to(tensor.device))
    return tensor


def grown_shape(shape: Size, indices: Indices) -> Size:
    """Return the shape of the result of `grow`."""
    chosen = (*indices, *[None] * (len(shape) - len(indices)))
    return Size(size if index is None else len(index) for size, index in zip(shape, chosen, strict=True))


class _Growth:
    """Walks through an operation and its wider version side by side and records the plan."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.plan: Plan = {}

    def grow(self, old: nn.Module, new: nn.Module, path: str, before: Tensor | None = None) -> Tensor | None:
        """Plan a module's growth.

        Args:
            old: The module as it is.
            new: The module as it will be.
            path: Its name.
            before: The choice that its input grew by, if that is the output of a module within the same operation.

        Returns:
            The choice that its output grew by; None if that is the input of the operation, or did not grow.
        """
        if isinstance(new, nn.Sequential):
            for name, child in new.named_children():
                before = self.grow(old.get_submodule(name), child, f"{path}.{name}", before)
            return before
        if isinstance(old, nn.Conv2d) and isinstance(new, nn.Conv2d) and new.groups in (1, new.in_channels):
            return self._convolution(old, new, path, before)
        if isinstance(old, nn.BatchNorm2d) and isinstance(new, nn.BatchNorm2d):
            return self._normalisation(old, new, path, before)
        if isinstance(old, FactorizedReduce) and isinstance(new, FactorizedReduce):
            return self._factorised(old, new, path, before)
        if _shapes(old) != _shapes(new):
            raise ConfigError(
                f"search.stages: {path} ({type(new).__name__}) cannot be widened, it is no convolution, normalisation"
                f" or sequence of such; keep {_KEY} the same in all stages, or leave the operation out of the space"
            )
        return before

    def _convolution(self, old: nn.Conv2d, new: nn.Conv2d, path: str, before: Tensor | None) -> Tensor | None:
        depthwise = new.groups > 1
        if not depthwise and before is None:
            before = self._choose(old.in_channels, new.in_channels, path)
        after = self._choose(old.out_channels, new.out_channels, path)
        self._note(old, path, weight=(after, None if depthwise else before), bias=(after,))
        return after

    def _normalisation(
        self, old: nn.BatchNorm2d, new: nn.BatchNorm2d, path: str, before: Tensor | None
    ) -> Tensor | None:
        if before is None:
            before = self._choose(old.num_features, new.num_features, path)
        self._note(old, path, weight=(before,), bias=(before,), running_mean=(before,), running_var=(before,))
        return before

    def _factorised(
        self, old: FactorizedReduce, new: FactorizedReduce, path: str, before: Tensor | None
    ) -> Tensor | None:
        first = self._convolution(old.conv_1, new.conv_1, f"{path}.conv_1", before)
        second = self._convolution(old.conv_2, new.conv_2, f"{path}.conv_2", before)
        half = old.conv_1.out_channels
        joined = None
        if first is not None or second is not None:
            first = torch.arange(half) if first is None else first
            second = torch.arange(old.conv_2.out_channels) if second is None else second
            joined = torch.cat([first, half + second])
        return self._normalisation(old.norm, new.norm, f"{path}.norm", joined)

    def _choose(self, old: int, new: int, path: str) -> Tensor | None:
        """Return the old channels, then randomly chosen ones; None if there is nothing to add."""
        if new < old:
            raise ConfigError(
                f"search.stages: {path} has {old} channels in a stage and {new} in the next; {_KEY} may only become"
                " smaller"
            )
        if new == old:
            return None
        return torch.cat([torch.arange(old), torch.randint(old, (new - old,), generator=self.generator)])

    def _note(self, module: nn.Module, path: str, **indices: Indices) -> None:
        """Record which tensors of the module grow, and by which choices."""
        for name, chosen in indices.items():
            if getattr(module, name) is not None and any(index is not None for index in chosen):
                self.plan[f"{path}.{name}"] = chosen


def _shapes(module: nn.Module) -> dict[str, Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}
