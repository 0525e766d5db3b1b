"""Train one stage of a search, or restore it from the checkpoint at its end."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas_lightning.callbacks import Cost, EpochCheckpoint, InterruptAtEpochEnd, Preemption, after_epochs, out_of_time
from nas_lightning.core.errors import Interrupted
from nas_lightning.searches.build import search_data
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.selection import SelectionTuning
from nas_lightning.searches.stages import SearchState
from nas_lightning.training.workbench import Workbench, callback_of


@dataclass(frozen=True)
class Costs:
    """Cost counters of the stages of a search, and of the stage of a selector."""

    search: Cost = field(default_factory=Cost)
    selection: Cost = field(default_factory=lambda: Cost("selection"))


# Long: one fit from its parts to its state, in the order in which Lightning needs them.
def fit(
    bench: Workbench,
    module: SearchModule,
    costs: Costs,
    resume_from: Path | None,
    previous: SearchState | None,
    epochs: int,
    fresh: bool = False,
) -> SearchState:
    """Train one stage and return the state that it ends with.

    Args:
        bench: The workbench of the stage.
        module: The module of the stage.
        costs: Counters, which are added to.
        resume_from: Checkpoint of this stage to continue from; None starts the stage.
        previous: State at the end of the stage before; None for the first stage.
        epochs: Search epochs over all stages, for the display.
        fresh: Whether the stage is fresh: its controls have acted before it was built.

    Raises:
        Interrupted: The user stopped it, or `trainer.max_time` is over; the folder can be resumed.
    """
    settings = bench.config.search
    watching = list(bench.take_named("callbacks").values())
    controls: dict[str, Any] = {"selection": SelectionTuning(module.selector)}
    if module.phase == "search":
        controls = bench.take_named("control")
    # A control is built anew for every stage and takes over its memory here. On a resume Lightning loads the state of
    # the checkpoint over it, and the start of the stage lies in the past.
    for control in controls.values():
        if previous is not None and control.state_key in previous.controls:
            control.load_state_dict(previous.controls[control.state_key])
        if resume_from is None and not fresh:
            control.at_stage_start(module)
    reach = max((control.reach(module, watching) for control in controls.values()), default=0)
    # Snapshots are those of the search: `task=select` takes its supernet from them, never from a selection.
    snapshots = settings.snapshots if module.phase == "search" else None
    trainer = bench.trainer(
        module.phase,
        epochs=epochs if module.phase == "search" else module.progress.last_epoch,
        checkpoints=bench.folder.checkpoints,
        max_epochs=-1,  # the module ends the fit: a rollback takes more epochs than the schedule has
        checkpoint=EpochCheckpoint(bench.folder.checkpoints, snapshots, reach, settings.checkpoint_minutes),
        extra=(costs.search, costs.selection),
        controls=list(controls.values()),
        watching=watching,
    )
    data = search_data(bench)
    data.first_pass = module.progress.epoch_offset  # keys the order of images; Lightning counts each fit from 0
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening(bench.folder), callback_of(trainer, Preemption).listening():
        trainer.fit(module, datamodule=data, ckpt_path=resume_from)
    # The fit has returned: at the end of the stage, or earlier by an interrupt or the time limit, which any one process
    # may have noticed. All of them raise, or some would wait in the next stage for ever.
    if trainer.strategy.reduce_boolean_decision(interrupt.requested or out_of_time(trainer), all=False):
        done = after_epochs(module.search_epoch, max(epochs, module.progress.last_epoch))
        raise Interrupted(f"stopped {done}; continue with {bench.folder.command()}")
    return _state_after(
        module,
        [optimizer.state_dict() for optimizer in trainer.optimizers],
        module.progress.epoch_offset + trainer.current_epoch,
        {control.state_key: control.state_dict() for control in controls.values()},
    )


def restore(module: SearchModule, saved: dict[str, Any], costs: Costs) -> SearchState:
    """Restore a stage that had ended when the run was cut off, and return the state that it ended with.

    Args:
        module: The module of the stage.
        saved: The checkpoint at its end.
        costs: Counters, which take over the totals of the checkpoint.
    """
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    for cost in (costs.search, costs.selection):
        cost.load_state_dict(saved["callbacks"][cost.state_key])
    # A checkpoint holds the number of the epoch that ended; `trainer.current_epoch` of a fit that ended is one more.
    return _state_after(
        module, saved["optimizer_states"], module.progress.epoch_offset + saved["epoch"] + 1, saved["callbacks"]
    )


def _state_after(
    module: SearchModule, optimizers: list[dict[str, Any]], epoch_offset: int, controls: dict[str, Any]
) -> SearchState:
    return SearchState(
        weights={name: tensor.detach().cpu() for name, tensor in module.state_dict().items()},
        arch={name: a.detach().cpu() for name, a in module.arch.items()},
        optimizers=optimizers,
        progress=replace(module.progress, epoch_offset=epoch_offset, changed=dict(module.progress.changed)),
        decisions=module.decisions.state_dict(),
        controls=controls,
    )
