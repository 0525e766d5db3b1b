"""Find the genotype that a configuration names, and the run that found it, for `task=evaluate`."""

import logging

from nas_lightning.config.further import METHOD_SECTIONS
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

    The genotype of a run folder was found by the method, parts and search of that run, whatever this command names: so
    reports group the evaluation with the search. Its space counts, too, unless the command chooses another.
    """
    if config.genotype is None or not is_directory(config.genotype):
        return config
    source = RunFolder(config.genotype, "genotype")
    if not source.holds_run:  # an export, or a folder with a genotype alone
        return config
    found, own = source.config(), config.to_dict()
    taken = {key: found[key] for key in ("method", "epoch", *METHOD_SECTIONS) if key in found}
    if found["space"].get("name") == own["space"].get("name"):
        taken["space"] = found["space"]
    try:
        return validate({**own, **taken, "readings": {}, "methods": []})
    except ConfigError as error:  # its parts are of a package that this command does not trust, or are gone
        log.info("genotype=%s: evaluated under this command's method: %s", config.genotype, error)
        return config


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
