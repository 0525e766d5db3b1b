"""What one option sets and chooses, with its parts: read from the files, in Hydra's order, without composing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_lightning.config.compose import conf_dir
from nas_lightning.config.docstrings import meanings
from nas_lightning.config.option_files import Header, Setting, defaults_of, files, header, settings_of
from nas_lightning.config.schema import PLACES_OF_LISTS, RootConfig

PLACES = {"proposer": "candidates.proposer"}
"""Places of groups whose options stand within another section."""


def word_of(group: str, name: str) -> str:
    """Return the override that chooses an option.

    >>> word_of("method", "darts"), word_of("regularizer", "cutout")
    ('method=darts', '+regularizer=cutout')
    """
    at = f"@{PLACES[group]}" if group in PLACES else ""
    return f"{'+' if group in PLACES_OF_LISTS else ''}{group}{at}={name}"


def section_of(group: str, name: str) -> str:
    """Return the place of an option's keys in the configuration, unless its file has another."""
    return f"{PLACES_OF_LISTS[group]}.{name}" if group in PLACES_OF_LISTS else PLACES.get(group, group)


@dataclass(frozen=True)
class Contents:
    """What an option sets and chooses.

    Attributes:
        settings: Values by their dotted keys in the configuration, those of its parts, too.
        parts: Overrides for the options of other groups that it chooses, with their descriptions.
    """

    settings: dict[str, Setting]
    parts: dict[str, str]


def contents_of(group: str, name: str, file: Path, roots: tuple[Path, ...]) -> Contents:
    """Read what an option sets and chooses.

    Args:
        group: Its group.
        name: Its name.
        file: Its file.
        roots: Folders of configurations; of two files of a name the first counts.

    Raises:
        ConfigError: A file cannot be read.
    """
    found = Contents({}, {})
    package = header(file).package
    _collect(found, file, group, section_of(group, name) if package is None else package, roots)
    return found


def combined_with(group: str, name: str, roots: tuple[Path, ...]) -> dict[str, Contents]:
    """Read what is set together with an option of another group: the files of `conf/when/GROUP_OTHER`.

    Args:
        group: A group.
        name: One of its options.
        roots: Folders of configurations.

    Returns:
        By the override that chooses the other option.

    Raises:
        ConfigError: A file cannot be read.
    """
    found = {}
    for table in sorted(path.name for path in (conf_dir() / "when").iterdir()):
        first, _, other = table.partition("_")
        if first == group:
            tabled = files(f"when/{table}", roots)
            for option, part in files(other, roots).items():
                file = tabled.get(f"{name}_{option}")
                if file is not None:
                    contents = contents_of(f"when/{table}", file.stem, file, roots)
                    described = contents_of(other, option, part, roots).settings  # of what most of the keys are
                    for key, setting in contents.settings.items():
                        if not setting.comment and key in described:
                            contents.settings[key] = Setting(setting.value, described[key].comment)
                    found[word_of(other, option)] = contents
    return found


def _collect(found: Contents, file: Path, folder: str, package: str, roots: tuple[Path, ...]) -> None:
    """Add what a file sets and chooses, in Hydra's order: the entries of its defaults list, itself at `_self_`.

    Args:
        found: What files before it set and choose.
        file: The file.
        folder: Folder that its relative entries start from.
        package: Where its keys stand.
        roots: Folders of configurations.
    """
    entries = defaults_of(file)
    for entry in entries if "_self_" in entries else [*entries, "_self_"]:
        if entry == "_self_":
            for key, setting in settings_of(file).items():
                name = f"{package}.{key}" if package else key
                before = found.settings.get(name)
                comment = setting.comment or (before.comment if before else "")
                found.settings[name] = Setting(setting.value, comment)
        elif isinstance(entry, str):
            # A file of the same group, which stands where this one does, unless its header has another place.
            entry = entry.removesuffix("@_here_")  # of a group below, in the place of this one
            path = entry.removeprefix("/") if entry.startswith("/") else f"{folder}/{entry}"
            inner, _, name = path.rpartition("/")
            _include(found, inner, name, "", roots, package)
        else:
            for group, given, name, is_override in _choices(entry):
                place = f"{package}.{given}" if given and package else given  # Hydra's are relative, too
                # The file of an override is loaded where the group was chosen first: it is no part of this option.
                head = None if is_override else _include(found, group, name, place, roots)
                head = head or _header_of(group, name, roots)
                if head is not None and not group.startswith("hydra"):
                    at = f"@{place}" if place and place != section_of(group, name) else ""
                    word = f"{group}{at}={name}" if at else word_of(group, name)
                    found.parts[word] = head.description


def _choices(entry: Any) -> Iterator[tuple[str, str, str, bool]]:
    """Yield the choices of an entry `[override] /GROUP: OPTION`: group, place or "", option, True for override."""
    for key, names in entry.items() if isinstance(entry, Mapping) else ():
        *flags, group = str(key).split()
        group, _, place = group.removeprefix("/").partition("@")
        for name in names if isinstance(names, list) else [names]:
            if isinstance(name, str) and "${" not in name:
                yield group, place, name, "override" in flags


def _file_of(group: str, name: str, roots: tuple[Path, ...]) -> Path | None:
    return next((file for root in roots if (file := root / group / f"{name}.yaml").is_file()), None)


def _header_of(group: str, name: str, roots: tuple[Path, ...]) -> Header | None:
    file = _file_of(group, name, roots)
    return None if file is None else header(file)


def _include(
    found: Contents, group: str, name: str, place: str, roots: tuple[Path, ...], parent: str | None = None
) -> Header | None:
    """Add what another file sets and chooses; return its header, or None where there is no such file.

    Its keys stand where the defaults list has it (`place`), else where its header has it, else with those of the file
    of the same group that names it (`parent`), else where its group has it.
    """
    file = _file_of(group, name, roots)
    if file is None:
        return None
    head = header(file)
    own = head.package if head.package is not None else parent
    package = place or (section_of(group, name) if own is None else own)
    _collect(found, file, group, package, roots)
    return head


def meaning_of(name: str, settings: Mapping[str, Setting]) -> str:
    """Return what a key without a comment means: by config.yaml, by the schema, or by the class that takes it."""
    general = settings_of(conf_dir() / "config.yaml").get(name)
    if general is not None and general.comment:
        return general.comment
    section, _, last = name.rpartition(".")
    target = settings.get(f"{section}._target_")
    return _described_in_schema(name) or (meanings(str(target.value)).get(last, "") if target else "")


def _described_in_schema(name: str) -> str:
    model: Any = RootConfig
    description = ""
    for part in name.split("."):
        info = getattr(model, "model_fields", {}).get(part)
        if info is None:
            return ""
        model, description = info.annotation, info.description or ""
    return description
