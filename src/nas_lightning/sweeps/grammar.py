"""The grammar of a sweep's command: the values of each key, and the number of members."""

from collections.abc import Mapping, Sequence
from math import prod

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep
from omegaconf import DictConfig

from nas_lightning.config.compose import compose, hydra_settings, one_line_errors
from nas_lightning.core.errors import ConfigError


def sweep_choices(overrides: Sequence[str]) -> dict[str, list[str] | None]:
    """Parse the values of each key of a sweep; the last override of a key counts, as in Hydra.

    Returns:
        By key, the overrides of which each member takes one: of an interval its ends; None for a glob, which only
        Hydra can expand.
    """
    choices: dict[str, list[str] | None] = {}
    with one_line_errors(overrides):
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        key = override.get_key_element()
        value = override.value()
        if not override.is_sweep_override():
            choices[key] = [str(override.input_line)]
        elif override.is_discrete_sweep() and not isinstance(value, Glob):
            choices[key] = [f"{key}={choice}" for choice in override.sweep_string_iterator()]
        elif isinstance(value, IntervalSweep):
            choices[key] = [f"{key}={value.start}", f"{key}={value.end}"]
        else:
            choices[key] = None
    return choices


def sweep_members(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of single runs that together contain every value of a sweep.

    Varying one key at a time finds each wrong value without composing the whole product.
    """
    choices = [values for values in sweep_choices(overrides).values() if values is not None]
    first = [values[0] for values in choices]
    members = [first]
    for index, values in enumerate(choices):
        members += [[*first[:index], value, *first[index + 1 :]] for value in values[1:]]
    return members


def params_of(settings: DictConfig) -> list[str]:
    """Return the overrides in the configuration of a sweep, `hydra.sweeper.params`."""
    return [f"{key}={value}" for key, value in (settings.sweeper.get("params") or {}).items()]


def first_member(overrides: Sequence[str]) -> list[str] | None:
    """Return the overrides of one run of a sweep or of a command without one; None where only Hydra can expand it."""
    given = sweep_choices(overrides)
    first = [values[0] for values in given.values() if values]
    choices = {**sweep_choices(params_of(hydra_settings(first))), **given}
    return None if None in choices.values() else [values[0] for values in choices.values() if values]


def limited(overrides: Sequence[str]) -> list[str]:
    """Apply `sweep_limit` to a command: keep the first values only of the keys that its experiment sweeps.

    Keys that the command line itself sweeps are not limited.

    Raises:
        ConfigError: A key with a limit on the command line is not swept, or the command sweeps over sweeps.
    """
    first = sweep_members(overrides)[0]
    for key in ("experiment", "scale"):  # Hydra would use the keys and the folder of the first for all
        words = sweep_choices(overrides).get(key) or ()
        if len(words) > 1 and any(params_of(hydra_settings([*first, word])) for word in words):
            raise ConfigError(f"{key}: {' and '.join(words)} are sweeps of their own; give one at a time")
    limits = compose(first).sweep_limit
    if not limits:
        return list(overrides)
    given = sweep_choices(overrides)
    swept = sweep_choices(params_of(hydra_settings(first)))
    for word in given:  # limits in a file, as in scale=smoke, may name keys that this experiment does not sweep
        section, _, key = word.lstrip("+").partition(".")
        if section == "sweep_limit" and key and key not in {**swept, **given}:
            raise ConfigError(f"sweep_limit.{key}: this key is not swept; allowed: {', '.join(swept) or 'none here'}")
    cut = {key: values[: limits[key]] for key, values in swept.items() if values and key in limits and key not in given}
    return [*overrides, *(f"{key}={','.join(v.partition('=')[2] for v in values)}" for key, values in cut.items())]


def check_single(overrides: Sequence[str]) -> None:
    """Refuse an experiment that is a sweep without -m: with the defaults of its keys it is none of its members.

    Raises:
        ConfigError: A key that it sweeps over, other than the seed, has no value on the command line.
    """
    experiment = next((word for word in overrides if word.startswith("experiment=")), None)
    if experiment is None:
        return
    swept = sweep_choices(params_of(hydra_settings(overrides)))
    given = sweep_choices(overrides)
    missing = [key for key, values in swept.items() if key not in {*given, "seed"} and len(values or "**") > 1]
    if missing:
        one = " ".join((swept[key] or [f"{key}=VALUE"])[0] for key in missing)
        raise ConfigError(
            f"{experiment}: is a sweep over {', '.join(swept)}; add -m to run it (task=plan {experiment} counts it), or"
            f" give each a value for one run: {one}"
        )


def size_of(swept: Mapping[str, list[str] | None], settings: DictConfig) -> int | None:
    """Return the number of members of a sweep; None where only its sweeper knows it."""
    trials = settings.sweeper.get("n_trials")
    if trials is not None:
        return int(trials)
    return None if None in swept.values() else prod(len(values or ()) for values in swept.values())
