"""Build the stages, the module and the images of a search from its configuration."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning as L
from torch import Tensor

from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError
from nas_lightning.data.modules import search_module
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.progress import Progress
from nas_lightning.searches.stages import SearchState, Stage, plan_stages, selection_stage
from nas_lightning.training.workbench import Workbench


def stages_of(bench: Workbench, until: int | None = None) -> list[Stage]:
    """Return the stages of the search; an empty list if the selector needs no trained supernet.

    Args:
        bench: The parts of the run.
        until: Index of the last stage that was searched; a selector's own stage gets its configuration. None is all.

    Raises:
        ConfigError: An override of a stage is wrong.
    """
    return bench.once(f"stages until {until}", lambda: _planned(bench, until))


def _planned(bench: Workbench, until: int | None) -> list[Stage]:
    if not bench.selector.needs_supernet:
        return []
    stages = plan_stages(bench.config)[: None if until is None else until + 1]
    tuning = bench.selector.tuning(bench.space, stages[-1].config.search)
    return [*stages, selection_stage(stages[-1], tuning)] if tuning is not None else stages


def replanned(bench: Workbench, stage: Stage, state: SearchState) -> Stage:
    """Return the stage of a selector, shortened by the decisions that the search has made already."""
    decisions = Decisions(bench.space.choices)
    decisions.load_state_dict(state.decisions)
    tuning = bench.selector.tuning(bench.space, bench.config.search, decisions)
    return replace(stage, last_epoch=stage.first_epoch + (0 if tuning is None else tuning.epochs))


def bench_of(bench: Workbench, stage: Stage) -> Workbench:
    """Return the workbench of a stage: the given one, or a variant that is built once if the stage has overrides."""
    if stage.config is bench.config:
        return bench
    # The variant keeps its configuration alive, so no other one can be given the same id.
    return bench.once(f"parts of {id(stage.config)}", lambda: bench.variant(stage.config))


def build_module(bench: Workbench, stage: Stage, built: Mapping[str, Tensor] | None = None) -> SearchModule:
    """Build the search module of a stage, with a supernet initialised from the seed.

    Args:
        bench: The workbench of the stage.
        stage: The stage.
        built: Options that the supernet has, boolean [R, O] by choice; empty or None is all of the space.

    Raises:
        ConfigError: The parts do not fit each other or the images.
    """
    config, data = bench.config, bench.data
    # The layers of the supernet draw their weights from the global state: each stage starts from the same seed, however
    # many random numbers were drawn before, so that a stage that is resumed is built as it was. A later
    # fresh stage has a seed of its own.
    L.seed_everything(stage.seed, workers=True, verbose=False)
    space = bench.space
    settings = config.search
    lengths = {"epochs": settings.epochs, "warmup_epochs": settings.arch.warmup_epochs}
    regularizers = bench.build_named("regularizer", {**lengths, **data.fill(), "costs": bench.costs})
    for name, part in regularizers.items():
        if part.alters_images() and data.kind != "images":
            raise ConfigError(
                f"regularizer.{name}: alters images, but data={data.name} holds {data.kind}; leave it out,"
                f" ~regularizer.{name}, or use another method"
            )
        space = part.build(space)  # in the order of the configuration: a part may change the space of the next
    narrow = space.narrowed(built or {})
    supernet = narrow.build_supernet(data, bench.objective.outputs(data.num_classes), settings, config.engine)
    supernet.attach(tuple(regularizers.values()))  # type: ignore[operator]
    supernet.recomputes = settings.recompute  # type: ignore[assignment]
    module = SearchModule(
        space,
        supernet,
        bench.part("relaxation", {"epochs": settings.epochs}),
        bench.part("hypergradient"),
        bench.part("perturbation"),
        regularizers,
        bench.selector,
        bench.objective,
        settings,
        stage.seed,
        config.graph,
    )
    module.built = dict(built or {})
    module.progress = Progress(
        stage=stage.index,
        phase=stage.phase,
        first_epoch=stage.first_epoch,
        last_epoch=stage.last_epoch,
        schedule_start=stage.schedule_start,
    )
    module.settle()
    return module


def enter_fresh(bench: Workbench, before: SearchModule, state: SearchState) -> SearchState:
    """Let the controls of a fresh stage act at its start, on what the stage before has learned.

    Args:
        bench: The workbench of the fresh stage.
        before: Module at the end of the stage before.
        state: The state that it ended with.

    Returns:
        The state with the decisions, and the memory of the controls without what depends on the weights of before.
    """
    memory = dict(state.controls)
    for control in bench.build_named("control").values():
        if control.state_key in memory:
            control.load_state_dict(memory[control.state_key])
        control.at_stage_start(before)
        control.at_fresh_stage()
        memory[control.state_key] = control.state_dict()
    return replace(state, decisions=before.decisions.state_dict(), controls=memory)


def stand_in(bench: Workbench, stage: Stage) -> SearchModule:
    """Build the module of a stage, to predict its cost, as if the controls had acted on what nothing has learned.

    Where it trains the weights of a later fresh stage, whose controls have dropped options, it has as many options as
    it will have, though others.

    Args:
        bench: The workbench of the stage.
        stage: The stage.
    """
    module = build_module(bench, stage)
    built: dict[str, Tensor] = {}
    for one in stage.so_far:
        # The stage of a selector has controls of its own.
        controls = bench_of(bench, one).build_named("control") if one.phase == "search" else {}
        for control in controls.values():
            control.at_stage_start(module)
        if one.index == stage.root and stage.root and not module.decisions.open:
            built = module.decisions.state_dict()["kept"]
    if not built:
        return module
    decisions = module.decisions.state_dict()
    module = build_module(bench, stage, built)
    module.settle(decisions)
    return module


def search_data(bench: Workbench) -> Any:
    """Build the data module of a search, not set up yet: `data.streams.SearchStreams`."""
    settings = bench.config.search
    data = search_module(bench.data, settings.batch_size, bench.config.seed, bench.loaders.model_dump())
    data.arch_stream = settings.arch.images == "val"
    return data
