"""Text in files: which are read, what becomes a token, and what is refused; columns of a text."""

import gzip
import logging

import numpy as np
import pytest
import torch

from cases import REAL_TEXT
from nas_lightning.core.errors import DataError
from nas_lightning.data.text import PARTS, Text, columns

LINES = {"train": "the cat sat\n\nthe dog\n", "valid": "a cat \n", "test": "the end"}
WORDS = ("the", "cat", "sat", "<eos>", "dog", "a", "end")
TOKENS = {"train": [0, 1, 2, 3, 3, 0, 4, 3], "valid": [5, 1, 3], "test": [0, 6, 3]}


def written(folder, names="{}.txt", lines=LINES, packed=False):
    """A folder with the files of a text."""
    folder.mkdir(exist_ok=True)
    for part, text in lines.items():
        content = text.encode() if isinstance(text, str) else text
        path = folder / (names.format(part) + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content) if packed else content)
    return str(folder)


def prepared(path, **options):
    source = Text(path, **options)
    source.prepare()
    return source


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("names", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens"])
def test_words_are_numbered_as_they_appear_and_every_line_ends(tmp_path, names, packed):
    source = prepared(written(tmp_path / "text", names, packed=packed))
    assert source.words == source.class_names == WORDS
    assert {part: source.parts[part].tolist() for part in PARTS} == TOKENS
    assert source.num_classes == 7
    assert source.train_labels.dtype == np.int64
    assert source.found() == "a vocabulary of 7 · 14 tokens (8 to train, 3 to validate and 3 to test on)"


def test_bytes_are_named_by_what_they_print(tmp_path):
    lines = {"train": b"ab\xff\r\n", "valid": b"b \n", "test": b"\n"}
    source = prepared(written(tmp_path / "text", lines=lines), units="bytes")
    assert source.words == ("a", "b", "<ff>", "<eos>", " ")
    assert {part: source.parts[part].tolist() for part in PARTS} == {
        "train": [0, 1, 2, 3],
        "valid": [1, 4, 3],
        "test": [3],
    }


def test_a_text_of_a_published_name_with_other_counts_is_warned_about(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        prepared(written(tmp_path / "own"))
        assert caplog.text == ""
        prepared(written(tmp_path / "ptb", "ptb.{}.txt"))
    assert "Penn Treebank has 929589/73760/82430 tokens and 10000 words, not 8/3/3 and 7" in caplog.text


@pytest.mark.skipif(not REAL_TEXT[0].exists(), reason="the text of WikiText-2 is local only")
def test_counts_of_real_text_are_the_published_ones(tmp_path):
    names = ("train", "valid", "test")
    for name, path in zip(names, (REAL_TEXT[0], *REAL_TEXT), strict=True):
        (tmp_path / f"{name}.txt.gz").symlink_to(path)
    source = prepared(str(tmp_path))
    assert [len(source.parts[part]) for part in names] == [217_646, 217_646, 245_569]
    assert source.words[:4] == ("<eos>", "=", "Homarus", "gammarus")


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    def refused(line, path, **options):
        with pytest.raises(DataError, match=line) as raised:
            prepared(path, **options)
        assert "\n" not in str(raised.value)

    refused("data.path=null: .*give it with data.path=FOLDER", None)
    refused("nowhere: no such folder; give another with data.path=FOLDER", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    refused("holds no text; wanted: train.txt, …, or ptb.train.txt, …, or wiki.train.tokens", str(tmp_path / "empty"))
    some = {part: LINES[part] for part in ("train", "test")}
    refused("lacks wiki.valid.tokens; add the file", written(tmp_path / "some", "wiki.{}.tokens", some))
    refused("valid.txt is empty", written(tmp_path / "blank", lines={**LINES, "valid": ""}))
    latin = {**LINES, "test": b"fine\ncaf\xe9\n"}
    refused("test.txt, line 2 is not UTF-8; .*data.units=bytes", written(tmp_path / "latin", lines=latin))
    damaged = written(tmp_path / "damaged", packed=True)
    (tmp_path / "damaged" / "test.txt.gz").write_bytes(gzip.compress(b"a b c\n" * 100)[:-12])
    refused("test.txt.gz cannot be read", damaged)
    pointer = {**LINES, "train": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"}
    refused("train.txt is a pointer of Git LFS", written(tmp_path / "pointer", lines=pointer))


def test_a_column_goes_on_where_the_one_before_it_stopped():
    tokens = np.arange(23)
    rows = columns(tokens, 4, "search.batch_size")
    assert rows.tolist() == [[row, row + 5, row + 10, row + 15] for row in range(5)]
    assert rows.is_contiguous()
    tokens[0] = 9  # a copy: the text may be cut again
    assert rows[0, 0] == 0


def test_more_columns_than_pairs_of_tokens_are_refused():
    assert columns(np.arange(8), 4, "search.batch_size").shape == (2, 4)
    with pytest.raises(DataError, match=r"search.batch_size=4: a text of 7 tokens .*at most search.batch_size=3"):
        columns(np.arange(7), 4, "search.batch_size")


def test_an_example_has_the_shape_of_a_training_batch(tmp_path):
    source = prepared(written(tmp_path / "text"), bptt=6)
    chunk, targets = source.example(3)
    assert chunk.tokens.shape == targets.shape == (6, 3)
    assert (chunk.tokens.dtype, chunk.state, chunk.rate) == (torch.int64, None, 1.0)
    assert int(chunk.tokens.max()) < source.num_classes
    assert source.sizes() == (6, 7)


def test_a_fingerprint_tells_texts_apart(tmp_path):
    first = prepared(written(tmp_path / "first"))
    again = prepared(written(tmp_path / "again", packed=True))
    assert first.difference(first.fingerprint(), again.fingerprint()) == ""
    changes = {
        "the end of": "8 words in the vocabulary, not 7",
        "the end end": "4 tokens of test, not 3",
        "the cat": "7",
        "end the": "other tokens of test",
    }
    for text, said in changes.items():
        other = prepared(written(tmp_path / "other", lines={**LINES, "test": text}))
        assert said in first.difference(first.fingerprint(), other.fingerprint())
