"""Refuse searches that cannot run, before anything is written or trained."""

from collections.abc import Sequence

import torch

from nas_lightning.capture.policy import reason_of_device, reason_of_processes
from nas_lightning.config.schema import RootConfig
from nas_lightning.core import draws
from nas_lightning.core.choices import Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.selector import Selector
from nas_lightning.searches.build import bench_of, build_module, search_data, stages_of
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.stages import Stage, shapes_of
from nas_lightning.spaces.widening import plan_widening
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench


def check_search(bench: Workbench) -> None:
    """Check every stage of a search by building it, before anything is written or trained.

    Raises:
        ConfigError: The parts do not fit each other or the images, or a stage does not fit the one before.
    """
    stages = stages_of(bench)
    if bench.config.control and not stages:
        name = next(iter(bench.config.control))
        raise ConfigError(
            f"control.{name}: no supernet is trained, so it has nothing to control; remove it, ~control.{name}"
        )
    processes = number_of_processes(bench.config.trainer)
    previous: SearchModule | None = None
    searched: list[SearchModule] = []
    for stage in stages:
        try:
            module = _check_stage(bench, stage, processes)
            if stage.fresh:
                previous = None  # it takes nothing over that could not fit
            if previous is not None and shapes_of(previous.supernet) != shapes_of(module.supernet):
                plan_widening(
                    previous.supernet, module.supernet, draws.seeded_generator(0)
                )  # raises if a shape cannot grow
        except ConfigError as error:
            if stage.config is bench.config:
                raise
            raise ConfigError(f"{error} (in stage {stage.name})") from error
        if previous is not None:
            _check_same_optimizers(previous, module)
        previous = module
        searched += [module] if stage.phase == "search" else []
    _check_strengths(searched)


IDLE = {
    "relaxation": ("uniform", "nas_lightning.relaxations.Uniform"),
    "hypergradient": ("none", "nas_lightning.hypergradients.Nothing"),
    "perturbation": ("none", "nas_lightning.perturbations.Identity"),
}
"""What methods that fill a pool name for the parts of a supernet: the option and its target."""


def check_idle(config: RootConfig) -> None:
    """Refuse parts of a supernet beside a pool, where they would have no effect without a word.

    Raises:
        ConfigError: There is such a part.
    """
    for section in ("control", "regularizer"):
        for name in getattr(config, section):
            raise ConfigError(
                f"{section}.{name}: no supernet is trained, so it would have no effect; remove it, ~{section}.{name}"
            )
    for section, (option, target) in IDLE.items():
        given = getattr(config, section)["_target_"]
        if given != target:
            raise ConfigError(
                f"{section}: no supernet is trained, so {given.rpartition('.')[2]} would have no effect; use"
                f" {section}={option}, or a method that trains one, such as method=darts"
            )


def _check_stage(bench: Workbench, stage: Stage, processes: int) -> SearchModule:
    """Check the images, parts, controls and schedule of a single stage, and return its module."""
    stage_bench = bench_of(bench, stage)
    images = search_data(stage_bench)
    images.expected_processes = processes
    images.setup("fit")
    module = build_module(stage_bench, stage)
    if bench.config.graph == "required":
        reasons = [reason_of_device(bench.probe.strategy.root_device), reason_of_processes(processes)]
        module.passes.policy.refuse_any(reasons)
    _check_learning(module)
    if stage.phase == "search":
        for part in module.regularizers.values():
            part.check(module)
        _check_controls(stage_bench, module)
        warmup, progress = module.settings.arch.warmup_epochs, module.progress
        length = progress.last_epoch - progress.first_epoch
        if module.hypergradient.learns and warmup >= length:
            raise ConfigError(
                f"search.arch.warmup_epochs={warmup}: the warm-up is that of every stage, and {stage.name} has only"
                f" {length} epochs, so its architecture would never be trained; use fewer, or a longer stage"
            )
        interval = module.settings.arch.interval
        if interval > 1 and module.hypergradient.learns:
            steps = (length - warmup) * len(images.train_dataloader()["train"])
            if interval > steps:
                raise ConfigError(
                    f"search.arch.interval={interval}: {stage.name} has only {steps} steps after the warm-up, so its"
                    f" architecture might never be trained; use search.arch.interval={steps} or less"
                )
    return module


