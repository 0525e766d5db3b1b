"""`task=costs`: count and time every operation of a space, as its networks have it, on this device."""

from typing import Any

import torch
from rich.markup import escape

from nas_lightning.analyses.base import QUIET, show_table
from nas_lightning.config.schema import RootConfig
from nas_lightning.config.sections import CostsConfig
from nas_lightning.core.cost_files import MeasuredOperation, document_of
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.terminal import print_line
from nas_lightning.deployment.latency import cpu_name, median_milliseconds, operation_latencies
from nas_lightning.runs import layout
from nas_lightning.runs.documents import write_json
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.trained import refuse_run
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench


def run_costs(config: RootConfig, folder: RunFolder) -> dict[str, Any]:
    """Measure the operations, write costs.json and return its content.

    Raises:
        ConfigError: Costs of the space do not add up, or the folder cannot be used.
    """
    settings = config.costs or CostsConfig()
    check_processes(config.trainer, config.task)
    refuse_run(folder)
    bench = Workbench(config, folder)
    tables = {"macs": bench.costs.table("macs"), "params": bench.costs.table("params")}
    device = bench.plain_trainer([], max_epochs=1, **QUIET).strategy.root_device
    unit = bench.evaluator.unit(bench)
    assert isinstance(unit, torch.Tensor)  # where costs add up, networks read images
    images = torch.randn(settings.batch_size, *unit.shape[1:], generator=torch.Generator().manual_seed(0)).to(device)
    latencies, rest = operation_latencies(
        bench.costs, images, lambda part, x: median_milliseconds(part, x, settings.seconds)
    )
    operations = [
        MeasuredOperation(
            name,
            row,
            bench.space.choices[name].options[row][option],
            macs=int(tables["macs"].options[name][row, option]),
            params=int(tables["params"].options[name][row, option]),
            latency=round(ms, 4),
        )
        for (name, row, option), ms in sorted(latencies.items())
    ]
    fixed = {name: int(table.fixed) for name, table in tables.items()} | {"latency": round(rest, 4)}
    document = document_of(operations, fixed, _about(bench, device, images))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.path / layout.COSTS, document)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    _show(operations, fixed, document["device"])
    print_line(escape(f"written: {folder}/{layout.COSTS}"))
    return document


def _about(bench: Workbench, device: torch.device, images: torch.Tensor) -> dict[str, Any]:
    """Return what was measured, and on what."""
    gpu = device.type == "cuda"
    return {
        "space": bench.space.name,
        "device": torch.cuda.get_device_name(device) if gpu else cpu_name(),
        "threads": None if gpu else torch.get_num_threads(),
        "torch": torch.__version__,
        "inputs": list(images.shape),
        "units": {"macs": "one image", "params": "one network", "latency": "ms, median, one batch"},
    }


def _show(operations: list[MeasuredOperation], fixed: dict[str, Any], device: str) -> None:
    """Print the costs of all rows together, by option: the largest first."""
    totals: dict[str, list[float]] = {}
    for one in operations:
        sums = totals.setdefault(one.option, [0, 0, 0, 0.0])
        for place, value in enumerate((1, one.macs, one.params, one.latency)):
            sums[place] += value
    lines = [
        (name, f"{rows:.0f}", f"{macs / rows / 1e6:.3f}", f"{params / rows / 1e3:.1f}", f"{ms / rows:.3f}")
        for name, (rows, macs, params, ms) in sorted(totals.items(), key=lambda item: -item[1][1] / item[1][0])
    ]
    rest = ("(the rest)", "1", f"{fixed['macs'] / 1e6:.3f}", f"{fixed['params'] / 1e3:.1f}", f"{fixed['latency']:.3f}")
    show_table(
        f"mean cost of an operation in its row, on {escape(device)}",
        ("option", "rows", "million MACs", "thousand parameters", "ms"),
        [*lines, rest],
    )
