"""Run a search: its stages one after the other, then the genotype."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_lightning.callbacks import (
    Cost,
    EpochCheckpoint,
    InterruptAtEpochEnd,
    Preemption,
    hardware,
    out_of_time,
)
from nas_lightning.callbacks.checkpoint import copy_file
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data.module import SearchData
from nas_lightning.reports import save_curvature, save_genotype
from nas_lightning.runs.folder import RunFolder
from nas_lightning.search.build import bench_of, build_module, planned_again, search_data, stages_of
from nas_lightning.search.module import SearchModule
from nas_lightning.search.selection import SelectionTuning, select
from nas_lightning.search.stages import SearchState, transfer
from nas_lightning.spaces.engines import engine_named
from nas_lightning.training.workbench import Workbench, callback_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """The outcome of a search: the genotype, and the `search` and `selection` sections of the summary."""

    genotype: Genotype
    search: dict[str, Any]
    selection: dict[str, Any]


def run_search(bench: Workbench) -> Searched:
    """Search, or go on where the run folder's checkpoint left off, and derive the genotype.

    With `task=select` the search is that of another run, up to the epoch of one of its checkpoints.

    Raises:
        ConfigError: Parts that do not fit each other or the images.
        Interrupted: The user stopped the search; the folder can be resumed.
    """
    folder = bench.folder
    path, saved = folder.resumable() or (folder.checkpoints / "last.ckpt", None)
    origin: RunFolder | None = None
    until: int | None = None
    if bench.config.task == "select":
        origin = RunFolder(bench.config.run or "", "run")
        saved = saved or origin_checkpoint(bench)
        until = saved["search"]["stage"] - (saved["search"]["phase"] == "selection")
    elif saved is None and folder.read_metrics():
        log.warning("no checkpoint in %s: the search starts again", folder)
    cost, tuning_cost = Cost(), Cost("selection")
    state: SearchState | None = None
    module: SearchModule | None = None
    searched = 0
    stage_bench = bench
    for stage in stages_of(bench, until):
        if saved is not None and stage.index < saved["search"]["stage"]:
            continue
        if stage.phase == "search" and state is not None and (origin is not None or state.stopped):
            continue
        if stage.phase == "selection" and state is not None:
            stage = planned_again(bench, stage, state)
            if stage.first_epoch == stage.last_epoch:  # everything is decided, or as good as
                continue
        stage_bench = bench_of(bench, stage)
        before, module = module, build_module(stage_bench, stage)
        ended = False
        if saved is not None:
            at = saved["search"]
            ended = at["stopped"] or at["search_epoch"] >= at["last_epoch"]
            ended |= origin is not None and stage.phase == "search"
        if saved is not None and ended:
            state = _restore_finished(module, saved, (cost, tuning_cost))
        else:
            if state is not None:
                transfer(state, module, before.supernet if before is not None else None)
            if saved is not None:  # Lightning restores the module only after it has asked for the loaders
                module.epoch_offset = saved["search"]["epoch_offset"]
            if stage.phase == "selection" and saved is None:
                _keep_searched(path, module.search_epoch)
            resumed = path if saved is not None else None
            state = _fit(stage_bench, module, (cost, tuning_cost), resumed, state)
        searched = module.search_epoch if stage.phase == "search" else module.first_epoch
        if saved is None or not ended:
            path = folder.checkpoints / "last.ckpt"
        saved = None
    data: SearchData | None = None
    if state is not None:
        data = search_data(stage_bench)
        data.setup("fit")
        data.first_pass = state.epoch_offset
    batches = sum(control.get("batches", 0) for control in state.controls.values()) if state is not None else 0
    try:
        genotype, selection = select(bench, module, data, tuning_cost.seconds, batches)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped in the selection; continue with resume={folder}") from error
    genotype = ranks.agreed(genotype)
    folder.save_genotype(genotype)
    if ranks.is_first():
        save_genotype(genotype, folder.plots)
        if origin is None:
            save_curvature(folder.curvature, folder.plots)
    search = {
        "epochs": searched,
        **cost.report(),
        **hardware(bench.plain["trainer"]),
        "engine": engine_named(bench.config.engine),
        **_found_in_tables(origin or folder, searched - 1),
    }
    return Searched(genotype, search, selection)


def origin_checkpoint(bench: Workbench) -> dict[str, Any]:
    """The checkpoint of another run that `task=select` takes its supernet from.

    Raises:
        ConfigError: The run has none of that epoch.
    """
    folder, epoch = RunFolder(bench.config.run or "", "run"), bench.config.epoch
    kept = sorted(int(path.stem.partition("=")[2]) for path in folder.checkpoints.glob("epoch=*.ckpt"))
    last = folder.checkpoint("last.ckpt")
    if epoch is None and folder.summary()["search"] is None:
        at = 0 if last is None else last["search"]["search_epoch"]
        raise ConfigError(
            f"run={folder}: its search is not finished, {at} epochs are; go on with resume={folder}, or take what is"
            f" there, epoch={at}"
        )
    searched = last is not None and last["search"].get("phase", "search") == "search"
    if last is not None and searched and epoch in (None, last["search"]["search_epoch"]):
        return last
    if epoch is None and kept:
        epoch = kept[-1]
    saved = folder.checkpoint(f"epoch={epoch}.ckpt")
    if saved is None:
        there = [*kept, *([last["search"]["search_epoch"]] if last is not None and searched else [])]
        raise ConfigError(
            f"epoch={'null' if epoch is None else epoch}: {folder} keeps no supernet of that search epoch; allowed:"
            f" {', '.join(map(str, sorted(set(there)))) or 'none at all'}; a search keeps more with search.snapshots=10"
        )
    return saved


@ranks.first_only
def _keep_searched(last: Path, epoch: int) -> None:
    """Keep the supernet of the search beside that of the selection, which writes last.ckpt from now on."""
    kept = last.with_name(f"epoch={epoch}.ckpt")
    if last.exists() and not kept.exists():
        copy_file(last, kept)


def eigenvalue_at(curvature: Sequence[Mapping[str, str]], epoch: int) -> float | None:
    """The latest dominant eigenvalue that was measured up to the end of a search epoch; None where there is none.

    Args:
        curvature: Rows of curvature.csv.
        epoch: The search epoch, from 0.
    """
    measured = [row for row in curvature if int(row["search_epoch"]) <= epoch]
    nearest = max(measured, key=lambda row: (int(row["search_epoch"]), int(row["epoch"])), default=None)
    return _number(nearest, "dominant_eigenvalue", 6)


def _number(row: Mapping[str, str] | None, name: str, digits: int) -> float | None:
    value = float((row or {}).get(name) or math.nan)
    return round(value, digits) if math.isfinite(value) else None


def _found_in_tables(folder: RunFolder, last: int) -> dict[str, Any]:
    """What the tables tell of the supernet that the search ended with.

    Args:
        folder: The run folder.
        last: The search epoch at whose end that supernet stood, which a control may have gone back to.
    """
    rows = [row for row in folder.read_metrics() if row["phase"] == "search"]
    metrics = [row for row in rows if int(row["search_epoch"]) == last]  # of several attempts the last one counts
    curvature = folder.read_curvature()

    events = [row for row in curvature if row["event"]]
    stopped = [int(row["search_epoch"]) for row in events if row["event"] == "stopped"]
    return {
        "val_accuracy": _number(metrics[-1] if metrics else None, "val_accuracy", 4),
        "curvature_seconds": round(sum(float(row["seconds"]) for row in curvature), 3) if curvature else None,
        "stopped_at": stopped[-1] if stopped else None,
        "rolled_back_to": int(events[-1]["to_epoch"]) if events else None,
        # Of the last measurement up to that epoch: a control can go back to one that was not measured.
        "dominant_eigenvalue": eigenvalue_at(curvature, last),
    }


def _fit(
    bench: Workbench,
    module: SearchModule,
    costs: tuple[Cost, Cost],
    resume_from: Path | None,
    before: SearchState | None,
) -> SearchState:
    """Train one stage and return what it leaves."""
    settings = bench.config.search
    watching = list(bench.build_named("callbacks").values())
    controls = bench.build_named("control")
    if module.phase == "selection":
        controls = {"selection": SelectionTuning(module.selector)}
    for control in controls.values():
        if before is not None and control.state_key in before.controls:
            control.load_state_dict(before.controls[control.state_key])
        if resume_from is None and hasattr(control, "at_stage_start"):
            control.at_stage_start(module)
    reach = max((c.reach(module, watching) for c in controls.values() if hasattr(c, "reach")), default=0)
    # Of the search alone: `task=select` takes its supernet from what is kept.
    snapshots = settings.snapshots if module.phase == "search" else None
    trainer = bench.trainer(
        module.phase,
        epochs=settings.epochs if module.phase == "search" else module.last_epoch,
        checkpoints=bench.folder.checkpoints,
        max_epochs=-1,
        checkpoint=EpochCheckpoint(bench.folder.checkpoints, snapshots, reach, settings.checkpoint_minutes),
        extra=costs,
        steering=list(controls.values()),
        watching=watching,
    )
    data = search_data(bench)
    data.first_pass = module.epoch_offset
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening(), callback_of(trainer, Preemption).listening():
        trainer.fit(module, datamodule=data, ckpt_path=resume_from)
    if trainer.strategy.reduce_boolean_decision(interrupt.requested or out_of_time(trainer), all=False):
        raise Interrupted(f"stopped after epoch {module.search_epoch}; continue with resume={bench.folder}")
    return _state_of(
        module,
        [optimizer.state_dict() for optimizer in trainer.optimizers],
        module.epoch_offset + trainer.current_epoch,
        {control.state_key: control.state_dict() for control in controls.values()},
    )


def _restore_finished(module: SearchModule, saved: dict[str, Any], costs: tuple[Cost, Cost]) -> SearchState:
    """The state of a stage that had ended when the run was cut off."""
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    for cost in costs:
        cost.load_state_dict(saved["callbacks"][cost.state_key])
    return _state_of(module, saved["optimizer_states"], module.epoch_offset + saved["epoch"] + 1, saved["callbacks"])


def _state_of(
    module: SearchModule, optimizers: list[dict[str, Any]], epoch_offset: int, controls: dict[str, Any]
) -> SearchState:
    return SearchState(
        weights={name: tensor.detach().cpu() for name, tensor in module.state_dict().items()},
        arch={name: a.detach().cpu() for name, a in module.arch.items()},
        optimizers=optimizers,
        search_epoch=module.search_epoch,
        attempt=module.attempt,
        num_steps=module.num_steps,
        epoch_offset=epoch_offset,
        changed=dict(module.changed),
        stopped=module.stopped,
        decisions=module.decisions.state_dict(),
        controls=controls,
    )
