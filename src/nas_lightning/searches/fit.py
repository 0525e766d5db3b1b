"""One stage of a search: trained, or restored from the checkpoint of its end."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas_lightning.callbacks import Cost, EpochCheckpoint, InterruptAtEpochEnd, Preemption, out_of_time
from nas_lightning.core.errors import Interrupted
from nas_lightning.searches.build import search_data
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.selection import SelectionTuning
from nas_lightning.searches.stages import SearchState
from nas_lightning.training.workbench import Workbench, callback_of


@dataclass(frozen=True)
class Costs:
    """What the stages of a search took, and what that of a selector took."""

    search: Cost = field(default_factory=Cost)
    selection: Cost = field(default_factory=lambda: Cost("selection"))


def fit(
    bench: Workbench,
    module: SearchModule,
    costs: Costs,
    resume_from: Path | None,
    before: SearchState | None,
) -> SearchState:
    """Train one stage and return what it leaves.

    Args:
        bench: The parts as the stage sees them.
        module: The module of the stage.
        costs: Count what it takes.
        resume_from: Checkpoint of this stage to continue from.
        before: What the stage before left.

    Raises:
        Interrupted: The user stopped it, or its time is over; the folder can be resumed.
    """
    settings = bench.config.search
    watching = list(bench.take("callbacks", lambda: bench.build_named("callbacks")).values())
    controls: dict[str, Any] = {"selection": SelectionTuning(module.selector)}
    if module.phase == "search":
        controls = bench.take("control", lambda: bench.build_named("control"))
    for control in controls.values():
        if before is not None and control.state_key in before.controls:
            control.load_state_dict(before.controls[control.state_key])
        if resume_from is None:
            control.at_stage_start(module)
    reach = max((control.reach(module, watching) for control in controls.values()), default=0)
    # Of the search alone: `task=select` takes its supernet from what is kept.
    snapshots = settings.snapshots if module.phase == "search" else None
    trainer = bench.trainer(
        module.phase,
        epochs=settings.epochs if module.phase == "search" else module.progress.last_epoch,
        checkpoints=bench.folder.checkpoints,
        max_epochs=-1,
        checkpoint=EpochCheckpoint(bench.folder.checkpoints, snapshots, reach, settings.checkpoint_minutes),
        extra=(costs.search, costs.selection),
        steering=list(controls.values()),
        watching=watching,
    )
    data = search_data(bench)
    data.first_pass = module.progress.epoch_offset
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening(), callback_of(trainer, Preemption).listening():
        trainer.fit(module, datamodule=data, ckpt_path=resume_from)
    if trainer.strategy.reduce_boolean_decision(interrupt.requested or out_of_time(trainer), all=False):
        raise Interrupted(f"stopped after epoch {module.search_epoch}; continue with resume={bench.folder}")
    return _left_by(
        module,
        [optimizer.state_dict() for optimizer in trainer.optimizers],
        module.progress.epoch_offset + trainer.current_epoch,
        {control.state_key: control.state_dict() for control in controls.values()},
    )


def restore(module: SearchModule, saved: dict[str, Any], costs: Costs) -> SearchState:
    """Return what a stage left that had ended when the run was cut off."""
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    for cost in (costs.search, costs.selection):
        cost.load_state_dict(saved["callbacks"][cost.state_key])
    return _left_by(
        module, saved["optimizer_states"], module.progress.epoch_offset + saved["epoch"] + 1, saved["callbacks"]
    )


def _left_by(
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
