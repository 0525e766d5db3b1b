"""Text in two columns. Terms are there to be copied: they are never broken, only their descriptions wrap."""

import textwrap
from collections.abc import Sequence

NARROW = 70
"""Terminals with fewer columns get each description below its term."""
LONGEST_TERM = 44
"""A longer term has its description below it, so that the others keep their column."""


def wrapped(text: str, width: int | None, indent: int = 2) -> list[str]:
    """Return a text as indented lines, broken at blanks only.

    Args:
        text: One paragraph.
        width: Columns of the terminal; None: one line, however long.
        indent: Blanks before each line.

    >>> wrapped("a longer text", 10)
    ['  a longer', '  text']
    """
    before = indent * " "
    if width is None:
        return [before + text]
    lines = textwrap.wrap(
        text, max(width, indent + 10), initial_indent=before, subsequent_indent=before, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return lines or [before.rstrip()]


def columns(rows: Sequence[tuple[str, str]], width: int | None, indent: int = 2) -> list[str]:
    """Return the lines of a table of terms and their descriptions.

    Args:
        rows: Terms, each with its description, which may be empty.
        width: Columns of the terminal; None: one line for each row, as for a pipe.
        indent: Blanks before each term.

    >>> columns([("seed=0", "of all draws"), ("a=1", "")], None)
    ['  seed=0  of all draws', '  a=1']
    """
    narrow = width is not None and width < NARROW
    column = max((len(term) for term, _ in rows if len(term) <= LONGEST_TERM), default=0)
    lines = []
    for term, text in rows:
        start = indent * " " + term
        if not text:
            lines.append(start)
        elif width is None:
            lines.append(f"{start:{indent + column}}  {text}")
        elif narrow or len(term) > column:
            lines += [start, *wrapped(text, width, indent + 4)]
        else:
            below = wrapped(text, width, indent + column + 2)
            lines += [f"{start:{indent + column}}  {below[0].lstrip()}", *below[1:]]
    return lines
