"""Schemas of the configuration, and the binding of every part to the signature of what it builds.

Plain sections (`search`, …) are pydantic models: every field has a type, a range and a unit. A part (anything with a
`_target_`) is described by its own constructor, whose annotations and `Field` ranges are read here, so that users'
own parts are checked exactly as ours are. All problems are found before anything is built, and reported together.
"""

import difflib
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from nas_lightning.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
EvenCount = Annotated[int, Field(ge=2, multiple_of=2)]
Schedule = Literal["cosine", "exponential", "linear"]

Part = dict[str, Any]
"""A section with a `_target_`; checked against the signature of the target."""

TRUSTED = ("nas_lightning", "torch", "torchvision", "torchmetrics", "lightning")
"""Packages from which targets may come without being named in `trusted`."""

REFUSED_TRAINER_KEYS = {
    "gradient_clip_val": "search.weights.clip and evaluation.clip",
    "gradient_clip_algorithm": "search.weights.clip and evaluation.clip (always the global L2 norm)",
    "accumulate_grad_batches": "search.batch_size and evaluation.batch_size",
    "max_epochs": "search.epochs and evaluation.epochs",
    "min_epochs": "search.epochs and evaluation.epochs",
    "callbacks": "the group callbacks, for instance +callbacks.mine._target_=package.Callback",
    "logger": "the group logger, for instance +logger.mine._target_=package.Logger",
    "default_root_dir": "hydra.run.dir",
}
"""Trainer arguments that would break manual optimisation or the run folder, and the keys to use instead."""


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WeightsConfig(Section):
    """Weight optimizer of the search: SGD, scheduled by the search epoch."""

    lr: Positive = Field(description="learning rate of the first epoch")
    lr_min: NonNegative = Field(description="learning rate that the cosine ends at")
    schedule: Schedule
    warmup_epochs: CountOrZero = Field(description="epochs of linear learning-rate warm-up")
    momentum: Fraction
    nesterov: bool
    weight_decay: NonNegative
    clip: Positive | None = Field(description="largest global L2 norm of the weight gradient; null: no clipping")


class ArchConfig(Section):
    """Architecture optimizer: Adam with coupled L2."""

    lr: Positive
    betas: tuple[Fraction, Fraction]
    weight_decay: NonNegative
    warmup_epochs: CountOrZero = Field(description="first epochs in which only the weights train")
    clip: Positive | None = Field(description="largest L2 norm of the architecture gradient; null: no clipping")


class StageConfig(Section):
    """One stage of a search: its own fit, with values that differ from the rest of the configuration."""

    name: str
    epochs: Count = Field(description="search epochs of this stage")
    overrides: dict[str, Any] = Field(default={}, description="dotted keys and their values in this stage")


class SearchConfig(Section):
    """The supernet search."""

    epochs: Count = Field(description="search epochs over all stages")
    batch_size: Count = Field(description="images a step")
    init_channels: EvenCount = Field(description="channels of the first cells")
    layers: Count = Field(description="cells")
    stem: Literal["cifar", "imagenet"]
    order: Literal["arch_first", "weights_first"]
    snapshots: Count | None = Field(description="keep the supernet every so many epochs; null: only the last")
    stages: list[StageConfig] | None = Field(description="stages in their order; null: one of all epochs")
    weights: WeightsConfig
    arch: ArchConfig


class RootConfig(Section):
    """The whole configuration."""

    task: Literal["pipeline", "search", "evaluate", "report", "list"]
    method: str
    seed: CountOrZero = Field(description="everything random")
    engine: Literal["reference"]
    threads: Count | None = Field(description="CPU threads of one operation; null: as many as torch takes")
    sweep: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(description="folder of a sweep's members")
    genotype: str | None
    runs: str | list[str] | None = Field(description="glob of run folders, for task=report")
    trusted: list[str] = Field(description="further packages that targets may come from")
    space: Part
    relaxation: Part
    hypergradient: Part
    perturbation: Part
    selector: Part
    objective: Part
    regularizer: dict[str, Part]
    control: dict[str, Part]
    callbacks: dict[str, Part]
    logger: dict[str, Part]
    search: SearchConfig
    data: Part
    evaluation: Part
    trainer: Part


PARTS = ("space", "relaxation", "hypergradient", "perturbation", "selector", "objective", "data", "evaluation")
"""Sections that are one part each."""
PART_LISTS = ("regularizer", "control", "callbacks", "logger")
"""Sections that are lists of named parts."""


class LoaderConfig(Section):
    """Keys of `data` that the loaders read, whatever the source."""

    num_workers: CountOrZero = Field(default=0, description="processes that load images")
    split: Literal["halves_by_order", "stratified"] = Field(
        default="stratified", description="how the search halves are cut"
    )
    val_fraction: Fraction = Field(
        default=0.0, description="share of the training images that becomes a validation split of its own"
    )
    augment_val: bool = Field(default=True, description="whether val is augmented like arch, as published")


