"""Find the genotype that a configuration names, for `task=evaluate`."""

from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces import Genotype, genotype
from nas_lightning.spaces.enumeration import architecture, random_genotype
from nas_lightning.training.workbench import Workbench


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
