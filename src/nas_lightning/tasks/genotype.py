"""Find the genotype that a configuration names, and the run that found it, for `task=evaluate`."""

import logging
from collections.abc import Mapping
from typing import Any

from nas_lightning.config.further import METHOD_SECTIONS
from nas_lightning.config.overriding import place_of
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import is_directory
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces import Genotype, genotype
from nas_lightning.spaces.enumeration import architecture, random_genotype
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


def evaluation_config(config: RootConfig) -> RootConfig:
    """Return the configuration of an evaluation, with the sections that say how its genotype was found.

    The genotype of a run folder was found by the method, parts and search of that run: so reports group the evaluation
    with the search. Its space counts, too, unless the command names another. What the command itself sets below these
    sections wins; `RootConfig.words` are its words.

    Raises:
        ConfigError: The command names another method than that of the run.
    """
    if config.genotype is None or not is_directory(config.genotype):
        return config
    source = RunFolder(config.genotype, "genotype")
    if not source.holds_run:  # an export, or a folder with a genotype alone
        return config
    found, own = source.config(), config.to_dict()
    taken = {key: found[key] for key in ("method", "epoch", *METHOD_SECTIONS) if key in found}
    places = [place_of(word) for word in config.words]
    if "method" in places and own["method"] != found["method"]:
        raise ConfigError(
            f"method={own['method']}: genotype={config.genotype} was found by method={found['method']}, under which"
            " reports list it; leave method= out, or name the genotype alone, genotype=FOLDER/genotype.json"
        )
    if found["space"].get("name") == own["space"].get("name"):
        taken["space"] = found["space"]
    for place in places:
        if place != "space" and place.partition(".")[0] in taken:  # space=NAME only says that this is the space
            _copy(own, taken, place)
    try:
        return validate({**own, **taken, "readings": {}, "methods": []})
    except ConfigError as error:  # its parts are of a package that this command does not trust, or are gone
        log.info("genotype=%s: evaluated under this command's method: %s", config.genotype, error)
        return config


def _copy(source: Mapping[str, Any], target: dict[str, Any], place: str) -> None:
    """Set a dotted key of nested values to what the source has there; remove it where the source has nothing."""
    *path, last = place.split(".")
    for name in path:
        if not isinstance(source.get(name), Mapping) or not isinstance(target.get(name), dict):
            last = name  # a list, or a part that the target lacks: all of it
            break
        source, target = source[name], target[name]
    if last in source:
        target[last] = source[last]
    else:
        target.pop(last, None)


def given_genotype(bench: Workbench, name: str | None = None) -> Genotype:
    """Return the genotype that the configuration names, validated against the space.

    Args:
        bench: The workbench, whose seed draws a `random` genotype.
        name: A published name, text, file, run folder, number or `random`; None takes that of the configuration.

    Raises:
        ConfigError: No genotype is named, it is not found, or it does not fit the space.
    """
    name = name or bench.config.genotype
    if name is None:
        raise ConfigError(
            "genotype=null: task=evaluate needs one; give a published name, a JSON file, a run folder, a number or"
            " random, for instance genotype=darts_v2 space=darts"
        )
    name = name.strip()
    if name.lower() == "random":
        return random_genotype(bench.space, bench.config.seed)
    if name.isdecimal():
        return architecture(bench.space, int(name))
    found = genotype(name, bench.space.name)
    bench.space.validate(found)
    return found