def validate(config: Mapping[str, Any]) -> RootConfig:
    """Check a resolved configuration, all of it, and return the typed sections.

    Raises:
        ConfigError: One line with every problem: the key, its value, what is allowed, the override that mends it.
    """
    problems: list[str] = []
    trusted = config.get("trusted")
    trusted = tuple(trusted) if isinstance(trusted, list) else ()
    for name in PARTS:
        if isinstance(config.get(name), Mapping):
            problems += check_part(name, config[name], trusted)
    for name in PART_LISTS:
        parts = config.get(name)
        if not isinstance(parts, Mapping):
            continue
        if "_target_" in parts:
            problems.append(
                f"{name} is a list of named parts: give the part a name, +{name}.mine._target_={parts['_target_']}"
            )
            continue
        for key, part in parts.items():
            if isinstance(part, Mapping):
                problems += check_part(f"{name}.{key}", part, trusted)
    if isinstance(config.get("trainer"), Mapping):
        problems += _check_trainer(config["trainer"])
    root: RootConfig | None = None
    try:
        root = RootConfig.model_validate_json(json.dumps(config))
    except ValidationError as error:
        problems += [_describe(problem, "", RootConfig) for problem in error.errors()]
    if problems or root is None:
        raise ConfigError("; ".join(dict.fromkeys(problems)))
    if root.search.arch.warmup_epochs >= root.search.epochs and root.task in ("pipeline", "search"):
        raise ConfigError(
            f"search.arch.warmup_epochs={root.search.arch.warmup_epochs}: the architecture would never be trained in"
            f" search.epochs={root.search.epochs} epochs; use search.arch.warmup_epochs=0 or more epochs"
        )
    if root.search.stages is not None and sum(s.epochs for s in root.search.stages) != root.search.epochs:
        lengths = " + ".join(str(stage.epochs) for stage in root.search.stages)
        raise ConfigError(
            f"search.epochs={root.search.epochs}: the stages have {lengths} epochs; make search.epochs their sum"
        )
    return root


def target_of(path: str, part: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The object that `_target_` names.

    Raises:
        ConfigError: There is no target, it comes from a package that is not trusted, or it does not exist.
    """
    target = part.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{path} names nothing to build: it needs {path}._target_=package.Class")
    package = target.split(".", 1)[0]
    if package not in (*TRUSTED, *trusted):
        allowed = ", ".join((*TRUSTED, *trusted))
        raise ConfigError(
            f"{path}._target_={target}: targets come from {allowed}; allow this package with trusted=[{package}]"
        )
    module: str = target
    names: list[str] = []
    while "." in module:
        module, name = module.rsplit(".", 1)
        names.insert(0, name)
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and module.startswith(error.name):
                continue
            raise ConfigError(f"{path}._target_={target}: importing it failed ({error})") from error
        for name in names:
            found = getattr(found, name, None)
        if callable(found):
            return found
        break
    raise ConfigError(f"{path}._target_={target}: no such class or function")


def check_part(path: str, part: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> list[str]:
    """Bind a part to the signature of its target; returns the problems found."""
    try:
        target = target_of(path, part, trusted)
    except ConfigError as error:
        return [str(error)]
    given = {key: value for key, value in part.items() if not (key.startswith("_") and key.endswith("_"))}
    problems: list[str] = []
    model = signature_model(target, with_data_keys=path == "data")
    for key, value in given.items():
        if isinstance(value, Mapping) and "_target_" in value:
            problems += check_part(f"{path}.{key}", value, trusted)
    try:
        model.model_validate_json(json.dumps(given))
    except ValidationError as error:
        problems += [_describe(problem, path, model) for problem in error.errors()]
    return problems


@cache
def signature_model(target: Callable[..., Any], with_data_keys: bool = False) -> type[BaseModel]:
    """A pydantic model with one field an argument of `target`, types and ranges from its annotations."""
    init = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    fields: dict[str, Any] = {}
    extra: Literal["allow", "forbid"] = "forbid"
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        annotation = hints.get(name, Any)
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (_checkable(annotation), default)
    if with_data_keys:
        for name, field in LoaderConfig.model_fields.items():
            fields.setdefault(name, (field.rebuild_annotation(), field.default))
    config = ConfigDict(extra=extra, strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    return create_model("Arguments", __config__=config, **fields)


def _checkable(annotation: Any) -> Any:
    """The annotation where JSON can be checked against it, else Any (a nested part, a class of the user's)."""
    try:
        create_model(
            "Probe",
            __config__=ConfigDict(strict=True, arbitrary_types_allowed=False),
            value=(annotation, ...),
        ).model_json_schema()
    except Exception:  # whatever pydantic cannot express is simply not checked
        return Any
    return annotation


def _check_trainer(trainer: Mapping[str, Any]) -> list[str]:
    problems = [
        f"trainer.{key}={trainer[key]}: not with manual optimisation; use {instead}"
        for key, instead in REFUSED_TRAINER_KEYS.items()
        if trainer.get(key) is not None
    ]
    if trainer.get("precision") in ("16-mixed", "16", 16):
        problems.append(
            f"trainer.precision={trainer['precision']}: gradients of the architecture are taken without a gradient"
            " scaler; use trainer.precision=bf16-mixed or trainer.precision=32-true"
        )
    return problems + check_part("trainer", trainer)


def _describe(problem: Any, path: str, model: type[BaseModel]) -> str:
    """One problem in words: key=value, what is wrong, what is allowed."""
    location = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "constrained"))]
    key = ".".join([path, *location] if path else location)
    kind, context = problem["type"], problem.get("ctx", {})
    value = problem["input"]
    if kind == "extra_forbidden":
        names = list(_fields_at(model, location[:-1]))
        near = difflib.get_close_matches(location[-1], names, n=1)
        hint = f"did you mean {'.'.join(key.split('.')[:-1] + near)}?" if near else f"allowed: {', '.join(names)}"
        return f"{key}={value}: unknown key; {hint}"
    if kind == "missing":
        return f"{key} is missing; give it on the command line: {key}=VALUE"
    shown = json.dumps(value) if isinstance(value, list | dict | type(None)) else value
    words = {
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "multiple_of": "must be a multiple of {multiple_of}",
        "literal_error": "allowed: {expected}",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be text",
    }
    text = words[kind].format(**context) if kind in words else problem["msg"]
    return f"{key}={shown}: {text}; write {key}=VALUE"


def _fields_at(model: type[BaseModel], location: list[str]) -> Mapping[str, Any]:
    for name in location:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return {}
        model = annotation
    return model.model_fields
