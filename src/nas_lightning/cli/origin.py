"""What the genotype of `task=evaluate` brings along: its space, and the seed of the run that found it."""

from collections.abc import Sequence
from typing import Any

from nas_lightning.config.compose import hydra_settings, options
from nas_lightning.config.overriding import value_of
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.paths import is_directory, path_of
from nas_lightning.runs import documents, layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.grammar import params_of, sweep_choices


def words_of_origin(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Return `space=NAME` and `seed=N` as the genotype's file or run folder has them, where the command gives none.

    Of several genotypes (a sweep) only what all share is returned.

    Args:
        overrides: The words of the command, as Hydra understands them.
        config_dir: The user's folder, whose spaces count, too.

    Raises:
        ConfigError: A word cannot be parsed.
    """
    if "task=evaluate" not in overrides:
        return []
    given = sweep_choices(overrides)
    origins = [_origin(str(value_of(word)).strip()) for word in given.get("genotype") or ()]
    shared = {key: {origin.get(key) for origin in origins} for key in ("space", "seed")}
    found = {key: values.pop() for key, values in shared.items() if len(values) == 1 and key not in given}
    if found.get("space") not in options("space", config_dir):
        found.pop("space", None)
    if "experiment" in given and "seed" in sweep_choices(params_of(hydra_settings(overrides))):
        found.pop("seed", None)
    return [f"{key}={value}" for key, value in found.items() if value is not None]


def _origin(name: str) -> dict[str, Any]:
    """Return the space of a genotype's JSON file; of a run folder the seed, too; empty for anything else."""
    path = path_of(name)
    folder = is_directory(path)
    try:
        genotype = documents.read_json(path / layout.GENOTYPE if folder else path)
        return {"space": genotype["space"], **({"seed": RunFolder(path).summary()["seed"]} if folder else {})}
    except (OSError, ValueError, TypeError, KeyError, ConfigError):  # whoever reads the genotype refuses it
        return {}
