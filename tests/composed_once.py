"""Compose each choice of options once: compositions, thousands here, differ in their values more than in their options.

Of a composition, the words are parsed, the files read, their defaults followed and their contents merged once for each
choice of options; values are set, and mistakes found, anew. What is kept is of the files as they are: it is forgotten
when one of them, or what is in a folder of them, has changed.
"""

import copy
import functools
import os
import pickle
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins


class Kept:
    """Results by key; each look-up makes a copy, because Hydra sets values in what it is given."""

    def __init__(self) -> None:
        self.results: dict[Hashable, bytes] = {}

    def of(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of that key, made if there is none yet; what cannot be made raises each time."""
        if key not in self.results:
            self.results[key] = pickle.dumps(make())  # a third of the time of `copy.deepcopy`
        return pickle.loads(self.results[key])


def compose_choices_once() -> None:
    """Let Hydra copy what it has composed before, in this process."""
    Plugins.instance()  # imports the kinds of sources anew: what is changed in them before is lost
    _read_files_once()
    _parse_words_once()
    _follow_defaults_once()
    _share_the_sources()


def _read_files_once() -> None:
    kind: Any = SourcesRegistry.instance().types["file"]
    read, kept = kind.load_config, Kept()

    @functools.wraps(read)
    def load(self: Any, config_path: str) -> Any:
        try:
            found = os.stat(os.path.join(self.path, self._normalize_file_name(config_path)))  # noqa: PTH116, PTH118
        except OSError:
            return read(self, config_path)
        key = (self.provider, self.path, config_path, found.st_ino, found.st_mtime_ns, found.st_size)
        return kept.of(key, lambda: read(self, config_path))

    kind.load_config = load


def _parse_words_once() -> None:
    parse, kept = OverridesParser.parse_rule, Kept()

    @functools.wraps(parse)
    def parsed(self: OverridesParser, s: str, rule_name: str) -> Any:
        return kept.of((s, rule_name), lambda: parse(self, s, rule_name))

    OverridesParser.parse_rule = parsed


def _follow_defaults_once() -> None:
    follow: Callable[..., DefaultsList] = config_loader_impl.create_defaults_list
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    followed: dict[Hashable, DefaultsList] = {}
    keys: dict[int, Hashable] = {}  # by the identity of a list of defaults that is kept in `followed`
    merged = Kept()

    @functools.wraps(follow)
    def defaults(repo: Any, config_name: Any, overrides_list: Any, **settings: Any) -> DefaultsList:
        given = Overrides(repo, overrides_list)
        values = {id(word) for word in given.config_overrides}
        words = tuple(word.input_line for word in overrides_list if id(word) not in values)
        key = (config_name, words, tuple(settings.items()), *(_state(source) for source in repo.get_sources()))
        if key not in followed:
            followed[key] = follow(repo, config_name, overrides_list, **settings)
            keys[id(followed[key].defaults)] = key
        found = followed[key]
        return DefaultsList(found.defaults, found.defaults_tree, given.config_overrides, found.overrides)

    @functools.wraps(merge)
    def composed(self: ConfigLoaderImpl, defaults: Any, repo: Any) -> Any:
        if id(defaults) not in keys:
            return merge(self, defaults, repo)
        return merged.of(keys[id(defaults)], lambda: merge(self, defaults, repo))

    config_loader_impl.create_defaults_list = defaults
    ConfigLoaderImpl._compose_config_from_defaults_list = composed


def _share_the_sources() -> None:
    """Hydra copies where it reads, with each configuration of each plugin, to change the list of places alone."""

    def begin(self: CachingConfigRepository, delegate: IConfigRepository) -> None:
        self.delegate = copy.copy(delegate)  # its list is replaced, never changed, and what is read is a copy
        self.cache = {}

    CachingConfigRepository.__init__ = begin  # type: ignore[method-assign]


def _state(source: Any) -> Hashable:
    """Where a source is and, of its files and folders, when each was last changed; packages do not change."""
    return source.provider, source.path, *(_times(source.path) if source.scheme() == "file" else ())


def _times(folder: str) -> Iterator[tuple[str, int, int, int]]:
    for entry in os.scandir(folder):
        found = entry.stat()
        yield entry.path, found.st_ino, found.st_mtime_ns, found.st_size
        if entry.is_dir():
            yield from _times(entry.path)
