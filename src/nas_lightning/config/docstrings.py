"""Meanings of a part's arguments, read from the docstrings of its class without importing it."""

import ast
import inspect
import re
from functools import cache

from nas_lightning.config.aliases import current
from nas_lightning.config.declarations import sources


@cache
def meanings(target: str) -> dict[str, str]:
    """Return the descriptions of the arguments of a class and its bases, by name, as their docstrings give them.

    Empty for a class of another package, whose source is not read.

    >>> meanings("nas_lightning.evaluation.Retraining")["cutout"]
    'Side of the square that cutout blanks, in pixels; 0 for none.'
    """
    found: dict[str, str] = {}
    for node in sources(current(target)):
        own: list[ast.ClassDef | ast.FunctionDef] = [node]
        own += [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        for described in own:
            for name, text in _arguments(ast.get_docstring(described) or "").items():
                found.setdefault(name, text)
    return found


def _arguments(docstring: str) -> dict[str, str]:
    """Return the entries of the section `Args:` of a docstring in Google's style."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", docstring, re.M)
    if section is None:
        return {}
    body = inspect.cleandoc(section[1])
    entries = re.finditer(r"^(\w+)(?: \([^)]*\))?:(.*(?:\n[ ]+.*)*)", body, re.M)
    return {entry[1]: " ".join(entry[2].split()) for entry in entries}
