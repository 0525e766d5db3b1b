"""The stages, the module and the images of a search, built from its configuration."""

from dataclasses import replace

import lightning as L
from nas_lightning.core.decisions import Decisions
from nas_lightning.data.module import SearchData
from nas_lightning.search.module import SearchModule
from nas_lightning.search.stages import SearchState, Stage, plan_stages, selection_stage
from nas_lightning.training.workbench import Workbench


def stages_of(bench: Workbench, until: int | None = None) -> list[Stage]:
    """The stages of the search; none where the selector needs no trained supernet.

    Args:
        bench: The parts of the run.
        until: Index of the last stage that was searched, whose configuration a selector's own stage has; None is all.
    """
    selector = bench.build("selector", bench.plain["selector"])
    if not getattr(selector, "needs_supernet", True):
        return []
    stages = plan_stages(bench.plain, bench.config.search)[: None if until is None else until + 1]
    if hasattr(selector, "tuning"):
        tuning = selector.tuning(bench.space, bench_of(bench, stages[-1]).config.search)
        stages += [selection_stage(stages[-1], tuning)] if tuning is not None else []
    return stages


def planned_again(bench: Workbench, stage: Stage, state: SearchState) -> Stage:
    """The stage of a selector as long as it has to be after what the search has settled."""
    decisions = Decisions(bench.space.choices)
    decisions.load_state_dict(state.decisions)
    selector = bench.build("selector", bench.plain["selector"])
    tuning = selector.tuning(bench.space, bench.config.search, decisions)
    return replace(stage, last_epoch=stage.first_epoch + (0 if tuning is None else tuning.epochs))


def bench_of(bench: Workbench, stage: Stage) -> Workbench:
    """The parts as a stage sees them; data are read again only where the stage changes something."""
    return bench if stage.config == bench.plain else bench.variant(stage.config)


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
    space.check_image_size(data.image_size, settings.layers, settings.stem)
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
        bench.build("relaxation", bench.plain["relaxation"], {"epochs": settings.epochs}),
        bench.build("hypergradient", bench.plain["hypergradient"]),
        bench.build("perturbation", bench.plain["perturbation"]),
        regularizers,
        bench.build("selector", bench.plain["selector"]),
        bench.objective,
        settings,
        config.seed,
    )
    module.stage, module.phase = stage.index, stage.phase
    module.first_epoch, module.last_epoch = stage.first_epoch, stage.last_epoch
    module.settle()
    return module


def search_data(bench: Workbench) -> SearchData:
    """The images of a search."""
    settings = bench.config.search
    return SearchData(bench.data, settings.batch_size, bench.config.seed, **bench.loaders.model_dump())
