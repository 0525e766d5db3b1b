"""Writes the blocks of configuration in the pages on methods and spaces, so that they say what the YAMLs say.

python docs/config_blocks.py

A page marks a place: `<!-- config: WORDS | differs from: WORDS -->` shows where one composed configuration differs
from another, `<!-- config: WORDS | keys: A, B -->` shows some of its sections. The block of YAML after the mark is made
anew.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import nas_lightning as nl
from nas_lightning.config.compose import as_dict

DOCS = Path(__file__).parent
MARK = re.compile(
    r"^(<!-- config: ([^|]+?) \| (differs from|keys): (.+?) -->)\n(?:\n?```yaml\n.*?^```\n)?", re.M | re.S
)
SHORT = ("space", "evaluation")
"""Sections of which a difference is told by name."""


@cache
def config(words: str) -> dict[str, Any]:
    """The composed configuration of a command, in plain dictionaries."""
    return as_dict(nl.compose(words.split()))


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What `one` has and `other` has not; of another part (`_target_`) all of it."""
    found = {}
    for key, value in one.items():
        before = other.get(key)
        if value == before:
            continue
        sections = isinstance(value, dict) and isinstance(before, dict)
        if not sections or value.get("_target_") != before.get("_target_"):
            found[key] = value
        else:
            found[key] = difference(value, before) or value  # of what is only left out, what is left
    return found


def shown(words: str, kind: str, rest: str) -> str:
    """The text of a block."""
    if kind == "keys":
        values = {key: config(words)[key] for key in rest.split(", ")}
        title = words
    else:
        values = difference(config(words), config(rest))
        values.pop("method", None)
        values |= {key: config(words)[key]["name"] for key in SHORT if key in values}
        title = f"{words}, where it differs from {rest}"
    return (
        f"# {title}\n{yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)}"
    )


def rewritten(text: str) -> str:
    """A page with its blocks made anew."""
    return MARK.sub(lambda mark: f"{mark[1]}\n\n```yaml\n{shown(mark[2], mark[3], mark[4])}```\n", text)


if __name__ == "__main__":
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        if rewritten(text) != text:
            page.write_text(rewritten(text))
            print(f"written: {page}")
