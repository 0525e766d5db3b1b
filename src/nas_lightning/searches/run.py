"""Run a search: plan its stages, restore or fit each, then select the genotype.

The path of a run from start to genotype: `_start_of` finds the checkpoint to continue from; `_train` goes through the
stages (`stages`), each one a Lightning fit (`fit`) of a `SearchModule` (`module`), whose steps are in `bilevel`;
`_select` derives the genotype from the last supernet (`selection`).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas_lightning.callbacks import hardware
from nas_lightning.core import ranks
from nas_lightning.core.errors import Interrupted
from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports import run_title, save_curvature, save_genotype
from nas_lightning.runs import layout
from nas_lightning.runs.files import copy_file
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import bench_of, build_module, enter_fresh, replanned, search_data, stages_of
from nas_lightning.searches.fit import Costs, fit, restore
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.origin import origin_checkpoint
from nas_lightning.searches.outcome import outcome_of_tables
from nas_lightning.searches.progress import Progress
from nas_lightning.searches.selection import select
from nas_lightning.searches.stages import SearchState, Stage, transfer
from nas_lightning.spaces.engines import engine_named
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """The outcome of a search: the genotype, and the `search` and `selection` sections of the summary."""

    genotype: Genotype
    search: dict[str, Any]
    selection: dict[str, Any]


def run_search(bench: Workbench) -> Searched:
    """Search, or continue where the run folder's checkpoint left off, and derive the genotype.

    With `task=select` the search is that of another run, up to the epoch of one of its checkpoints.

    Raises:
        ConfigError: The parts do not fit each other or the images, or the other run has no such supernet.
        Interrupted: The user stopped the search; the folder can be resumed.
    """
    folder, costs = bench.folder, Costs()
    start = _start_of(bench)
    trained = _train(bench, start, costs)
    genotype, selection = _select(bench, trained, costs)
    genotype = ranks.agreed(genotype)  # every process continues with that of rank 0
    folder.save_genotype(genotype)
    if ranks.is_first():
        title = run_title(folder.summary())
        save_genotype(genotype, folder.plots, title)
        if start.origin is None:
            save_curvature(folder.curvature, folder.plots, title)
    search = {
        "epochs": trained.epochs,
        **costs.search.report(),
        **hardware(bench.config.trainer),
        "engine": engine_named(bench.config.engine),
        **_graph_of(trained.module),
        **outcome_of_tables(
            start.origin or folder, trained.epochs - 1, bench.config.search.epochs if start.origin is None else None
        ),
    }
    return Searched(genotype, search, selection)


def _graph_of(module: SearchModule | None) -> dict[str, str]:
    """Return whether passes were captured, and why not, where that was asked for."""
    asked = module is not None and module.passes.policy.setting != "off"
    return {"graph": module.passes.policy.summary} if asked and module is not None else {}


# Plan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Start:
    """The checkpoint that a search starts from.

    Args:
        path: Checkpoint of this run that Lightning resumes from, or where the first one will be written.
        saved: Its content, or with `task=select` that of the other run; None for a new search.
        origin: Folder of the other run, with `task=select`.
        until: Index of the last stage that the other run has searched; None is all.
    """

    path: Path
    saved: dict[str, Any] | None
    origin: RunFolder | None = None
    until: int | None = None


def _start_of(bench: Workbench) -> _Start:
    """Find the checkpoint to start from: of this run, else, with `task=select`, of the other one."""
    folder = bench.folder
    path, saved = folder.resumable() or (folder.checkpoints / layout.LAST, None)
    if bench.config.task == "select":
        # A selection that was cut off has a checkpoint of its own, which comes before that of the other run.
        saved = saved or origin_checkpoint(bench)
        # A checkpoint of a selector's stage lies one after the last stage that was searched.
        until = saved["search"]["stage"] - (saved["search"]["phase"] == "selection")
        return _Start(path, saved, RunFolder(bench.config.run or "", "run"), until)
    if saved is None and folder.read_metrics():
        log.warning("no checkpoint in %s: the search starts from scratch", folder)
    return _Start(path, saved)


# Restore or fit -----------------------------------------------------------------------------------------------


@dataclass
class _Trained:
    """Result of the stages so far.

    Attributes:
        bench: Workbench of the last stage.
        module: Its module; None if nothing was trained.
        state: The state that it ended with.
        epochs: Search epochs that the supernet was trained for, without those of a selector's stage.
    """

    bench: Workbench
    module: SearchModule | None = None
    state: SearchState | None = None
    epochs: int = 0


def _train(bench: Workbench, start: _Start, costs: Costs) -> _Trained:
    """Go through the stages: the state machine of a search.

    Stages before that of the checkpoint are skipped. The stage of the checkpoint is restored if it had ended, else
    resumed. Every later stage starts from the state at the end of the one before. Without a checkpoint, all stages are
    of this last kind.
    """
    trained, saved, path = _Trained(bench), start.saved, start.path
    for stage in stages_of(bench, start.until):
        planned = _stage_to_run(bench, stage, saved, trained.state, start)
        if planned is None:
            continue
        parts, before, state = bench_of(bench, planned), trained.module, trained.state
        enters = planned.fresh and before is not None and state is not None
        if enters:
            assert before is not None
            assert state is not None
            state = enter_fresh(parts, before, state)
        module = build_module(parts, planned, _built(saved, before, state if enters else None))
        # A supernet of another run is searched no further, even where its checkpoint lies within a stage.
        ended = saved is not None and (
            Progress.from_state(saved["search"]).ended or (start.origin is not None and planned.phase == "search")
        )
        if saved is not None and ended:
            state = restore(module, saved, costs)
        else:
            # A resumed stage has no state before it in this process: its checkpoint holds all of it.
            if state is not None:
                transfer(state, module, None if before is None else before.supernet, enters)
            if saved is not None:
                # Lightning restores the module only after it has asked for the loaders, which `fit` sets to this pass.
                module.progress.epoch_offset = saved["search"]["epoch_offset"]
            # Only on entering the selection: a resumed one has overwritten last.ckpt already.
            if planned.phase == "selection" and saved is None:
                _keep_searched(path, module.search_epoch)
            resumed = path if saved is not None else None
            state = fit(parts, module, costs, resumed, state, bench.config.search.epochs, enters)
            path = bench.folder.checkpoints / layout.LAST
        epochs = module.search_epoch if planned.phase == "search" else module.progress.first_epoch
        trained = _Trained(parts, module, state, epochs)
        saved = None  # the checkpoint is used up: later stages start from `trained.state`
    return trained


def _built(
    saved: Mapping[str, Any] | None, before: SearchModule | None, entered: SearchState | None
) -> dict[str, Tensor]:
    """Return the options that the supernet of the next stage has, boolean [R, O] by choice; empty for all.

    Args:
        saved: Checkpoint of that stage.
        before: Module of the stage before, whose supernet is continued.
        entered: State in which a fresh stage is entered: what was dropped before is not built.
    """
    if saved is not None:
        return dict(saved["search"].get("built", {}))
    if entered is not None:
        return dict(entered.decisions["kept"])
    return {} if before is None else before.built


def _stage_to_run(
    bench: Workbench, stage: Stage, saved: dict[str, Any] | None, state: SearchState | None, start: _Start
) -> Stage | None:
    """Return the stage, replanned if it is a selector's; None if it is over or leaves nothing to do."""
    if saved is not None and stage.index < saved["search"]["stage"]:
        return None
    if state is None:  # the first stage of this process: new, or that of the checkpoint, which holds its length
        return stage
    if stage.phase == "search":
        # Of another run a single stage is restored. A control that stops the search stops its later stages, too.
        return None if start.origin is not None or state.progress.stopped else stage
    # How long a selector tunes depends on what is undecided, which is known only now.
    stage = replanned(bench, stage, state)
    return None if stage.first_epoch == stage.last_epoch else stage


@ranks.first_only
def _keep_searched(last: Path, epoch: int) -> None:
    """Copy the final supernet of the search before the stage of a selector overwrites last.ckpt."""
    kept = last.with_name(layout.epoch_name(epoch))
    if last.exists() and not kept.exists():
        copy_file(last, kept)


# Select -------------------------------------------------------------------------------------------------------


def _select(bench: Workbench, trained: _Trained, costs: Costs) -> tuple[Genotype, dict[str, Any]]:
    """Return the genotype and the section `selection` of the summary.

    Raises:
        Interrupted: The user stopped the selection; the folder can be resumed.
    """
    data, batches = None, 0
    if trained.state is not None:
        data = search_data(trained.bench)
        data.setup("fit")
        data.first_pass = trained.state.progress.epoch_offset
        batches = sum(control.get("batches", 0) for control in trained.state.controls.values())
    try:
        genotype, section = select(bench, trained.module, data, costs.selection.seconds, batches)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped during the selection; continue with {bench.folder.command()}") from error
    return genotype, {**section, "images": costs.selection.images}
