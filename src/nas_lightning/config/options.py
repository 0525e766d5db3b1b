"""The options of every group as objects: what each is, what it sets, where it comes from, how to use it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from nas_lightning.config.compose import conf_dir, groups, no_such_option, user_folder
from nas_lightning.config.option_contents import Contents, combined_with, contents_of, meaning_of, section_of, word_of
from nas_lightning.config.option_files import files, header
from nas_lightning.config.words import quoted
from nas_lightning.core.columns import columns, wrapped
from nas_lightning.core.errors import ConfigError

GROUPS = {
    "method": "search methods: each chooses the parts of a search and their values",
    "space": "search spaces: the operations and edges that are searched",
    "data": "images",
    "task": "what a command does",
    "experiment": "tables and figures of the papers, and examples, with all their values",
    "evaluation": "how a genotype is judged: retraining recipes and tables",
    "relaxation": "how architecture parameters become mixing weights",
    "hypergradient": "how the gradient of the architecture parameters is estimated",
    "perturbation": "what is done to the mixing weights in the weight step",
    "regularizer": "what acts inside the supernet; a list, +regularizer=NAME adds one",
    "control": "what steers a search while it runs; a list, +control=NAME adds one",
    "selector": "how the genotype is derived from the supernet",
    "proposer": "what fills a pool of candidates; proposer@candidates.proposer=NAME",
    "objective": "loss and metric",
    "callbacks": "what watches a run; a list, +callbacks=NAME adds one",
    "logger": "where metrics are sent; a list, +logger=NAME adds one",
    "trainer": "devices",
    "protocol": "published sizes and epochs of a data set; follows data",
    "paper": "values of one paper that depend on the space, the data or other parts",
    "scale": "the size of an experiment",
    "analysis": "what task=analyse measures",
    "proxy": "scores of networks before training; of analysis=proxies a list, of a pool proxy@candidates.screen=NAME",
    "convert": "what task=convert reads and writes",
    "debug": "short runs that look for mistakes",
}
"""What each group offers, in the order in which they are shown."""
REPR_WIDTH = 110
"""Columns of a representation in Python."""
_LONGEST_VALUE = 120
"""A longer default is counted, not shown."""


TOGETHER = "Set where both are chosen, unless an experiment or the command sets them."
"""What the values are that an option has together with one of another group."""


@dataclass(frozen=True)
class Key:
    """A key that an option sets.

    Attributes:
        name: Dotted key in the configuration.
        default: Its value with this option.
        meaning: What it means, its allowed values, its unit; may be empty.
    """

    name: str
    default: Any
    meaning: str

    @property
    def word(self) -> str:
        """The default as an override, `KEY=VALUE`; a long one as `KEY=…`."""
        text = _text(self.default)
        return f"{self.name}={text if len(text) <= _LONGEST_VALUE else '…'}"


@dataclass(frozen=True, repr=False)
class Option:
    """One option of a group.

    Attributes:
        group: Its group.
        name: Its name.
        description: One line.
        details: The rest of its description.
        papers: Addresses of the papers that it is from.
        code: Addresses of the released code.
        examples: Commands.
    """

    group: str
    name: str
    description: str
    details: str
    papers: tuple[str, ...]
    code: tuple[str, ...]
    examples: tuple[str, ...]
    _file: Path = field(compare=False)
    _roots: tuple[Path, ...] = field(compare=False)

    @property
    def word(self) -> str:
        """The override that chooses it, such as `method=darts_pt` or `+regularizer=drop_path`."""
        return word_of(self.group, self.name)

    @property
    def target(self) -> str | None:
        """The class that it builds; None if it only sets values."""
        setting = self._contents.settings.get(f"{section_of(self.group, self.name)}._target_")
        return None if setting is None else str(setting.value)

    @property
    def parts(self) -> dict[str, str]:
        """The options of other groups that it chooses, as overrides, with their descriptions."""
        return self._contents.parts

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that it sets, with those of its parts.

        Raises:
            ConfigError: A file of it cannot be read.
        """
        return self._keys_of(self._contents)

    @property
    def combined(self) -> dict[str, tuple[Key, ...]]:
        """The keys that are set together with an option of another group, by the override that chooses that.

        Raises:
            ConfigError: A file of them cannot be read.
        """
        found = combined_with(self.group, self.name, self._roots)
        return {word: self._keys_of(contents) for word, contents in found.items()}

    def _keys_of(self, contents: Contents) -> tuple[Key, ...]:
        settings = self._contents.settings
        return tuple(
            Key(name, setting.value, setting.comment or self._comment(name) or meaning_of(name, settings))
            for name, setting in contents.settings.items()
            if name != self.group and not name.endswith("_target_")
        )

    def _comment(self, name: str) -> str:
        setting = self._contents.settings.get(name)
        return "" if setting is None else setting.comment

    @cached_property
    def _contents(self) -> Contents:
        return contents_of(self.group, self.name, self._file, self._roots)

    def text(self, width: int | None = REPR_WIDTH) -> str:
        """Return its description as text.

        Args:
            width: Columns to wrap at; keys and commands are never broken. None: nothing is wrapped.
        """
        lines = [self.word, *wrapped(self.description, width)]
        if self.details:
            lines += wrapped(self.details, width)
        lines += _block("chooses", columns(list(self.parts.items()), width))
        lines += _block("keys", _table(self.keys, width))
        for word, keys in self.combined.items():
            lines += _block(f"with {word}", [*wrapped(TOGETHER, width), *_table(keys, width)])
        sources = [("paper", address) for address in self.papers] + [("code", address) for address in self.code]
        if self.target is not None:
            sources.append(("class", self.target))
        lines += _block("sources", [f"  {kind:5}  {place}" for kind, place in sources])
        lines += _block("examples" if len(self.examples) > 1 else "example", [f"  {line}" for line in self.examples])
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()