def _check_controls(bench: Workbench, module: SearchModule) -> None:
    """Refuse controls that do not fit the search or each other.

    Raises:
        ConfigError: Nothing is learned, two controls exclude each other, or a control refuses the search.
    """
    controls = bench.named("control")
    if controls and not module.hypergradient.learns:
        raise ConfigError(
            f"control.{next(iter(controls))}: no architecture is learned, so it has nothing to control; remove it,"
            f" ~control.{next(iter(controls))}, or choose a hypergradient other than none"
        )
    going_back = [name for name, control in controls.items() if control.goes_back]
    if len(going_back) > 1:
        raise ConfigError(
            f"control: {' and '.join(going_back)} would both roll back; keep one, ~control.{going_back[1]}"
        )
    deciding = [name for name, control in controls.items() if control.decides]
    if going_back and deciding:
        raise ConfigError(
            f"control: {deciding[0]} makes final decisions, which {going_back[0]} would undo by rolling back; keep one,"
            f" ~control.{going_back[0]}"
        )
    if going_back and bench.config.search.stages is not None:
        raise ConfigError(
            f"control.{going_back[0]}: a search in stages cannot roll back, as it might have to return to an earlier"
            " stage; use search.stages=null"
        )
    watching = list(bench.named("callbacks").values())
    for control in controls.values():
        control.check(module, watching)


def _check_learning(module: SearchModule) -> None:
    """Refuse combinations whose architecture cannot be learned, or is read although it was not learned.

    Raises:
        ConfigError: Relaxation, hypergradient, perturbation and selector do not fit each other or the space.
    """
    arch = {name: a.detach().requires_grad_() for name, a in module.arch.items()}
    mixing = module.relaxation(arch, 0, draws.seeded_generator(0))
    in_weight_step = module.relaxation.in_weight_step(arch, 0, draws.seeded_generator(0))
    module.perturbation.check(module.space.choices)
    module.selector.check(module.space)
    drawn = module.relaxation.active(in_weight_step) is not None
    if drawn and _perturbs(module):
        raise ConfigError("perturbation: sampled paths cannot be perturbed; use perturbation=none")
    if not drawn:
        _check_simplex(module, in_weight_step)
    if type(module.selector).select is Selector.select and module.genotype() is None:
        raise ConfigError(
            f"selector: {type(module.selector).__name__} derives no genotype; give it a method select, or __call__, or"
            " use selector=magnitude"
        )
    if module.hypergradient.second_order and module.settings.weights.optimizer != "sgd":
        raise ConfigError(
            f"search.weights.optimizer={module.settings.weights.optimizer}: hypergradient"
            f" {type(module.hypergradient).__name__} unrolls a step of SGD; use search.weights.optimizer=sgd or"
            " hypergradient=first_order"
        )
    if module.hypergradient.learns:
        _check_optimizer(module)
        _check_one_level(module)
        if not any(weights.requires_grad for weights in mixing.values()):
            raise ConfigError(
                f"relaxation: {type(module.relaxation).__name__} has no parameters to learn; use hypergradient=none"
                " selector=random_search, or relaxation=softmax"
            )
        return
    if module.genotype() is not None:
        raise ConfigError(
            f"hypergradient: {type(module.hypergradient).__name__} learns no architecture, but selector"
            f" {type(module.selector).__name__} derives the genotype from one; use selector=random_search, or"
            " hypergradient=first_order"
        )


def _check_optimizer(module: SearchModule) -> None:
    """Refuse an optimizer of the architecture that does not fit its parameters.

    Raises:
        ConfigError: Parameters on the simplex would leave it, others are none, or weight decay would have no effect.
    """
    weights = module.settings.weights
    if weights.optimizer == "adam" and (weights.momentum or weights.nesterov):
        given = "nesterov=true" if weights.nesterov else f"momentum={weights.momentum}"
        raise ConfigError(
            f"search.weights.{given}: search.weights.optimizer=adam has moments of its own; use"
            " search.weights.momentum=0 search.weights.nesterov=false, or search.weights.optimizer=sgd"
        )
    settings, name = module.settings.arch, type(module.relaxation).__name__
    multiplies = settings.optimizer == "exponentiated_gradient"
    if multiplies != module.relaxation.on_simplex:
        are, other = ("no weights", "relaxation=simplex") if multiplies else ("weights", "relaxation=softmax")
        fitting = "adam" if multiplies else "exponentiated_gradient"
        raise ConfigError(
            f"search.arch.optimizer={settings.optimizer}: parameters of relaxation {name} are {are} on the simplex; use"
            f" search.arch.optimizer={fitting}, or {other}"
        )
    if multiplies and settings.weight_decay:
        raise ConfigError(
            f"search.arch.weight_decay={settings.weight_decay:g}: exponentiated gradients have none; use"
            " search.arch.weight_decay=0.0, and relaxation.entropy=1e-3 to stay near uniform weights"
        )


