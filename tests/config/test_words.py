"""Words as a user types them: every text reaches its key as it stands, or the message has a spelling that does."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import nas_lightning as nl
from nas_lightning.config.words import as_typed, parses, problem_of, quoted

TEXTS = [
    *("my=photos", "x=", "größe", "写真", "a#b", "a&b", "a!b", "a;b", "a<b>c", "a^b", "a`b", "a[b]", "a(b)", "a{b}"),
    *("~x", "~/größe", "it's", "it''s", "end'", 'say"so', r"C:\ä", r"\\server\ä", r"back\'slash", "ä ends=\\"),
    *("no\u00a0break", "f(x, y)", "Genotype(normal=[('a', 0)])", "best = Genotype(a=[('b', 0)], c=range(2, 6))"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_reaches_its_key_as_it_stands(text):
    assert not parses(f"run={text}")
    word = as_typed(f"run={text}")
    assert OverridesParser.create().parse_override(word).value() == text
    assert as_typed(word) == word  # words are rewritten more than once
    assert nl.compose([f"run={text}", "task=export"]).run == text


def test_lines_are_joined():
    assert as_typed("genotype=Genotype(\n  normal=[])") == "genotype='Genotype( normal=[])'"


@pytest.mark.parametrize("text", ["", "'", "\\", "\\'", "a\\\\'b", "'a'", "ä\\"])
def test_quotes_are_read_back(text):
    assert OverridesParser.create().parse_override(f"run={quoted(text)}").value() == text


READ = ["seed=1", "seed=1,2", "run=a b", "tags=[a,b]", "run='ä'", "seed=range(0,3)", "+x={a:1}", "~x", "run="]
MISTYPED = ["tags=[ä]", "seed=range(0,3", "run='ä", "run=a#b,c", "ä=1", "seed"]


@pytest.mark.parametrize("word", [*READ, *MISTYPED])
def test_what_is_meant_in_the_grammar_is_left_alone(word):
    assert as_typed(word) == word


UNREADABLE = {
    "tags=[größe]": r"tags=\[größe\]: cannot be read; a bracket or quote may be missing: .* need quotes",
    "seed=range(0,3": r"a bracket or quote may be missing",
    "run='ä": r"a bracket or quote may be missing; a text is \"run='ä'\"",
    "run=a#b,c": r"cannot be read; one text is written \"run='a#b,c'\", a list of",
    "größe=1": r"größe is not a key; write KEY=VALUE",
    "search.epochs": r"has no value; give one, search\.epochs=VALUE",
    "seed =1": r"seed  is not a key; .* without blanks around =",
}


@pytest.mark.parametrize("word", UNREADABLE)
def test_what_cannot_be_read_is_told_with_a_spelling(word):
    with pytest.raises(nl.ConfigError, match=UNREADABLE[word]) as caught:
        nl.compose(["seed=2", word])
    assert "\n" not in str(caught.value)
    assert "Exception" not in str(caught.value)
    spelling = re.search(r'written "(\S+)"|text is "(\S+)"', problem_of(word))
    if spelling:
        assert parses(spelling.group(1) or spelling.group(2))
