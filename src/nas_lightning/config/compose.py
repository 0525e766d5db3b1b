"""From the command line to a validated configuration, with Hydra; every mistake becomes one line."""

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas_lightning.config.schema import PART_LISTS, RootConfig, validate
from nas_lightning.config.secrets import refuse_secrets
from nas_lightning.core.errors import ConfigError


def conf_dir() -> Path:
    """The configuration tree: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


PLUGINS = {
    "hydra/launcher": {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"},
    "hydra/sweeper": {"optuna": "optuna"},
}
"""Options that come with Hydra's plugins, and the extra of this package that installs each."""


def rewrite(overrides: Sequence[str]) -> list[str]:
    """Conveniences that plain Hydra does not have.

    `trainer.X=…` passes every Trainer argument, also those that YAML does not list, and `sweep_limit.KEY=…` any key;
    `+callbacks=mine` adds a named part to a list (`callbacks`, `regularizer`, `control`, `logger`) without dropping the
    others; a NAS-Bench-201 string needs no quotes beyond the shell's; a plugin of Hydra comes with our values for it (a
    file of ours by the plugin's own name would not do: Hydra takes the plugin's for its schema, and warns or refuses).

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
        added = re.fullmatch(rf"\+({'|'.join(PART_LISTS)})=([A-Za-z0-9_]+)", override)
        if added:
            group, name = added.groups()
            override = f"+{group}@{group}.{name}={name}"
        rewritten.append(override)
        group, _, name = override.partition("=")
        if name in PLUGINS.get(group, {}):
            rewritten.append(f"{group}/values@{group.replace('/', '.')}={name}")
    return rewritten


KEYS_OF_TASKS = {
    "select": (
        *("task", "run", "epoch", "selector", "trainer", "logger", "tags", "trusted", "sweep", "skip_finished"),
        "hydra",
    ),
    "analyse": ("task", "run", "runs", "epoch", "analysis", "trainer", "trusted", "sweep", "skip_finished", "hydra"),
    "landscape": ("task", "run", "runs", "epoch", "landscape", "trainer", "trusted", "sweep", "skip_finished", "hydra"),
    "export": ("task", "run", "export", "trusted", "sweep", "skip_finished", "hydra"),
    "predict": ("task", "run", "images", "predict", "trainer", "trusted", "sweep", "skip_finished", "hydra"),
}
"""What may be said to a task that looks at another run: everything else is what that run was made with."""


def check_overrides_of_another_run(overrides: Sequence[str]) -> None:
    """Refuse what a task that looks at another run would not listen to.

    Raises:
        ConfigError: Such an override.
    """
    for task, allowed in KEYS_OF_TASKS.items():
        if f"task={task}" not in overrides:
            continue
        for override in overrides:
            key = re.split(r"[.=@]", override.lstrip("+~"))[0]
            if key not in allowed:
                raise ConfigError(
                    f"{override}: task={task} keeps the configuration of the run that it looks at; only"
                    f" {', '.join(allowed)} may be given"
                )


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """Compose and validate a configuration, as the command line would.

    Args:
        overrides: As on the command line, for instance `["method=darts", "space=s2", "seed=3"]`.
        config_dir: A folder with further configurations of one's own, like `--config-dir`.

    Returns:
        The resolved configuration.

    Raises:
        ConfigError: Anything that does not exist, has the wrong type or is out of range.
    """
    return OmegaConf.create(checked(overrides, config_dir).to_dict())


def checked(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RootConfig:
    """Compose a configuration and return it typed.

    Raises:
        ConfigError: As `compose`.
    """
    overrides = rewrite(overrides)
    if config_dir is not None:
        overrides = [*overrides, search_path(config_dir)]
    with _hydra(), explaining(overrides):
        return validate(as_dict(hydra.compose("config", overrides=overrides)))


def hydra_settings(overrides: Sequence[str]) -> DictConfig:
    """Hydra's own node of a configuration: where and how jobs run.

    Raises:
        ConfigError: Anything that does not exist.
    """
    with _hydra(), explaining(overrides):
        settings = hydra.compose("config", overrides=list(overrides), return_hydra_config=True).hydra
        settings.sweep.dir = str(settings.sweep.dir)  # resolved here, where the rest of the configuration is at hand
        return settings


@contextlib.contextmanager
def explaining(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra's and OmegaConf's errors become one line."""
    try:
        yield
    except ConfigError:
        raise
    except (HydraException, OmegaConfBaseException, TypeError, ValueError, yaml.YAMLError) as error:
        raise explained(error, overrides) from error


def as_dict(config: DictConfig) -> dict[str, Any]:
    """Plain dictionaries and lists with interpolations resolved, without Hydra's own node.

    Raises:
        ConfigError: A required value is missing.
    """
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise explained(error, ()) from error
    return plain


