"""Where a module keeps its tensors and modes: found once, read before every replay.

A graph reads weights and buffers by their addresses, and freezes every mode of the module.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas_lightning.core.functional import autocast_of, autograd_is_plain

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Structure:
    """The submodules of a module, and the dictionaries that hold its tensors.

    Attributes:
        names: Names of the parameters, each once, as `named_parameters` lists them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = list(module.modules())
        self._norms = [m for m in self._modules if isinstance(m, _BatchNorm)]
        self._containers = [m._modules for m in self._modules if m._modules]
        self._children = self._contained()
        self._holders: list[Any] = [d for m in self._modules for d in (m._parameters, m._buffers, m._modules)]
        self._sizes = list(map(len, self._holders))
        self._hooks: list[Any] = [getattr(m, name) for m in self._modules for name in HOOKS]
        self.names: list[str] = []
        self._parameters: list[tuple[dict[str, Any], str]] = []
        self._buffers: list[tuple[dict[str, Any], str]] = []
        seen: set[int] = set()
        for prefix, part in module.named_modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    self.names.append(f"{prefix}.{name}" if prefix else name)
                    self._parameters.append((part._parameters, name))
            self._buffers += [(part._buffers, name) for name, buffer in part._buffers.items() if buffer is not None]

    def _contained(self) -> list[Any]:
        return [child for children in self._containers for child in children.values()]

    def is_that_of_the_module(self) -> bool:
        """Return False if a submodule was replaced, added or removed, or a tensor added or removed."""
        return self._children == self._contained() and self._sizes == list(map(len, self._holders))

    def parameters(self) -> list[Tensor]:
        """Return the parameters as they are now, in the order of `names`."""
        return [owner[name] for owner, name in self._parameters]

    def buffers(self) -> list[Tensor]:
        """Return the buffers as they are now."""
        return [owner[name] for owner, name in self._buffers]

    def addresses(self) -> list[int]:
        """Return the addresses of parameters and buffers."""
        return [t.data_ptr() for t in (*self.parameters(), *self.buffers())]

    def modes(self) -> tuple[Any, ...]:
        """Return the modes of all modules: training; what normalisations track and how fast."""
        return (
            bytes([m.training for m in self._modules]),
            bytes([norm.track_running_stats for norm in self._norms]),
            tuple([norm.momentum for norm in self._norms]),
        )

    def trains(self) -> bool:
        """Return whether the innermost modules are in train mode."""
        return self._modules[-1].training

    def has_hooks(self) -> bool:
        """Return True if a hook of torch's hangs on a module: a replay would not call it."""
        return any(self._hooks)


def process_flags(kind: str) -> tuple[Any, ...]:
    """Return the flags of the process that decide which kernels are captured on a device of this type."""
    backends: Any = torch.backends
    return (
        autocast_of(kind),
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.benchmark,
        backends.cudnn.deterministic,
        backends.cudnn.enabled,
        backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        autograd_is_plain(),
    )
