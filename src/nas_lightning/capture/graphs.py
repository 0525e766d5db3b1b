"""Graphs that replay what was captured: CUDA's, and a stand-in that runs it again, for machines without a GPU.

Both keep the tensors that the captured function returned: a replay writes new values to the same addresses. A graph
freezes everything else: shapes, Python numbers, addresses of what it reads. The stand-in therefore records the
operators of a capture (`trace`) and refuses a replay in which one differs, which a graph would hide.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor

from nas_lightning.capture.trace import Call, CaptureError, Trace

Tensors = Sequence[Tensor | None]
Run = Callable[[], Tensors]


class Graph(Protocol):
    """One captured function without arguments."""

    def capture(self, run: Run) -> Tensors:
        """Capture `run`; return its tensors, which every replay fills. Their values are undefined until then.

        Raises:
            CaptureError: It cannot be captured.
        """

    def replay(self) -> None:
        """Do again what was captured."""


class Graphs(Protocol):
    """Makes the graphs of one device, which share their memory and so must be replayed one after the other."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run what is about to be captured, so that nothing is initialised or chosen during the capture."""

    def beside(self) -> AbstractContextManager[None]:
        """Run what is within the block where graphs are captured, after all that was launched before."""

    def graph(self) -> Graph:
        """Return a new graph."""


def failed(what: str, error: BaseException) -> CaptureError:
    """Return the error of a capture for one of torch's, in one line."""
    return CaptureError(f"{what} failed ({(str(error).strip() or type(error).__name__).splitlines()[0]})")


class CudaGraph:
    """A `torch.cuda.CUDAGraph`."""

    def __init__(self, pool: Any, stream: Any) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool, self._stream = pool, stream

    def capture(self, run: Run) -> Tensors:
        """Capture `run` on the side stream; see `Graph`."""
        before = torch.cuda.current_stream(self._stream.device)
        try:
            # thread_local: a thread of the loader that pins memory meanwhile does no harm.
            with torch.cuda.graph(self._graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                return run()
        except RuntimeError as error:  # also torch.cuda.OutOfMemoryError
            # A capture that broke raises again at its end, before it gives the stream back: the cause is the context.
            torch.cuda.set_stream(before)
            raise failed("the capture", error.__context__ or error) from error

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        self._graph.replay()


class CudaGraphs:
    """Graphs of a GPU: one pool of memory, one side stream for warm-up and capture."""

    WARM_UPS = 3

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run three times on the side stream: choices of algorithms, lazy initialisation, compilation."""
        with self.beside():
            for _ in range(self.WARM_UPS):
                run()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run on the side stream; both streams wait for each other."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def graph(self) -> CudaGraph:
        """Return a new graph in the pool."""
        return CudaGraph(self._pool, self._stream)


class Recorder:
    """The stand-in of a graph: it runs the function again and copies the results to the same addresses."""

    def __init__(self) -> None:
        self._run: Run = tuple
        self._static: Tensors = ()
        self._calls: list[Call] = []

    def capture(self, run: Run) -> Tensors:
        """Run once and note the operators; see `Graph`."""
        with Trace() as trace:
            found = run()
        self._run, self._calls = run, trace.calls
        self._static = [None if t is None else t.detach().clone() for t in found]
        for tensor in self._static:  # what a graph's tensors hold before its first replay is not to be relied on
            if tensor is not None and tensor.is_floating_point():
                tensor.fill_(torch.nan)
        return self._static

    def replay(self) -> None:
        """Run again.

        Raises:
            CaptureError: An operator, a shape or a number is not that of the capture.
        """
        with Trace() as trace:
            found = self._run()
        trace.compare(self._calls)
        for static, new in zip(self._static, found, strict=True):
            if static is not None and new is not None:
                static.copy_(new)


class Recorders:
    """Stand-ins of graphs, for any device."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run once."""
        run()

    def beside(self) -> AbstractContextManager[None]:
        """Run in place."""
        return nullcontext()

    def graph(self) -> Recorder:
        """Return a new stand-in."""
        return Recorder()


_stand_in: ContextVar[bool] = ContextVar("stand_in", default=False)


@contextmanager
def stand_in() -> Iterator[None]:
    """Use the stand-in on every device within the block: for tests, it is slower than eager code."""
    token = _stand_in.set(True)
    try:
        yield
    finally:
        _stand_in.reset(token)


def has_graphs(device: torch.device) -> bool:
    """Return whether passes on this device can be captured."""
    return _stand_in.get() or device.type == "cuda"


def graphs_on(device: torch.device) -> Graphs:
    """Return what makes the graphs of a device that has them."""
    return Recorders() if _stand_in.get() else CudaGraphs(device)