def search_path(config_dir: str | Path) -> str:
    """The override that adds a folder of the user's configurations.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = Path(config_dir).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir={config_dir}: no such folder")
    for table in ("method_data", "method_scale", "paper_data", "space_data"):
        if (folder / table).is_dir():  # Hydra would ignore the old place in silence
            raise ConfigError(f"--config-dir={config_dir}: {table} is read from when/{table}; move the folder there")
    return f"hydra.searchpath=['file://{folder}']"


def options(group: str, config_dir: str | Path | None = None) -> dict[str, str]:
    """The options of a group and what each is, from the first line of its file.

    Names that begin with `_` are parts that options share, not options.
    """
    found: dict[str, str] = {}
    for root in filter(None, (conf_dir(), Path(config_dir) if config_dir else None)):
        for path in sorted((root / group).rglob("*.yaml")):
            if any(name.startswith("_") for name in path.relative_to(root / group).parts):
                continue
            first = path.read_text().splitlines()[0] if path.stat().st_size else ""
            if first.startswith("# @package"):
                first = next((line for line in path.read_text().splitlines()[1:] if line.startswith("#")), "")
            found[str(path.relative_to(root / group).with_suffix(""))] = first.removeprefix("#").strip()
    return found


def groups() -> list[str]:
    """Names of the groups that users choose from, in alphabetical order.

    Left out: Hydra's own, and `when`, whose files are found by what else is chosen.
    """
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in ("hydra", "when"))


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Hydra's compose context, also inside a running Hydra job, whose own state is put back."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().clear()
        GlobalHydra.instance().hydra = outer


def explained(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Hydra's and OmegaConf's errors in one line that says what to write instead."""
    text = " ".join(str(error).split())
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
        near = difflib.get_close_matches(key, _keys_beside(key, overrides), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`task=list` shows what there is"
        return ConfigError(f"{given}: there is no such key; {hint}")
    twice = re.search(r"\w+@(\w+\.\w+) appears more than once", text)
    if twice:
        return ConfigError(f"{twice.group(1)} is in the list already; change its values: {twice.group(1)}.KEY=VALUE")
    grammar = re.match(r"(no viable alternative|mismatched|extraneous|token recognition|missing)", text)
    if grammar:
        given = next((o for o in overrides if not _parses(o)), "")
        return ConfigError(f"{given}: cannot be read; a bracket or quote may be missing: 'KEY=[a,b]', KEY=range(0,3)")
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return ConfigError(f"{missing.group(1)} has no value; give it on the command line: {missing.group(1)}=VALUE")
    full_key = getattr(error, "full_key", None)
    return ConfigError(f"{full_key}: {text}" if full_key and full_key not in text else text)


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _as_given(path: str, overrides: Sequence[str]) -> tuple[str, str]:
    """Group and option of a file by the words that chose it: `experiment=PAPER/TABLE`, which Hydra splits elsewhere."""
    for override in overrides:
        group, _, name = override.lstrip("+").partition("=")
        if path == f"{group}/{name}":
            return group, name
    group, _, name = path.rpartition("/")
    return group, name


def _no_such_option(group: str, name: str, allowed: Sequence[str]) -> ConfigError:
    """Words for an option that does not exist: the nearest ones, then all."""
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
    own = f", or your own, +{group}.{name}._target_=PACKAGE.CLASS" if group in PART_LISTS else ""
    beside = [option for option in allowed if "/" in name and option.startswith(name.partition("/")[0] + "/")]
    near = difflib.get_close_matches(name, beside or allowed, n=3, cutoff=0.3)
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    # Of a folder only a word, unless one of its options is meant.
    told = beside or {f"{option.partition('/')[0]}/…" if "/" in option else option for option in allowed}
    return ConfigError(f"{group}={name}: no such option; {nearest}allowed: {', '.join(sorted(told))}{own}")


def known_keys(overrides: Sequence[str] = ()) -> list[str]:
    """Dotted keys of the default configuration, or under these choices, for suggestions."""
    keys: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            keys.append(prefix + key)
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    with _hydra():
        walk(as_dict(hydra.compose("config", overrides=list(overrides))), "")
    return list(dict.fromkeys([*keys, *groups()]))


def _keys_beside(key: str, overrides: Sequence[str]) -> list[str]:
    """What a wrong key may have meant: in Hydra's own sections what is there, elsewhere all keys."""
    section, _, _ = key.rpartition(".")
    if not key.startswith("hydra."):
        return known_keys([word for word in overrides if word.startswith("task=")])
    others = [word for word in overrides if not word.lstrip("+~").startswith(f"{key}=")]
    node = OmegaConf.select(OmegaConf.create({"hydra": hydra_settings(others)}), section)
    return [f"{section}.{name!s}" for name in node] if isinstance(node, DictConfig) else []
