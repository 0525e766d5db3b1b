"""The stages, the module and the images of a search, built from its configuration."""

from dataclasses import replace

import lightning as L

from nas_lightning.core.decisions import Decisions
from nas_lightning.data.module import SearchData
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.progress import Progress
from nas_lightning.searches.stages import SearchState, Stage, plan_stages, selection_stage
from nas_lightning.training.workbench import Workbench


def stages_of(bench: Workbench, until: int | None = None) -> list[Stage]:
    """Return the stages of the search; none where the selector needs no trained supernet.

    Args:
        bench: The parts of the run.
        until: Index of the last stage that was searched, whose configuration a selector's own stage has; None is all.

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


def planned_again(bench: Workbench, stage: Stage, state: SearchState) -> Stage:
    """Return the stage of a selector as long as it has to be after what the search has settled."""
    decisions = Decisions(bench.space.choices)
    decisions.load_state_dict(state.decisions)
    tuning = bench.selector.tuning(bench.space, bench.config.search, decisions)
    return replace(stage, last_epoch=stage.first_epoch + (0 if tuning is None else tuning.epochs))


def bench_of(bench: Workbench, stage: Stage) -> Workbench:
    """Return the parts as a stage sees them; data are read again only where the stage changes something."""
    if stage.config is bench.config:
        return bench
    # Kept with its parts, so that no other configuration can have this one's id.
    return bench.once(f"parts of {id(stage.config)}", lambda: bench.variant(stage.config))


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
        bench.part("relaxation", {"epochs": settings.epochs}),
        bench.part("hypergradient"),
        bench.part("perturbation"),
        regularizers,
        bench.selector,
        bench.objective,
        settings,
        config.seed,
    )
    module.progress = Progress(
        stage=stage.index, phase=stage.phase, first_epoch=stage.first_epoch, last_epoch=stage.last_epoch
    )
    module.settle()
    return module


def search_data(bench: Workbench) -> SearchData:
    """The images of a search."""
    settings = bench.config.search
    return SearchData(bench.data, settings.batch_size, bench.config.seed, **bench.loaders.model_dump())
