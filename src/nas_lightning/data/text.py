"""Text as whole numbers: three parts, one vocabulary, columns that are read side by side.

Shapes: N tokens of a part, R rows and B columns of a text that is cut into columns, V words.
"""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.batches import Chunk
from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, is_file, lfs_pointer, path_of, shown
from nas_lightning.data.source import DataSource

log = logging.getLogger(__name__)

TextPart = Literal["train", "valid", "test"]
Units = Literal["words", "bytes"]
Chunks = Literal["random", "fixed"]
Length = Annotated[int, Field(ge=2)]
Columns = Annotated[int, Field(ge=1)]
PARTS: tuple[TextPart, ...] = ("train", "valid", "test")
EOS = "<eos>"
"""The token at the end of each line."""


class Published(NamedTuple):
    """A published text: its name, its tokens by part, and its words."""

    title: str
    tokens: tuple[int, int, int]
    words: int


NAMES: dict[str, Published | None] = {
    "{}.txt": None,
    "ptb.{}.txt": Published("Penn Treebank", (929_589, 73_760, 82_430), 10_000),
    "wiki.{}.tokens": Published("WikiText-2", (2_088_628, 217_646, 245_569), 33_278),
}
"""Names of the files of a text, by part, with the counts that are known of it."""


class TextData(DataSource):
    """A text in three parts; one subclass a source.

    Constructors only keep their arguments. `prepare` reads (or writes) the text and fills the attributes. A subclass
    writes `_load`, which sets `words` and `parts`, and may set `notes`.

    Args:
        bptt: tokens of a chunk: so far back gradients reach.
        chunks: `random`: lengths of training chunks vary about that, as published; `fixed`: they do not.
        val_columns: columns in which the validation text is read, at least one a process.
        test_columns: likewise, of the test text; published results are those of one.

    Attributes:
        name: of the text, in tables and file names.
        words: the vocabulary, V words; a token is a place in it.
        parts: tokens of each part, int64 [N].
        notes: what else to tell of what was found.
    """

    kind = "text"
    loader_keys = ("split",)

    words: tuple[str, ...]
    parts: dict[TextPart, np.ndarray]
    notes: tuple[str, ...] = ()

    def __init__(self, bptt: int, chunks: Chunks, val_columns: int, test_columns: int) -> None:
        self.bptt = bptt
        self.chunks = chunks
        self.val_columns = val_columns
        self.test_columns = test_columns

    def _fill(self, words: Sequence[str], parts: dict[TextPart, np.ndarray]) -> None:
        """Set what networks and objectives ask for: a model chooses among the words of the vocabulary."""
        self.words = self.class_names = tuple(words)
        self.num_classes = len(self.words)
        self.parts = parts
        self.train_labels = parts["train"]

    def found(self) -> str:
        """Return one line about the text: its vocabulary and the tokens of its parts."""
        self.prepare()
        train, valid, test = (len(self.parts[part]) for part in PARTS)
        counts = f"{train + valid + test} tokens ({train} to train, {valid} to validate and {test} to test on)"
        return " · ".join([f"a vocabulary of {self.num_classes}", counts, *self.notes])

    def sizes(self) -> tuple[int, ...]:
        """Return the length of a chunk and the number of words."""
        return self.bptt, self.num_classes

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> tuple[Chunk, Tensor]:
        """Return a chunk of the nominal length with arbitrary content, tokens [T, B], and targets likewise."""
        tokens = torch.arange(self.bptt * batch_size).remainder(self.num_classes).view(self.bptt, batch_size)
        tokens = tokens.to(device)
        return Chunk(tokens), tokens

    def unit(self, device: torch.device | str = "cpu") -> Chunk:
        """Return a chunk of one token."""
        return Chunk(torch.zeros(1, 1, dtype=torch.long, device=device))

    def fingerprint(self) -> dict[str, Any]:
        """Return the number of words and, by part, that of tokens with a hash of them."""
        found: dict[str, Any] = {"words": self.num_classes}
        for part in PARTS:
            content = np.ascontiguousarray(self.parts[part], dtype="<i8").tobytes()
            found[part] = {
                "tokens": len(self.parts[part]),
                "content": hashlib.blake2b(content, digest_size=8).hexdigest(),
            }
        return found

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way a text differs from that of a kept fingerprint; "" if they are the same."""
        if kept["words"] != found["words"]:
            return f"{found['words']} words in the vocabulary, not {kept['words']}"
        for part in PARTS:
            if kept[part]["tokens"] != found[part]["tokens"]:
                return f"{found[part]['tokens']} tokens of {part}, not {kept[part]['tokens']}"
            if kept[part] != found[part]:
                return f"other tokens of {part}"
        return ""


class Text(TextData):
    """A text in the files of a folder: one sentence a line, words between spaces, `<eos>` at the end of each line.

    Files are `train.txt`, `valid.txt` and `test.txt`, or those of Penn Treebank, `ptb.train.txt` and so on, or those of
    WikiText-2, `wiki.train.tokens` and so on; each may be packed, with `.gz` after its name. The vocabulary holds the
    words of all three parts in the order in which they appear, as in the released code.

    Args:
        path: the folder.
        units: tokens are `words`, or `bytes` of the files (then of any encoding).
        bptt: tokens of a chunk: so far back gradients reach.
        chunks: `random`: lengths of training chunks vary about that, as published; `fixed`: they do not.
        val_columns: columns in which the validation text is read, at least one a process.
        test_columns: likewise, of the test text; published results are those of one.
    """

    name = "text"
    missing: ClassVar[dict[str, str]] = {
        "path": "data.path={given}: no such folder; give another with data.path=FOLDER"
    }

    def __init__(
        self,
        path: str | None = None,
        units: Units = "words",
        bptt: Length = 35,
        chunks: Chunks = "random",
        val_columns: Columns = 10,
        test_columns: Columns = 1,
    ) -> None:
        super().__init__(bptt, chunks, val_columns, test_columns)
        self.path = path
        self.units = units

    def _load(self) -> None:
        files, published = self._files()
        places: dict[str, int] = {}
        parts = {part: self._tokens(files[part], places) for part in PARTS}
        self._fill(tuple(places), parts)
        if published is not None and self.units == "words":
            self._compare(published)

    def _error(self, problem: str, remedy: str = "give another folder with data.path=FOLDER") -> DataError:
        return DataError(f"data.path={shown(self.path or 'null')}: {problem}; {remedy}")

    def _files(self) -> tuple[dict[TextPart, Path], Published | None]:
        """Return the file of each part, and the published text that their names are of.

        Raises:
            DataError: There is no such folder, or it lacks a part.
        """
        if self.path is None:
            raise DataError("data.path=null: data=text needs a folder with a text; give it with data.path=FOLDER")
        folder = path_of(self.path)
        if not is_directory(folder):
            raise DataError(self.missing["path"].format(given=shown(self.path)))
        best: tuple[str, dict[TextPart, Path]] = ("{}.txt", {})
        for names in NAMES:
            found = {part: path for part in PARTS if (path := _file(folder, names.format(part))) is not None}
            if len(found) > len(best[1]):
                best = names, found
        names, files = best
        lacking = [names.format(part) for part in PARTS if part not in files]
        if not files:
            wanted = ", or ".join(f"{name.format('train')}, …" for name in NAMES)
            raise self._error(f"holds no text; wanted: {wanted}", "valid and test likewise, each also as .gz")
        if lacking:
            raise self._error(f"lacks {' and '.join(lacking)}", "add the file, also as .gz")
        return files, NAMES[names]

    def _tokens(self, path: Path, places: dict[str, int]) -> np.ndarray:
        """Return the tokens of a file, int64 [N]; words that `places` lacks are added to it."""
        units = _words if self.units == "words" else _bytes
        tokens: list[int] = []
        for number, line in enumerate(self._lines(path), 1):
            try:
                tokens.extend(places.setdefault(word, len(places)) for word in (*units(line), EOS))
            except UnicodeDecodeError as error:
                raise self._error(
                    f"{path.name}, line {number} is not UTF-8", "convert the file, or read it with data.units=bytes"
                ) from error
        end = places.get(EOS)
        if not tokens or (self.units == "words" and all(token == end for token in tokens)):
            raise self._error(f"{path.name} has no words" if tokens else f"{path.name} is empty")
        return np.array(tokens, dtype=np.int64)

    def _lines(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as stream:
            pointer = lfs_pointer(stream.read(64))
        if pointer:
            raise self._error(f"{path.name} {pointer}", "or give another folder with data.path=FOLDER")
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
                yield from lines
        except (OSError, EOFError, zlib.error) as error:
            raise self._error(f"{path.name} cannot be read ({' '.join(str(error).split())})") from error

    def _compare(self, published: Published) -> None:
        """Warn where the counts are not those that are known of a published text."""
        counts = (*(len(self.parts[part]) for part in PARTS), self.num_classes)
        if counts != (*published.tokens, published.words):
            log.warning(
                "data.path=%s: %s has %s tokens and %s words, not %s and %s: results are not those of papers",
                *(shown(self.path), published.title, "/".join(map(str, published.tokens)), published.words),
                *("/".join(map(str, counts[:3])), counts[3]),
            )


def columns(tokens: np.ndarray, count: int, key: str) -> Tensor:
    """Cut a text into columns of equal length, each the continuation of the one before; the rest is left out.

    Args:
        tokens: The text, [N].
        count: Number of columns B.
        key: Override that sets it, for the message.

    Returns:
        int64 [R, B] with R = N // B: row r holds the r-th token of each column.

    Raises:
        DataError: The columns would have fewer than two tokens: one to read, and one to predict.
    """
    rows = len(tokens) // count
    if rows < 2:
        raise DataError(
            f"{key}={count}: a text of {len(tokens)} tokens is too short for {count} columns of two or more tokens; use"
            f" at most {key}={max(1, len(tokens) // 2)}, or a longer text"
        )
    return torch.from_numpy(tokens[: rows * count].reshape(count, rows).T.copy())


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if is_file(path)), None)


def _words(line: bytes) -> list[str]:
    return line.decode("utf-8").split()


def _bytes(line: bytes) -> list[str]:
    """Return a name for each byte of a line but its end: itself where it can be printed."""
    return [chr(byte) if 32 <= byte < 127 else f"<{byte:02x}>" for byte in line.rstrip(b"\r\n")]
