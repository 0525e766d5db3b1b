"""Composition of a validated configuration from overrides, with Hydra; every mistake becomes one line."""

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas_lightning.config.further import with_methods
from nas_lightning.config.kinds import with_data
from nas_lightning.config.option_files import files, header
from nas_lightning.config.replaced import without_leftovers
from nas_lightning.config.schema import PART_LISTS, PLACES_OF_LISTS, RootConfig, validate
from nas_lightning.config.secrets import refuse_secrets
from nas_lightning.config.users_files import HEADER, folders_of, problem_of_chosen, text_of
from nas_lightning.config.words import as_typed, parses, problem_of, quoted
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import is_directory, path_of, shown


def conf_dir() -> Path:
    """Return the folder of the configuration tree: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


PLUGINS = {
    "hydra/launcher": {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"},
    "hydra/sweeper": {"optuna": "optuna"},
}
"""Options of Hydra's plugins, and the extra of this package that installs each."""


def rewrite(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[str]:
    """Translate our shorthands into overrides that plain Hydra understands.

    `trainer.X=…` passes every Trainer argument, also those that YAML does not list, and `sweep_limit.KEY=…` any key;
    `+callbacks=mine` adds a named part to a list (`callbacks`, `regularizer`, `control`, `logger`) without dropping the
    others; a value needs no quotes beyond the shell's (`as_typed`); a plugin of Hydra comes with our values for it (a
    file of ours by the plugin's own name would not do: Hydra takes the plugin's for its schema, and warns or refuses);
    a space that reads no images comes with built-in data of its kind (`kinds.with_data`).

    >>> rewrite(["trainer.max_steps=3", "+callbacks=mine", "seed=1"])
    ['++trainer.max_steps=3', '+callbacks@callbacks.mine=mine', 'seed=1']
    >>> rewrite(["hydra/launcher=joblib"])
    ['hydra/launcher=joblib', 'hydra/launcher/values@hydra.launcher=joblib']
    """
    refuse_secrets(overrides)
    rewritten = []
    for override in overrides:
        if override == "+logger=csv":  # metrics.csv is written in any case
            continue
        if override.startswith(("trainer.", "sweep_limit")):
            override = f"++{override}"
        if override.startswith("genotype=|"):
            override = f"genotype='{override.partition('=')[2]}'"
        override = as_typed(override)
        added = re.fullmatch(rf"\+({'|'.join(PLACES_OF_LISTS)})=([A-Za-z0-9_]+)", override)
        if added:
            group, name = added.groups()
            override = f"+{group}@{PLACES_OF_LISTS[group]}.{name}={name}"
        rewritten.append(override)
        group, _, name = override.partition("=")
        if name in PLUGINS.get(group, {}):
            rewritten.append(f"{group}/values@{group.replace('/', '.')}={name}")
    own = [] if config_dir is None else [path_of(config_dir)]
    return with_data(rewritten, (*own, *folders_of(rewritten), conf_dir()))


KEYS_OF_TASKS = {
    "select": (
        *("task", "run", "epoch", "selector", "trainer", "logger", "tags", "trusted", "sweep", "skip_finished"),
        *("graph", "hydra"),
    ),
    "analyse": (
        *("task", "run", "runs", "epoch", "analysis", "trainer", "trusted", "sweep", "skip_finished"),
        *("graph", "hydra"),
    ),
    "landscape": (
        *("task", "run", "runs", "epoch", "landscape", "trainer", "trusted", "sweep", "skip_finished"),
        *("graph", "hydra"),
    ),
    "export": ("task", "run", "export", "trusted", "sweep", "skip_finished", "hydra"),
    "predict": ("task", "run", "images", "predict", "trainer", "trusted", "sweep", "skip_finished", "hydra"),
}
"""Keys that may be given to a task on another run; everything else comes from that run's configuration."""


def check_overrides_of_another_run(overrides: Sequence[str]) -> None:
    """Refuse overrides that a task on another run would ignore.

    Raises:
        ConfigError: There is such an override.
    """
    for task, allowed in KEYS_OF_TASKS.items():
        if f"task={task}" not in overrides:
            continue
        for override in overrides:
            key = re.split(r"[.=@]", override.lstrip("+~"))[0]
            if key not in allowed:
                raise ConfigError(
                    f"{override}: task={task} uses the configuration of its run; allowed: {', '.join(allowed)}"
                )


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """Compose and validate a configuration, as the command line would.

    Args:
        overrides: As on the command line, for instance `["method=darts", "space=s2", "seed=3"]`.
        config_dir: Folder with configurations of your own, like `--config-dir`.

    Returns:
        The resolved configuration.

    Raises:
        ConfigError: A key or option does not exist, or a value has the wrong type or is out of range.
    """
    return OmegaConf.create(checked(overrides, config_dir).to_dict())


def checked(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RootConfig:
    """Compose a configuration and return it typed.

    Raises:
        ConfigError: As `compose`.
    """
    overrides = rewrite(overrides, config_dir)
    if config_dir is not None:
        overrides = [*overrides, search_path(config_dir)]
    try:
        with hydra_opened(), one_line_errors(overrides):
            plain = _with_methods(as_dict(hydra.compose("config", overrides=overrides)), overrides)
            return validate(plain).composed_from(overrides)
    except ConfigError as error:
        # Hydra does not report the form of a file: it reads the keys at another place, or no text at all.
        problem = problem_of_chosen(overrides, folders_of(overrides), global_groups())
        if problem is None:
            raise
        raise ConfigError(problem) from error


def completed(config: DictConfig) -> dict[str, Any]:
    """Return the configuration of the running Hydra job with its further methods.

    Raises:
        ConfigError: A further method cannot be composed on the terms of the run.
    """
    given = HydraConfig.get().overrides
    overrides = [*given.task, *(word for word in given.hydra if word.startswith("hydra.searchpath="))]
    with hydra_opened(), one_line_errors(overrides):
        return _with_methods(as_dict(config), overrides)


def _with_methods(plain: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a configuration with its further methods; Hydra's compose context is open."""

    def as_given(words: Sequence[str]) -> dict[str, Any]:
        with one_line_errors(words):
            return as_dict(hydra.compose("config", overrides=list(words)))

    def composed(words: Sequence[str]) -> dict[str, Any]:
        return without_leftovers(as_given(words), words, as_given)

    plain = without_leftovers(plain, overrides, as_given)
    if not plain.get("methods"):
        return plain
    whole = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    return with_methods(plain, overrides, whole.hydra.runtime.choices.get("space"), composed)


def hydra_settings(overrides: Sequence[str]) -> DictConfig:
    """Return Hydra's own node of a configuration: where and how jobs run.

    Raises:
        ConfigError: A key or option does not exist.
    """
    with hydra_opened(), one_line_errors(overrides):
        settings = hydra.compose("config", overrides=list(overrides), return_hydra_config=True).hydra
        settings.sweep.dir = str(
            settings.sweep.dir
        )  # resolved here, while it is attached to the rest of the configuration
        return settings


@contextlib.contextmanager
def one_line_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Raise the errors of Hydra and OmegaConf within the block as a ConfigError of one line."""
    try:
        yield
    except ConfigError:
        raise
    except (HydraException, OmegaConfBaseException, TypeError, ValueError, yaml.YAMLError) as error:
        raise as_config_error(error, overrides) from error


def as_dict(config: DictConfig) -> dict[str, Any]:
    """Return plain dictionaries and lists with interpolations resolved, without Hydra's own node.

    Raises:
        ConfigError: A required value is missing.
    """
    own = config
    if "hydra" in config:  # a copy takes longer than all that follows
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise as_config_error(error, ()) from error
    return plain


def user_folder(config_dir: str | Path) -> Path:
    """Return the folder of the user's configurations.

    Raises:
        ConfigError: There is no such folder.
    """
    if not is_directory(path_of(config_dir)):
        raise ConfigError(f"--config-dir={shown(config_dir)}: no such folder; give one with experiment/NAME.yaml, …")
    folder = path_of(config_dir).resolve()
    for table in sorted(path.name for path in (conf_dir() / "when").iterdir()):
        if (folder / table).is_dir():  # Hydra would ignore the former place without a word
            raise ConfigError(f"--config-dir={config_dir}: {table} is read from when/{table}; move the folder there")
    return folder


def search_path(config_dir: str | Path) -> str:
    """Return the override that adds a folder of the user's configurations.

    Raises:
        ConfigError: There is no such folder.
    """
    return f"hydra.searchpath=[{quoted(f'file://{user_folder(config_dir)}')}]"


def options(group: str, config_dir: str | Path | None = None) -> dict[str, str]:
    """Return the options of a group, each with the first line of its file as its description."""
    roots = filter(None, (conf_dir(), Path(config_dir) if config_dir else None))
    return {name: header(file).description for name, file in files(group, tuple(roots)).items()}


def groups() -> list[str]:
    """Return the names of the groups that users choose from, in alphabetical order.

    Left out are Hydra's own, and `when`, whose files are chosen by other choices.
    """
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in ("hydra", "when"))


def global_groups() -> list[str]:
    """Return the groups whose files all hold keys of the whole configuration: they begin with `HEADER`."""
    return [
        group
        for group in groups()
        if all(text_of(file).startswith(HEADER) for file in (conf_dir() / group).rglob("*.yaml"))
    ]


@contextlib.contextmanager
def hydra_opened() -> Iterator[None]:
    """Open Hydra's compose context, also inside a running Hydra job, whose own state is restored afterwards."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().clear()
        GlobalHydra.instance().hydra = outer


def as_config_error(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Return an error of Hydra or OmegaConf as one line with the override that fixes it.

    Their errors carry no data, so the kind of mistake is recognised by the text.
    """
    text = " ".join(str(error).split())
    unread = next((word for word in overrides if not parses(word)), None)
    if unread is not None:
        return ConfigError(problem_of(unread))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, name = _as_given(str(error.missing_cfg_file), overrides)
        return _no_such_option(group, name, sorted({*options(group), *error.options}))
    chosen = re.search(r"Could not (?:find|load) '([\w/]+)/([^']+)'", text)
    if chosen:
        group, name = _as_given("/".join(chosen.groups()), overrides)
        return _no_such_option(group, name, list(options(group)))
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        if key in groups() or (key.startswith("hydra/") and (conf_dir() / key).is_dir()):
            name = next((o.partition("=")[2] for o in overrides if o.lstrip("+~").startswith(f"{key}=")), "")
            return _no_such_option(key, name, list(options(key)))
        given = next((o for o in overrides if o.lstrip("+~").startswith(key)), key)
        known = _suggestable_keys(key, overrides)
        group = key.partition(".")[0]
        chosen_part = next((word for word in overrides if word.startswith(f"{group}=")), None)
        if key in known and chosen_part is not None:  # the default of the group has it, the chosen option does not
            return ConfigError(f"{given}: there is no such key with {chosen_part}; leave one of them out")
        known = [name for name in known if name != key]
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "task=list shows the options, --cfg job all keys"
        return ConfigError(f"{given}: there is no such key; {hint}")
    duplicate = re.search(r"\w+@(\w+(?:\.\w+)+) appears more than once", text)
    if duplicate:
        return ConfigError(
            f"{duplicate.group(1)} is in the list already; change its values: {duplicate.group(1)}.KEY=VALUE"
        )
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return ConfigError(f"{missing.group(1)} has no value; give it on the command line: {missing.group(1)}=VALUE")
    full_key = getattr(error, "full_key", None)
    return ConfigError(f"{full_key}: {text}" if full_key and full_key not in text else text)


def _as_given(path: str, overrides: Sequence[str]) -> tuple[str, str]:
    """Return group and option of a file as the override names them.

    Hydra splits `experiment=PAPER/TABLE` into the group `experiment/PAPER` and the option `TABLE`.
    """
    for override in overrides:
        group, _, name = override.lstrip("+").partition("=")
        if path == f"{group}/{name}":
            return group, name
    group, _, name = path.rpartition("/")
    return group, name


def _no_such_option(group: str, name: str, allowed: Sequence[str]) -> ConfigError:
    """Return the error for a choice that cannot be made, with its reason where there is a special one."""
    if group == "protocol":  # chosen by the name of the data
        return ConfigError(
            f"data={name} has no protocol/{name}.yaml with its epochs and sizes; take another's: protocol=arrays"
        )
    if group in PART_LISTS and not allowed:
        return ConfigError(
            f"{group}={name}: there are none of this kind yet; add your own,"
            f" +{group}.{name}._target_=PACKAGE.CLASS, or --config-dir FOLDER with {group}/{name}.yaml"
        )
    if name in PLUGINS.get(group, {}):
        return ConfigError(
            f"{group}={name}: needs a plugin of Hydra that is not installed; pip install"
            f" 'nas-lightning[{PLUGINS[group][name]}]'"
        )
    return no_such_option(group, name, allowed)


def no_such_option(group: str, name: str, allowed: Sequence[str]) -> ConfigError:
    """Return the error for a name that is no option of a group: the nearest options, then all."""
    own = f", or your own, +{group}.{name}._target_=PACKAGE.CLASS" if group in PART_LISTS else ""
    siblings = [option for option in allowed if "/" in name and option.startswith(name.partition("/")[0] + "/")]
    near = difflib.get_close_matches(name, siblings or allowed, n=3, cutoff=0.3)
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    # A folder of options is abbreviated to FOLDER/…, unless one of its options is meant.
    listed = siblings or {f"{option.partition('/')[0]}/…" if "/" in option else option for option in allowed}
    return ConfigError(f"{group}={name}: no such option; {nearest}allowed: {', '.join(sorted(listed))}{own}")


def known_keys(overrides: Sequence[str] = ()) -> list[str]:
    """Return the dotted keys of the default configuration, or of the one under these overrides, and the groups."""
    keys: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            keys.append(prefix + key)
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    with hydra_opened():
        walk(as_dict(hydra.compose("config", overrides=list(overrides))), "")
    return list(dict.fromkeys([*keys, *groups()]))


def _suggestable_keys(key: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys to suggest for a wrong one: in Hydra's own sections its siblings, elsewhere all keys."""
    section, _, _ = key.rpartition(".")
    if not key.startswith("hydra."):
        return known_keys([word for word in overrides if word.startswith("task=")])
    others = [word for word in overrides if not word.lstrip("+~").startswith(f"{key}=")]
    node = OmegaConf.select(OmegaConf.create({"hydra": hydra_settings(others)}), section)
    return [f"{section}.{name!s}" for name in node] if isinstance(node, DictConfig) else []
