"""One captured pass: its static tensors, the graph of its forward pass and that of its backward pass.

    in   inputs, weights, draws         static, copied into before each replay
    out  outputs, gradients             static, copied out of after each replay

Gradients are taken by `torch.autograd.grad` of leaves of the section's own, never by `backward`: no AccumulateGrad node
of a parameter is made on the capturing stream. The leaves share the memory of the parameters, or are slots that other
weights are copied into (an unrolled step).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from nas_lightning.capture.graphs import Graphs, failed
from nas_lightning.capture.trace import CaptureError
from nas_lightning.core import constants, draws
from nas_lightning.core.draws import Make
from nas_lightning.core.functional import autocast_of, without_autocast

Outputs = Tensor | tuple[Tensor, ...]
Function = Callable[[list[Tensor]], Outputs]


class Memory:
    """What sections that share their memory must know of each other.

    Attributes:
        latest: Number of the latest replay of a forward pass; a backward pass needs what that replay left.
    """

    latest: int = 0


class Section:
    """A function of tensors, captured.

    Args:
        function: Maps the static tensors to a tensor or a tuple of tensors.
        given: The tensors of the first pass, from which the static ones are made.
        shared: For each, whether the static tensor shares its memory.
        needs: For each, whether its gradient is taken.
        buffers: What the function moves; capturing leaves it as it was.
        graphs: Makes the two graphs.
        memory: Shared by all sections of `graphs`.

    Attributes:
        static: The static tensors, in the order of `given`.
        outputs: Static outputs.
        differentiable: For each output, whether it depends on a tensor whose gradient is taken.
        gradients: Static gradients of those of `static` that need one; None where the outputs do not depend on it.

    Raises:
        CaptureError: The function cannot be captured.
    """

    def __init__(
        self,
        function: Function,
        given: Sequence[Tensor],
        shared: Sequence[bool],
        needs: Sequence[bool],
        buffers: Sequence[Tensor],
        graphs: Graphs,
        memory: Memory,
    ) -> None:
        self._function = function
        self._memory = memory
        self._drawn: list[tuple[Make, Tensor]] = []
        self._constants: list[object] = []
        self._position = 0
        self._sealed = self._drawn_for_this_pass = False
        self._live: tuple[Tensor, ...] = ()
        self._grad_outputs: list[Tensor] | None = None
        self._learning = [place for place, need in enumerate(needs) if need]
        self._copied = [place for place, share in enumerate(shared) if not share]
        self._kind = given[0].device.type
        self._autocast = autocast_of(self._kind)
        self.gradients: Sequence[Tensor | None] | None = None
        # Not as inference tensors: they are written to outside of inference mode, too.
        with torch.inference_mode(False), torch.no_grad():
            detached = [t.detach() if share else t.detach().clone() for t, share in zip(given, shared, strict=True)]
            self.static = [t.requires_grad_(need) for t, need in zip(detached, needs, strict=True)]
            kept = [buffer.clone() for buffer in buffers]
            try:
                self._capture(graphs)
            finally:  # the runs so far moved them, and the first replay is yet to come
                self._forget()
                if kept:
                    torch._foreach_copy_(list(buffers), kept)

    def _capture(self, graphs: Graphs) -> None:
        try:
            graphs.warm_up(self._warm_up)
        except CaptureError:
            raise
        except RuntimeError as error:  # also torch.cuda.OutOfMemoryError: eager code needs less
            raise failed("the run before the capture", error) from error
        self._forget()
        self._sealed = self._drawn_for_this_pass = True
        self._forward, self._backward = graphs.graph(), graphs.graph()
        self.outputs: list[Tensor] = [t for t in self._forward.capture(self._run_forward) if t is not None]
        self.differentiable: list[bool] = [t.requires_grad for t in self._live]
        if any(self.differentiable):
            self.gradients = self._backward.capture(self._run_backward)

    def _forget(self) -> None:
        """Let go of the outputs of the last run, and with them of its activations."""
        self._live = ()

    def _warm_up(self) -> None:
        self._run_forward()
        if self._grad_outputs is None:
            self._grad_outputs = [torch.zeros_like(t, requires_grad=False) for t in self._live if t.requires_grad]
        if self._grad_outputs:
            self._run_backward()

    def _run_forward(self) -> list[Tensor]:
        self._position = 0
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(bool(self._learning)))
            stack.enter_context(draws.captured(self._take))
            stack.enter_context(constants.kept_by(self._constants))
            if self._autocast is not None:  # its cache would hand a weight of before the capture to every replay
                stack.enter_context(torch.autocast(self._kind, self._autocast, cache_enabled=False))
            found = self._function(self.static)
        self.single = isinstance(found, Tensor)
        self._live = (found,) if isinstance(found, Tensor) else tuple(found)
        return [t.detach() for t in self._live]

    def _run_backward(self) -> Sequence[Tensor | None]:
        wanted = [self.static[place] for place in self._learning]
        outputs = [t for t in self._live if t.requires_grad]
        # As in eager code, whose backward passes leave autocast, too.
        with without_autocast(self._kind):
            return torch.autograd.grad(outputs, wanted, self._grad_outputs, allow_unused=True)

    def _take(self, make: Make) -> Tensor:
        """Return the static tensor of a draw; the first run makes it."""
        if self._position == len(self._drawn):
            if self._sealed:
                raise CaptureError("the section draws more often than when it was captured")
            self._drawn.append((make, make().detach().clone()))
        self._position += 1
        return self._drawn[self._position - 1][1]

    def __call__(self, given: Sequence[Tensor]) -> Outputs:
        """Replay the pass for these tensors."""
        if self.gradients is None:
            found = self.replay(given)
        else:
            found = _Replay.apply(self, given, *(given[place] for place in self._learning))
        return found[0] if self.single else tuple(found)

    @torch.no_grad()
    def replay(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Replay the forward pass; return copies of its outputs."""
        if self._copied:
            torch._foreach_copy_(
                [self.static[place] for place in self._copied], [given[place].detach() for place in self._copied]
            )
        if not self._drawn_for_this_pass:  # the first pass was drawn for when it was captured
            for make, static in self._drawn:
                static.copy_(make())
        self._drawn_for_this_pass = False
        self._forward.replay()
        self._memory.latest += 1
        return tuple(t.clone() for t in self.outputs)

    @torch.no_grad()
    def replay_backward(self, number: int, grad_outputs: Sequence[Tensor]) -> list[Tensor | None]:
        """Replay the backward pass.

        Args:
            number: The replay of a forward pass that it belongs to.
            grad_outputs: Gradients of the differentiable outputs.

        Returns:
            Copies of the gradients; None where the outputs do not depend on the tensor.

        Raises:
            RuntimeError: Another pass, or this backward pass already, has used the memory since.
        """
        if self._memory.latest != number:
            raise RuntimeError(
                "backward of a captured pass after another pass was replayed, or for a second time: its activations are"
                " overwritten; call backward right after the forward pass, once"
            )
        self._memory.latest += 1  # the backward pass reuses the memory of the activations
        assert self._grad_outputs is not None
        assert self.gradients is not None
        torch._foreach_copy_(self._grad_outputs, list(grad_outputs))
        self._backward.replay()
        found = [g for g in self.gradients if g is not None]
        copies = [torch.empty_like(g) for g in found]
        if found:
            torch._foreach_copy_(copies, found)
        left = iter(copies)
        return [None if g is None else next(left) for g in self.gradients]


class _Replay(torch.autograd.Function):
    """A replayed pass in autograd, which sees those tensors alone whose gradients are taken."""

    @staticmethod
    def forward(ctx: Any, section: Section, given: Sequence[Tensor], *learning: Tensor) -> tuple[Tensor, ...]:
        found = section.replay(given)
        ctx.section, ctx.number = section, section._memory.latest
        ctx.mark_non_differentiable(*(t for t, yes in zip(found, section.differentiable, strict=True) if not yes))
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # with `once_differentiable`, unused gradients would silently be zeros
            raise RuntimeError(
                "a captured pass cannot be differentiated twice; open nas_lightning.core.functional.plain_autograd"
                " around the pass, which is then eager"
            )
        section: Section = ctx.section
        wanted = [g for g, yes in zip(grads, section.differentiable, strict=True) if yes]
        return (None, None, *section.replay_backward(ctx.number, wanted))
