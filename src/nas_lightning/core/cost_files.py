"""Files of measured costs: what `task=costs` writes and the parts that price networks read."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_lightning.core.costs import WORDS, Costs, CostTable, Counted
from nas_lightning.core.errors import ConfigError

HINT = "write one with task=costs and the words of this search"
ANEW = "measure anew: python run.py task=costs with the words of this search"
COUNTS: tuple[Counted, ...] = ("macs", "params")

log = logging.getLogger(__name__)


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


def read_latencies(path: str, costs: Costs, key: str) -> CostTable:
    """Read the measured latencies of the options of a space; warn where another device was measured.

    Args:
        path: The file.
        costs: Counts of the run's networks: all options that a genotype may hold must be in the file, with these.
        key: Key of the configuration that names the file, for messages.

    Raises:
        ConfigError: It cannot be read, is no such file, or was measured on other networks: another space, other sizes.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        measured = {
            (str(one["choice"]), int(one["row"]), str(one["option"])): (
                float(one["latency"]),
                {name: int(one[name]) for name in COUNTS},
            )
            for one in content["operations"]
        }
        fixed, name = float(content["fixed"]["latency"]), content["space"]
        device, threads = content.get("device"), content.get("threads")
    except OSError as error:
        raise ConfigError(f"{key}={path}: cannot be read ({error.strerror}); {HINT}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{key}={path}: is no table of task=costs; {HINT}") from error
    if name != costs.space.name:
        raise ConfigError(f"{key}={path}: was measured on space={name}, but this is space={costs.space.name}; {ANEW}")
    options = _latencies(measured, costs, f"{key}={path}")
    _compare_hardware(path, (device, threads), costs, key)
    return CostTable("latency", fixed, options)


def _latencies(
    measured: Mapping[tuple[str, int, str], tuple[float, Mapping[Counted, int]]], costs: Costs, given: str
) -> dict[str, torch.Tensor]:
    """Return the latency of each option by choice, [R, O], float64; refuse counts that are not those of the run."""
    space = costs.space
    tables = {count: costs.table(count).options for count in COUNTS}
    options: dict[str, torch.Tensor] = {}
    for choice in space.choices.values():
        if choice.kind != "op":
            continue
        options[choice.name] = torch.zeros(choice.num_rows, choice.num_options, dtype=torch.float64)
        may = (choice.mask & choice.selectable).tolist()
        for row, names in enumerate(choice.options):
            for place, option in enumerate(names):
                if not may[row][place]:
                    continue
                found = measured.get((choice.name, row, option))
                if found is None:
                    raise ConfigError(
                        f"{given}: was measured on space={space.name} and lacks {option} in row {row} of"
                        f" '{choice.name}', which this space offers; {ANEW}"
                    )
                options[choice.name][row, place], counted = found
                for count, table in tables.items():
                    here = int(table[choice.name][row, place])
                    if counted[count] != here:
                        raise ConfigError(
                            f"{given}: was measured on other networks: {option} in row {row} of '{choice.name}' has"
                            f" {counted[count]} {WORDS[count]} there, but {here} here; {ANEW}"
                        )
    return options


def _compare_hardware(path: str, there: tuple[Any, Any], costs: Costs, key: str) -> None:
    """Warn where the file was measured on another device than that of the run, or with other threads."""
    here = costs.hardware() if costs.hardware is not None else there
    if here != there:
        names = [f"{name} ({count} threads)" if count else str(name) for name, count in (there, here)]
        log.warning("%s=%s: was measured on %s, but this run is on %s", key, path, *names)
