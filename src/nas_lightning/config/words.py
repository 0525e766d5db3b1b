"""Words of the command line, `KEY=VALUE`: values in Hydra's grammar, or as they are typed.

Outside of quotes, Hydra's grammar knows English letters, digits and a few signs; the shell removes one pair of quotes.
A value that is no value of the grammar can only be meant as it stands: it is quoted here.
"""

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

_KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@:-]*", re.ASCII)
_BEGINS_GRAMMAR = re.compile(
    r"\s*(\[(?![^\[\]]*\][^\]]*$)|[\[{].*[\]}]\s*$|[{'\"]|(choice|range|interval|glob|shuffle|sort|tag|extend_list|int|float|str|bool|json_str)\()"
)
"""A value that begins so is meant in the grammar: a list, a dictionary, quotes, a function."""


def parses(word: str) -> bool:
    """Return True if a word is an override in Hydra's grammar."""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def quoted(text: str) -> str:
    r"""Return a text in single quotes, as Hydra's grammar reads it back: backslashes count before quotes only.

    >>> print(quoted("it's"))
    'it\'s'
    """
    inner = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and "\\'"), text)
    return f"'{inner}'"


def as_typed(word: str) -> str:
    """Return a word with its value in quotes, where the value is none of the grammar and can be meant in one way only.

    A value with a comma may be several values of a sweep; it is left as it is, but for a text with brackets like
    `genotype=Genotype(normal=…)`.

    >>> as_typed("data.path=my=photos"), as_typed("seed=1"), as_typed("seed=[1,2")
    ("data.path='my=photos'", 'seed=1', 'seed=[1,2')
    """
    key, mark, value = word.partition("=")
    if not mark or not _KEY.fullmatch(key) or _BEGINS_GRAMMAR.match(value) or parses(word):
        return word
    if "," in value and not re.fullmatch(r"[\w.\s=]*\(.*\)\s*", value, re.DOTALL):
        return word
    return f"{key}={quoted(' '.join(value.split()) if chr(10) in value else value)}"


def problem_of(word: str) -> str:
    """Return one line about a word that is no override in the grammar, with the spelling that is read."""
    key, mark, value = word.partition("=")
    if not mark:
        return f"{word}: has no value; give one, {word}=VALUE"
    if not _KEY.fullmatch(key):
        return f"{word}: {key or '(nothing)'} is not a key; write KEY=VALUE, such as seed=1, without blanks around ="
    bare = value.strip().strip("'\"")
    if value.lstrip().startswith(("'", '"')):
        return f'{word}: cannot be read; a bracket or quote may be missing; a text is "{key}={quoted(bare)}"'
    if _BEGINS_GRAMMAR.match(value):
        return (
            f"{word}: cannot be read; a bracket or quote may be missing: 'KEY=[a,b]', KEY=range(0,3); words with other"
            f" characters than A-Z, 0-9 and _-./: need quotes, \"KEY=['ä',b]\""
        )
    return (
        f'{word}: cannot be read; one text is written "{key}={quoted(value)}", a list of texts'
        f" \"{key}=['a','b']\", those of a sweep \"{key}='a','b'\""
    )
