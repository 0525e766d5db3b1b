"""Run a search: its stages one after the other, then the genotype."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lightning as L
from nas_lightning import draws
from nas_lightning.errors import ConfigError, Interrupted
from nas_lightning.lightning.callbacks import Cost, EpochCheckpoint, InterruptAtEpochEnd
from nas_lightning.lightning.data import SearchData
from nas_lightning.lightning.search import SearchModule
from nas_lightning.lightning.selection import select
from nas_lightning.lightning.stages import SearchState, Stage, plan_stages, transfer
from nas_lightning.lightning.workbench import Workbench, callback_of, out_of_time
from nas_lightning.reports import save_curvature, save_genotype
from nas_lightning.run_folder import RunFolder
from nas_lightning.spaces.genotypes import Genotype
from nas_lightning.spaces.macro import check_image_size

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """The outcome of a search: the genotype, and the `search` and `selection` sections of the summary."""

    genotype: Genotype
    search: dict[str, Any]
    selection: dict[str, Any]


def build_module(bench: Workbench, stage: Stage) -> SearchModule:
    """The search module of a stage, with a supernet initialised from the seed.

    Raises:
        ConfigError: Parts that do not fit each other or the images.
    """
    config, data = bench.config, bench.data
    L.seed_everything(config.seed, workers=True, verbose=False)
    space = bench.space
    settings = config.search
    regularizers = bench.build_named("regularizer", {"epochs": settings.epochs, "image_size": data.image_size})
    for part in regularizers.values():
        space = part.build(space)
    check_image_size(data.image_size, settings.layers, settings.stem)
    supernet = space.supernet(
        data.num_classes,
        data.in_channels,
        settings.init_channels,
        settings.layers,
        settings.stem,
        engine=config.engine,
    )
    supernet.attach(tuple(regularizers.values()))  # type: ignore[operator]
    module = SearchModule(
        space,
        supernet,
        bench.build("relaxation", bench.plain["relaxation"]),
        bench.build("hypergradient", bench.plain["hypergradient"]),
        bench.build("perturbation", bench.plain["perturbation"]),
        regularizers,
        bench.build("selector", bench.plain["selector"]),
        bench.objective,
        settings,
        config.seed,
    )
    module.stage, module.last_epoch = stage.index, stage.last_epoch
    return module


def stages_of(bench: Workbench) -> list[Stage]:
    """The stages of the search; none where the selector needs no trained supernet."""
    selector = bench.build("selector", bench.plain["selector"])
    return plan_stages(bench.plain, bench.config.search) if getattr(selector, "needs_supernet", True) else []


def bench_of(bench: Workbench, stage: Stage) -> Workbench:
    """The parts as a stage sees them; data are read again only where the stage changes something."""
    return bench if stage.config == bench.plain else bench.variant(stage.config)


def check_search(bench: Workbench) -> None:
    """Refuse what cannot be searched before anything is written or trained.

    Raises:
        ConfigError: Parts that do not fit each other or the images.
    """
    stages = stages_of(bench)
    if bench.plain["control"] and not stages:
        name = next(iter(bench.plain["control"]))
        raise ConfigError(f"control.{name}: no supernet is trained that it could steer; remove it, ~control.{name}")
    shapes: dict[str, torch.Size] | None = None
    for stage in stages:
        stage_bench = bench_of(bench, stage)
        search_data(stage_bench).setup("fit")
        module = build_module(stage_bench, stage)
        watching = list(stage_bench.build_named("callbacks").values())
        _check_learning(module)
        controls = stage_bench.build_named("control")
        if controls and not module.hypergradient.learns:
            raise ConfigError(
                f"control.{next(iter(controls))}: nothing is learnt that it could steer; remove it,"
                f" ~control.{next(iter(controls))}, or choose another hypergradient than none"
            )
        going_back = [name for name, control in controls.items() if getattr(control, "goes_back", False)]
        if len(going_back) > 1:
            raise ConfigError(
                f"control: {' and '.join(going_back)} would both go back; keep one, ~control.{going_back[1]}"
            )
        if going_back and stage_bench.config.search.stages is not None:
            raise ConfigError(
                f"control.{going_back[0]}: a search in stages cannot go back, it might have to enter an earlier stage;"
                " use search.stages=null"
            )
        for control in controls.values():
            if hasattr(control, "check"):
                control.check(module, watching)
        found = {name: tensor.shape for name, tensor in module.state_dict().items()}
        if shapes is not None and found != shapes:
            raise ConfigError(f"search.stages: stage {stage.name} has another supernet than the one before")
        shapes = found


def _check_learning(module: SearchModule) -> None:
    """Refuse combinations in which the architecture cannot be learnt, or is read without having been.

    Raises:
        ConfigError: Such a combination.
    """
    arch = {name: a.detach().requires_grad_() for name, a in module.arch.items()}
    mixing = module.relaxation(arch, 0, draws.seeded_generator(0))
    if module.hypergradient.learns:
        if not any(weights.requires_grad for weights in mixing.values()):
            raise ConfigError(
                f"relaxation: {type(module.relaxation).__name__} has nothing to learn; use hypergradient=none, or"
                " method=rs_ws"
            )
        return
    if module.genotype() is not None:
        raise ConfigError(
            f"hypergradient: {type(module.hypergradient).__name__} learns no architecture that selector"
            f" {type(module.selector).__name__} could read; use selector=random_search, or"
            " hypergradient=first_order"
        )
    if module.perturbation.epsilon(module.settings.epochs - 1, module.settings.epochs) > 0:
        raise ConfigError("perturbation: drawn paths are not perturbed; use perturbation=none")


def search_data(bench: Workbench) -> SearchData:
    """The images of a search."""
    settings = bench.config.search
    return SearchData(bench.data, settings.batch_size, bench.config.seed, **bench.loaders.model_dump())


def run_search(bench: Workbench) -> Searched:
    """Search, or go on searching where the run folder's checkpoint left off, and derive the genotype.

    Raises:
        ConfigError: Parts that do not fit each other or the images.
        Interrupted: The user stopped the search; the folder can be resumed.
    """
    folder = bench.folder
    path = folder.checkpoints / "last.ckpt"
    saved = folder.checkpoint("last.ckpt")
    if saved is None and folder.read_metrics():
        log.warning("no checkpoint in %s: the search starts again", folder)
    cost = Cost()
    state: SearchState | None = None
    module: SearchModule | None = None
    for stage in stages_of(bench):
        if saved is not None and stage.index < saved["search"]["stage"]:
            continue
        stage_bench = bench_of(bench, stage)
        module = build_module(stage_bench, stage)
        if saved is not None and (saved["search"]["stopped"] or saved["search"]["search_epoch"] >= stage.last_epoch):
            state = _restore_finished(module, saved, cost)
        else:
            if state is not None:
                transfer(state, module)
            if saved is not None:  # Lightning restores the module only after it has asked for the loaders
                module.epoch_offset = saved["search"]["epoch_offset"]
            state = _fit(stage_bench, module, cost, path if saved is not None else None, state)
        saved = None
        if state.stopped:
            break
    data: SearchData | None = None
    if state is not None:
        data = search_data(bench)
        data.setup("fit")
        data.first_pass = state.epoch_offset
    try:
        genotype, selection = select(bench, module, data)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped in the selection; continue with resume={folder}") from error
    folder.save_genotype(genotype)
    save_genotype(genotype, folder.plots)
    save_curvature(folder.curvature, folder.plots)
    search = {
        "epochs": module.search_epoch if module is not None else 0,
        **cost.report(),
        "device": device_name(bench.plain["trainer"]),
        "precision": str(bench.plain["trainer"].get("precision") or "32-true"),
        "engine": bench.config.engine,
        **_found_in_tables(folder, module.search_epoch - 1 if module is not None else -1),
    }
    return Searched(genotype, search, selection)


def _found_in_tables(folder: RunFolder, last: int) -> dict[str, Any]:
    """What the tables tell of the supernet that the search ended with.

    Args:
        folder: The run folder.
        last: The search epoch at whose end that supernet stood, which a control may have gone back to.
    """
    rows = [row for row in folder.read_metrics() if row["phase"] == "search"]
    metrics = [row for row in rows if int(row["search_epoch"]) == last]  # of several attempts the last one counts
    curvature = folder.read_curvature()

    def number(row: dict[str, str] | None, name: str, digits: int) -> float | None:
        value = float((row or {}).get(name) or math.nan)
        return round(value, digits) if math.isfinite(value) else None

    events = [row for row in curvature if row["event"]]
    stopped = [int(row["search_epoch"]) for row in events if row["event"] == "stopped"]
    measured = [row for row in curvature if int(row["search_epoch"]) <= last]
    nearest = max(measured, key=lambda row: (int(row["search_epoch"]), int(row["epoch"])), default=None)
    return {
        "val_accuracy": number(metrics[-1] if metrics else None, "val_accuracy", 4),
        "curvature_seconds": round(sum(float(row["seconds"]) for row in curvature), 3) if curvature else None,
        "stopped_at": stopped[-1] if stopped else None,
        "rolled_back_to": int(events[-1]["to_epoch"]) if events else None,
        # Of the last measurement up to that epoch: a control can go back to one that was not measured.
        "dominant_eigenvalue": number(nearest, "dominant_eigenvalue", 6),
    }


def _fit(
    bench: Workbench, module: SearchModule, cost: Cost, resume_from: Path | None, before: SearchState | None
) -> SearchState:
    """Train one stage and return what it leaves."""
    settings = bench.config.search
    watching = list(bench.build_named("callbacks").values())
    controls = bench.build_named("control")
    for control in controls.values():
        if before is not None and control.state_key in before.controls:
            control.load_state_dict(before.controls[control.state_key])
    reach = max((c.reach(module, watching) for c in controls.values() if hasattr(c, "reach")), default=0)
    trainer = bench.trainer(
        "search",
        epochs=settings.epochs,
        checkpoints=bench.folder.checkpoints,
        max_epochs=-1,
        checkpoint=EpochCheckpoint(bench.folder.checkpoints, settings.snapshots, reach),
        extra=[cost],
        steering=list(controls.values()),
        watching=watching,
    )
    data = search_data(bench)
    data.first_pass = module.epoch_offset
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening():
        trainer.fit(module, datamodule=data, ckpt_path=resume_from)
    if interrupt.requested or out_of_time(trainer):
        raise Interrupted(f"stopped after epoch {module.search_epoch}; continue with resume={bench.folder}")
    return _state_of(
        module,
        [optimizer.state_dict() for optimizer in trainer.optimizers],
        module.epoch_offset + trainer.current_epoch,
        {control.state_key: control.state_dict() for control in controls.values()},
    )


def _restore_finished(module: SearchModule, saved: dict[str, Any], cost: Cost) -> SearchState:
    """The state of a stage that had ended when the run was cut off."""
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    cost.load_state_dict(saved["callbacks"]["Cost"])
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
        controls=controls,
    )


def device_name(trainer_part: dict[str, Any]) -> str:
    """The GPU's name, or the kind of accelerator in words."""
    accelerator = trainer_part.get("accelerator", "auto")
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"