def _check_same_optimizers(before: SearchModule, module: SearchModule) -> None:
    """Refuse a stage whose optimizers are of another kind than those whose moments it takes over.

    Raises:
        ConfigError: They are.
    """
    for key in ("weights", "arch"):
        old, new = (getattr(part.settings, key).optimizer for part in (before, module))
        if old != new:
            raise ConfigError(
                f"search.{key}.optimizer={new}: the stage before has {old}, whose moments are taken over; use one"
                " optimizer in all stages"
            )


def _check_one_level(module: SearchModule) -> None:
    """Refuse what one backward pass for weights and architecture cannot give.

    Raises:
        ConfigError: Weights and architecture would need different passes.
    """
    if module.settings.arch.images != "train":
        return
    key = "search.arch.images=train: one backward pass serves weights and architecture"
    if not module.hypergradient.direct:
        raise ConfigError(
            f"{key}, so there is no inner problem for {type(module.hypergradient).__name__}; use"
            " hypergradient=first_order, or search.arch.images=val"
        )
    if _perturbs(module):
        raise ConfigError(f"{key}, at unperturbed mixing weights; use perturbation=none, or search.arch.images=val")
    if type(module.relaxation).in_weight_step is not Relaxation.in_weight_step:
        raise ConfigError(
            f"{key}, but {type(module.relaxation).__name__} has mixing weights of its own for the weight step; use"
            " relaxation=softmax, or search.arch.images=val"
        )


def _check_strengths(searched: Sequence[SearchModule]) -> None:
    """Refuse a selector that takes some choices by strengths, if no stage of the search learns these.

    Raises:
        ConfigError: They would be those of the initial architecture parameters.
    """
    if not searched or any(module.hypergradient.learns for module in searched):
        return
    module = searched[-1]
    taken = [
        name
        for name, choice in module.space.choices.items()
        if choice.kind in module.selector.by_strength
        and any(k < len(options) for k, options in zip(choice.taken, choice.options, strict=True))
    ]
    if taken:
        raise ConfigError(
            f"hypergradient: {type(module.hypergradient).__name__} learns no architecture, but selector"
            f" {type(module.selector).__name__} takes {' and '.join(taken)} of space={module.space.name} by learned"
            " weights; use hypergradient=first_order, selector=random_search, or another space"
        )


def _perturbs(module: SearchModule) -> bool:
    """Return whether the weight step is perturbed in any epoch."""
    epochs = module.settings.epochs
    return any(module.perturbation.epsilon(epoch, epochs) > 0 for epoch in range(epochs))


def _check_simplex(module: SearchModule, mixing: Mixing) -> None:
    """Refuse rows off the simplex if a perturbation would renormalise them, or if the relaxation declares otherwise.

    Raises:
        ConfigError: Rows of mixing weights do not sum to 1 as they have to.
    """
    relaxation, name = module.relaxation, type(module.relaxation).__name__
    if module.perturbation.simplex and not relaxation.simplex and _perturbs(module):
        raise ConfigError(
            f"perturbation: {type(module.perturbation).__name__} projects mixing weights onto the simplex, but those of"
            f" relaxation {name} do not sum to 1; use perturbation=none"
        )
    for choice in module.space.choices.values():
        if mixing[choice.name].detach().cpu()[~choice.mask].any():
            raise ConfigError(
                f"relaxation: {name} gives weight to options that rows of '{choice.name}' do not have; set to 0 what"
                " self.mask(name, device) leaves out"
            )
        rows = mixing[choice.name].detach().sum(dim=1)
        if relaxation.simplex and choice.kind == "op" and not torch.allclose(rows, torch.ones_like(rows), atol=1e-4):
            raise ConfigError(
                f"relaxation: {name} declares that its rows sum to 1, but one of '{choice.name}' sums to"
                f" {float(rows[(rows - 1).abs().argmax()]):g}; give the class simplex = False"
            )
