"""Files of measured costs: what `task=costs` writes and the parts that price networks read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_lightning.core.costs import CostTable
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import SearchSpace

HINT = "write one with task=costs and the words of this search"


@dataclass(frozen=True)
class MeasuredOperation:
    """What an option costs in a row of a choice, in all cells together.

    Args:
        choice: Name of the choice.
        row: Row of the choice.
        option: Name of the option.
        macs: Multiply-accumulates.
        params: Parameters.
        latency: Milliseconds.
    """

    choice: str
    row: int
    option: str
    macs: int
    params: int
    latency: float


def document_of(
    operations: Sequence[MeasuredOperation], fixed: Mapping[str, float], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of such a file, as JSON can hold it.

    Args:
        operations: Costs of the options.
        fixed: Cost of what every network has, by the name of the cost.
        about: Space, device, versions and settings of the measurement.
    """
    return {**about, "fixed": dict(fixed), "operations": [asdict(operation) for operation in operations]}


def read_latencies(path: str, space: SearchSpace, key: str) -> CostTable:
    """Read the measured latencies of the options of a space.

    Args:
        path: The file.
        space: The space, all options of which a genotype may hold must be in it.
        key: Key of the configuration that names the file, for messages.

    Raises:
        ConfigError: It cannot be read, is no such file, or was measured on another space.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        measured = {
            (str(one["choice"]), int(one["row"]), str(one["option"])): float(one["latency"])
            for one in content["operations"]
        }
        fixed, name = float(content["fixed"]["latency"]), content["space"]
    except OSError as error:
        raise ConfigError(f"{key}={path}: cannot be read ({error.strerror}); {HINT}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{key}={path}: is no table of task=costs; {HINT}") from error
    options: dict[str, torch.Tensor] = {}
    for choice in space.choices.values():
        if choice.kind != "op":
            continue
        options[choice.name] = torch.zeros(choice.num_rows, choice.num_options, dtype=torch.float64)
        may = (choice.mask & choice.selectable).tolist()
        for row, names in enumerate(choice.options):
            for place, option in enumerate(names):
                if (choice.name, row, option) in measured:
                    options[choice.name][row, place] = measured[choice.name, row, option]
                elif may[row][place]:
                    raise ConfigError(
                        f"{key}={path}: was measured on space={name} and lacks {option} in row {row} of"
                        f" '{choice.name}', which space={space.name} offers; {HINT}"
                    )
    return CostTable("latency", fixed, options)