class Options(dict[str, Option]):
    """The options of one group, by name.

    Attributes:
        group: Name of the group.
        description: What the group offers.
    """

    def __init__(self, group: str, options: Mapping[str, Option]) -> None:
        super().__init__(options)
        self.group = group
        self.description = GROUPS.get(group, "")

    def __missing__(self, name: str) -> Option:
        """Raise a ConfigError that names the nearest options."""
        raise no_such_option(self.group, name, list(self))

    def text(self, width: int | None = REPR_WIDTH) -> str:
        """Return a line for each option, wrapped at so many columns; names are never broken."""
        lines = wrapped(f"{self.group}: {self.description}" if self.description else self.group, width, indent=0)
        return "\n".join(lines + columns([(name, option.description) for name, option in self.items()], width))

    def __repr__(self) -> str:
        return self.text()


class Groups(dict[str, Options]):
    """All groups with their options, by name, methods first."""

    def __missing__(self, name: str) -> Options:
        """Raise a ConfigError that names the nearest groups, or the groups that have such an option."""
        near = [f"{group}={name}" for group, options in self.items() if name in options]
        near = near or difflib.get_close_matches(name, self, n=3, cutoff=0.5)
        nearest = f"nearest: {', '.join(near)}; " if near else ""
        raise ConfigError(f"{name}: no such group; {nearest}groups: {', '.join(self)}")

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.values()))


@overload
def list_options(group: None = None, config_dir: str | Path | None = None) -> Groups: ...
@overload
def list_options(group: str, config_dir: str | Path | None = None) -> Options: ...
def list_options(group: str | None = None, config_dir: str | Path | None = None) -> Groups | Options:
    """Return what can be chosen, as `task=list` shows it.

    Args:
        group: A group such as "method"; None: all groups.
        config_dir: Folder with configurations of your own, as for `--config-dir`.

    Returns:
        The options of the group by name, or all groups by name. Each prints as a description.

    Raises:
        ConfigError: There is no such group or folder.

    >>> list_options("method")["darts_pt"].papers
    ('https://arxiv.org/abs/2108.04392',)
    """
    roots = (conf_dir(), *((user_folder(config_dir),) if config_dir is not None else ()))
    names = sorted(groups(), key=lambda name: list(GROUPS).index(name) if name in GROUPS else len(GROUPS))
    found = Groups()
    for name in names:
        options = {option: _option(name, option, file, roots) for option, file in files(name, roots).items()}
        if options:
            found[name] = Options(name, options)
    return found if group is None else found[group]


def _option(group: str, name: str, file: Path, roots: tuple[Path, ...]) -> Option:
    head = header(file)
    examples = head.commands or (f"python run.py {word_of(group, name)}",)
    return Option(group, name, head.description, head.details, head.papers, head.code, examples, file, roots)


def _block(title: str, lines: list[str]) -> list[str]:
    return ["", title, *lines] if lines else []


def _table(keys: Sequence[Key], width: int | None) -> list[str]:
    return columns([(key.word, key.meaning) for key in keys], width)


def _text(value: Any) -> str:
    """Return a value as it is written in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {_text(inner)}' for key, inner in value.items())}}}"
    text = str(value)
    return text if not isinstance(value, str) or re.fullmatch(r"[\w./*:+-]+", text) else quoted(text)
