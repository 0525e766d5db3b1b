"""Files of the configuration tree as descriptions: their headers, and the keys that they set with their comments.

A header is the block of comments at the top of a file: a description in the first line, details, sources as
`# Paper: ADDRESS` and `# Code: ADDRESS`, and commands, a line each.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas_lightning.config.users_files import text_of
from nas_lightning.core.errors import ConfigError, in_one_line
from nas_lightning.core.paths import shown

COMMANDS = ("python ", "nas-lightning ", "mlflow ", "tensorboard ", "pip install ")
"""How a line of a header begins that is a command."""


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        description: The first line.
        details: The further lines, as one paragraph.
        papers: Addresses of the papers.
        code: Addresses of the released code.
        commands: Commands that use the file.
        package: Where the keys of the file stand in the configuration, as Hydra's `# @package` has it; None: as the
            group has it.
    """

    description: str
    details: str = ""
    papers: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    package: str | None = None


@dataclass(frozen=True)
class Setting:
    """A value in a file, with the comment on it, which may be empty."""

    value: Any
    comment: str


def files(group: str, roots: tuple[Path, ...]) -> dict[str, Path]:
    """Return the files of a group's options by their names; of two roots that have an option, the first counts.

    Names that begin with `_` are parts that options share, not options.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted((root / group).rglob("*.yaml")):
            below = path.relative_to(root / group)
            if not any(name.startswith("_") for name in below.parts):
                found.setdefault(below.with_suffix("").as_posix(), path)
    return found


def header(file: Path) -> Header:
    """Read the header of a file; the description of one without comments is its first line.

    Args:
        file: A YAML file, in any encoding.
    """
    lines = text_of(file).lstrip().splitlines() or [""]
    package = re.match(r"\s*#\s*@package\s+(\S+)", lines[0])
    if package:
        lines = lines[1:] or [""]
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").strip())
    words: dict[str, list[str]] = {"Paper": [], "Code": [], "commands": [], "text": []}
    for comment in comments:
        kind, _, address = comment.partition(": ")
        if kind in ("Paper", "Code"):
            words[kind].append(address.strip())
        else:
            words["commands" if comment.startswith(COMMANDS) else "text"].append(comment)
    text = words["text"] or [lines[0].strip()]
    return Header(
        text[0],
        " ".join(text[1:]).strip(),
        tuple(words["Paper"]),
        tuple(words["Code"]),
        tuple(words["commands"]),
        {"_global_": ""}.get(package[1], package[1]) if package else None,
    )


def _body(file: Path) -> tuple[list[Any], dict[str, Setting]]:
    try:
        return _parsed(file, file.stat().st_mtime_ns)  # a notebook may look again after the file was changed
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{shown(file)}: cannot be read as a configuration ({in_one_line(error)})") from error


@cache
def _parsed(file: Path, changed: int) -> tuple[list[Any], dict[str, Setting]]:
    text = text_of(file)
    values: Any = OmegaConf.to_container(OmegaConf.create(text))
    node = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        return [], {}
    defaults = values.pop("defaults", [])
    settings = dict(_settings(node, values, "", text.splitlines()))
    return defaults if isinstance(defaults, list) else [], settings


def defaults_of(file: Path) -> list[Any]:
    """Return the defaults list of a file, as it is written.

    Raises:
        ConfigError: The file cannot be read.
    """
    return _body(file)[0]


def settings_of(file: Path) -> Mapping[str, Setting]:
    """Return the values that a file sets, by their dotted keys within the file, in its order; lists are whole.

    Raises:
        ConfigError: The file cannot be read.
    """
    return _body(file)[1]


def _settings(
    node: yaml.MappingNode, values: Mapping[Any, Any], prefix: str, lines: list[str]
) -> Iterator[tuple[str, Setting]]:
    for key, inner in node.value:
        value = values.get(key.value)
        if isinstance(inner, yaml.MappingNode) and isinstance(value, dict) and value:
            yield from _settings(inner, value, f"{prefix}{key.value}.", lines)
        elif key.value in values:
            yield f"{prefix}{key.value}", Setting(value, _comment(key, inner, lines))


def _comment(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    """Return the comment behind a value, or that on the lines above it."""
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    mark = key.end_mark if block else value.end_mark
    behind = re.search(r"(?:^|\s)#(.*)", lines[mark.line][mark.column :]) if mark.line < len(lines) else None
    if behind:
        return behind[1].strip()
    above: list[str] = []
    number = key.start_mark.line - 1
    while number >= 0 and lines[number].startswith(key.start_mark.column * " " + "#"):
        above.insert(0, lines[number].strip().removeprefix("#").strip())
        number -= 1
    return " ".join(above) if number >= 0 else ""  # up to the top of the file it is the header
