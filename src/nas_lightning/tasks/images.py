"""The images of a resumed run: the same ones, wherever they lie now."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_lightning.config.overriding import key_of, value_of
from nas_lightning.config.sections import MOVABLE, PLACES
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import exists, is_file, path_of
from nas_lightning.core.split_lists import COLUMNS, ListedImage, read_list
from nas_lightning.runs import layout, tables
from nas_lightning.searches.build import search_data
from nas_lightning.training.places import absolute, places_of, recorded
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

CHOOSING = "data.search_split"
"""The place that decides alone which images are read: a run without it would go on with others."""
TASKS_THAT_SEARCH = ("pipeline", "search", "select")
"""Tasks whose run folder keeps which images the search learnt from."""
Record = tuple[dict[str, Any], dict[str, Any]]
"""Places by dotted key, and the fingerprint."""


def checked_record(bench: Workbench) -> Record:
    """Return where the images of a run are, and their fingerprint, which must match one that is recorded.

    Raises:
        DataError: The images cannot be read.
        ConfigError: They are not those that the folder, or the other run that it uses, has recorded.
    """
    kept = recorded(bench.folder, bench.config.run)
    places = places_of(bench.config.to_dict(), bench.places)
    found = {**bench.data.fingerprint(), "files": file_hashes(places)}
    if not kept:
        return places, found
    other = bench.data.difference(kept["fingerprint"], found)
    key = next((key for key in ("data.path", "data.root", "data.data_dir") if key in places), "data")
    for name, content in kept["fingerprint"].get("files", {}).items():
        if not other and found["files"].get(name, content) != content:
            other, key = "the file has another content", name
    if other:
        at = f"{key}={places[key]}" if key in places else f"data={bench.data.name}"
        raise ConfigError(
            f"{at}: not the data of {bench.folder}: {other}; give the place of its own data,"
            f" {bench.folder.command()} {key if key in places else 'data.path'}=PLACE, or start a new run"
        )
    return places, found


def keep(bench: Workbench, record: Record) -> None:
    """Write the record into the run folder, unless it is there already, and the subsets of its search, if it has some.

    Raises:
        ConfigError: The folder lists other images for the search.
    """
    places, found = record
    _keep_split(bench)
    if bench.folder.data_record() != {"places": places, "fingerprint": found}:
        bench.folder.save_data_record(places, found)


def split_of(bench: Workbench) -> list[ListedImage]:
    """Return the images of the search, part by part, where it learns from subsets; none where it uses all data.

    Raises:
        DataError: They cannot be used, or cannot be split so.
    """
    return search_data(bench).chosen() if bench.config.task in TASKS_THAT_SEARCH else []


def _keep_split(bench: Workbench) -> None:
    chosen, path = split_of(bench), bench.folder.path / layout.SPLIT
    if not chosen:
        return
    if not path.exists():
        save_split(path, chosen)
    elif read_list(path, str(bench.folder)) != chosen:
        raise ConfigError(
            f"data={bench.data.name}: the search would learn from other images than those listed in {path}, since files"
            " were added, removed or renamed; restore them, or start a new run with"
            f" data.search_split={path}"
        )


@ranks.first_only
def save_split(path: Path, chosen: Sequence[ListedImage]) -> None:
    """Write a list of images atomically, see `core.split_lists`."""
    tables.write(path, [image._asdict() for image in chosen], COLUMNS)


def move(bench: Workbench, words: Sequence[str]) -> None:
    """Take images and tables from the places that overrides of a resume name, if they are the same ones.

    Raises:
        DataError: There are none.
        ConfigError: They are not those of the run, or its section `data` has no such key.
    """
    if not words:
        return
    given = {key_of(word): value_of(word, bench.config.to_dict()) for word in words}
    for word, key in zip(words, given, strict=False):
        section, _, name = key.partition(".")
        if name not in getattr(bench.config, section):
            have = [k for k in MOVABLE if k.partition(".")[2] in getattr(bench.config, k.partition(".")[0])]
            raise ConfigError(f"{word}: this run has no such key; allowed: {', '.join(have) or 'none'}")
        if key == CHOOSING and getattr(bench.config, section)[name] is None:
            raise ConfigError(
                f"{word}: this run has no such list, so it would read other images; allowed: null; resume without"
                f" {key}, or start a new run with it"
            )
        if key in PLACES and not (isinstance(given[key], str) and exists(path_of(given[key]))):
            raise ConfigError(f"{word}: there is no such file or folder; give the present place, {key}=PLACE")
    bench.places = {**bench.places, **{key: absolute(value) for key, value in given.items()}}
    checked_record(bench)


def recheck(bench: Workbench) -> None:
    """Check the images of a run that is resumed, where its folder has a fingerprint; else accept and note them.

    Raises:
        DataError: They are missing.
        ConfigError: They are not those of the run.
    """
    record = checked_record(bench)
    if not recorded(bench.folder, bench.config.run):
        _say_unknown(bench)
    keep(bench, record)


def _say_unknown(bench: Workbench) -> None:
    log.info("%s has no fingerprint of its images (an earlier version made it): they are accepted", bench.folder)


def file_hashes(places: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of the content of each file beside the images, by its dotted key."""
    names = [
        key
        for key in ("data.split_file", "data.search_split", "evaluation.path")
        if key in places and is_file(places[key])
    ]
    return {key: hashlib.blake2b(path_of(places[key]).read_bytes(), digest_size=8).hexdigest() for key in names}
