"""The terminal: what it cannot show, or no longer takes, never ends a run."""

import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from rich.console import Console

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Forgiving(io.TextIOBase):
    """A text stream that replaces characters that its encoding lacks, and goes quiet when it is gone.

    A closed pipe or a full disk is logged once; what is printed afterwards is dropped, also by the processes that
    inherit the stream.

    Args:
        stream: The stream that is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False
        self._kept: int | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override] # a plain attribute there
        """Name of the encoding."""
        return self._stream.encoding or "utf-8"

    @property
    def buffer(self) -> object:
        """The stream of bytes below, for those who write bytes."""
        return self._stream.buffer

    def write(self, text: str) -> int:
        """Write a text, with `?` in the place of what cannot be shown."""
        if self._gone:
            return len(text)
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            return self.write(text.encode(self.encoding, "replace").decode(self.encoding))
        except BlockingIOError:  # a reader that is slow, not gone: what it has no room for is left out
            pass
        except OSError as error:
            self._lose(error)
        except ValueError:  # this process has closed it
            self._gone = True
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        if self._gone:
            return
        try:
            self._stream.flush()
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)
        except ValueError:
            self._gone = True

    def put_back(self) -> None:
        """Give the file below back to those who print after this program's output, as it was."""
        if self._kept is None:
            return
        self._stream.flush()  # what is left goes nowhere
        os.dup2(self._kept, self._stream.fileno())
        os.close(self._kept)
        self._kept = None

    def isatty(self) -> bool:
        """Return True on a terminal."""
        return not self._gone and self._stream.isatty()

    def writable(self) -> bool:
        """Return True: it can be written to, if in vain."""
        return True

    def fileno(self) -> int:
        """Return the number of the file below."""
        return self._stream.fileno()

    def _lose(self, error: OSError) -> None:
        self._gone = True
        try:
            # What is still in the buffer would fail again when the interpreter ends, with its own exit code.
            kept = os.dup(self._stream.fileno())
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._kept = kept
        except OSError as other:  # no file below, for instance in a notebook
            log.debug("%s", other)
        log.info("the terminal takes no more output (%s): the run goes on, and run.log has its lines", error)


@contextmanager
def forgiving_output() -> Iterator[None]:
    """Make standard output and errors `Forgiving` within the block; where one is closed, nothing is printed to it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_forgiving(stream) for stream in before)
    try:
        yield
    finally:
        for stream, former in zip((sys.stdout, sys.stderr), before, strict=True):
            stream.flush()
            if isinstance(stream, Forgiving) and stream is not former:
                stream.put_back()
        sys.stdout, sys.stderr = before


def _forgiving(stream: TextIO | None) -> TextIO:
    if isinstance(stream, Forgiving):
        return stream
    if stream is None:  # closed by the shell, whose number the next file would get: a library's print would go there
        stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the program
    return Forgiving(stream)  # type: ignore[return-value] # what TextIO needs


def screen() -> Console:
    """Return a console on standard output that draws with the characters of its encoding."""
    return Console(file=sys.stdout)  # given, because rich would take the encoding for UTF-8


def print_line(line: str) -> None:
    """Print a line on the terminal."""
    screen().print(line, highlight=False, soft_wrap=True)


def track_progress(items: Sequence[Item], title: str) -> Iterable[Item]:
    """Iterate with a progress bar on a terminal, or after a line with the title and the count elsewhere."""
    console = screen()
    if console.is_terminal:
        from rich.progress import track  # much to import for the commands that show no bar

        return track(items, description=title, console=console)
    console.print(f"{title}: {len(items)}", highlight=False)
    return items


def text_width() -> int | None:
    """Return the columns to wrap text at: those of the terminal or of COLUMNS; None in a pipe, for whole lines."""
    console = screen()
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal() else None
