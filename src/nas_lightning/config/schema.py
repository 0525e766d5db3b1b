"""Schemas of the configuration: every field has a type, a range and a unit.

Plain sections (`search`, …) are pydantic models, parts are bound to the signatures of their targets (`parts.py`). All
problems are found before anything is built, and reported together.
"""

import copy
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from nas_lightning.config.parts import check_part, problems_of
from nas_lightning.config.secrets import secrets_in
from nas_lightning.core.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Word = Annotated[str, Field(min_length=1)]
EvenCount = Annotated[int, Field(ge=2, multiple_of=2)]
Schedule = Literal["cosine", "exponential", "linear", "constant"]

Part = dict[str, Any]
"""A section with a `_target_`, checked against the signature of the target."""

REFUSED_TRAINER_KEYS = {
    "gradient_clip_val": "use search.weights.clip and evaluation.clip",
    "gradient_clip_algorithm": "clipping is by the global L2 norm: search.weights.clip and evaluation.clip",
    "accumulate_grad_batches": "use search.batch_size and evaluation.batch_size",
    "max_epochs": "use search.epochs and evaluation.epochs",
    "min_epochs": "use search.epochs and evaluation.epochs",
    "max_steps": "use search.epochs and evaluation.epochs, or trainer.limit_train_batches",
    "min_steps": "use search.epochs and evaluation.epochs",
    "callbacks": "use the group callbacks: +callbacks.mine._target_=package.Callback",
    "logger": "use the group logger: +logger.mine._target_=package.Logger",
    "default_root_dir": "use hydra.run.dir",
    "enable_checkpointing": "a run can always be resumed",
    "reload_dataloaders_every_n_epochs": "loaders are functions of the epoch",
    "use_distributed_sampler": "loaders cut their images themselves",
    "barebones": "it switches off what a run folder needs",
}
"""Trainer arguments that would break manual optimisation or the run folder, and what to use instead."""

PRECISIONS = ("32-true", "bf16-mixed", "32")


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class WeightsConfig(Section):
    """Weight optimizer of the search: SGD, scheduled by the search epoch."""

    lr: Positive = Field(description="learning rate of the first epoch")
    lr_min: NonNegative = Field(description="learning rate that the cosine ends at")
    schedule: Schedule
    warmup_epochs: CountOrZero = Field(description="epochs of linear learning-rate warm-up")
    restart: bool = Field(description="each stage starts at the full rate again and falls along the rest of the curve")
    momentum: Fraction
    nesterov: bool
    weight_decay: NonNegative
    clip: Positive | None = Field(description="largest global L2 norm of the weight gradient; null: no clipping")


class ArchConfig(Section):
    """Architecture optimizer: Adam with coupled L2."""

    lr: Positive
    betas: tuple[Fraction, Fraction]
    weight_decay: NonNegative
    warmup_epochs: CountOrZero = Field(description="first epochs of each stage in which only the weights train")
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
    checkpoint_minutes: Positive | None = Field(
        default=None, description="save between two batches, too, when the last save is so long ago; null: after epochs"
    )
    stages: list[StageConfig] | None = Field(description="stages in their order; null: a single stage")
    weights: WeightsConfig
    arch: ArchConfig


class CandidatesConfig(Section):
    """Several searches, of which the best is kept."""

    key: str | list[str] | None = Field(
        description="key that differs: seed or any other, or a list of keys varied together"
    )
    values: Count | list[Any] | None = Field(
        description="a value a member, or a list a member where keys are several; a number n is 0 to n-1"
    )
    epochs: Count = Field(description="epochs of the brief retraining that compares the members")
    evaluation: Part | None = Field(default=None, description="evaluator that retrains them; null: that of the run")

    def members(self) -> list[dict[str, Any]]:
        """Return the overrides of each member, values by dotted key; empty without candidates.

        Raises:
            ConfigError: Keys and values do not match.
        """
        if self.key is None:
            if self.values is not None:
                raise ConfigError(
                    f"candidates.values={json.dumps(self.values)}: needs the key that they are values of;"
                    " write candidates.key=seed"
                )
            return []
        keys = [self.key] if isinstance(self.key, str) else self.key
        values = list(range(self.values)) if isinstance(self.values, int) else self.values
        if not keys or not all(keys) or len(set(keys)) < len(keys):
            raise ConfigError(f"candidates.key={json.dumps(self.key)}: needs a key, or several different ones")
        if not values:
            raise ConfigError(
                f"candidates.values={json.dumps(values)}: needs a value a member; write candidates.values=[1,2]"
            )
        rows: list[list[Any]] = []
        for value in values:
            row = [value] if isinstance(self.key, str) else value
            if not isinstance(row, list) or len(row) != len(keys):
                raise ConfigError(
                    f"candidates.values={json.dumps(values)}: with keys {', '.join(keys)} each member needs a list of"
                    f" {len(keys)} values"
                )
            rows.append(row)
        if any(row in rows[:index] for index, row in enumerate(rows)):
            raise ConfigError(f"candidates.values={json.dumps(values)}: contains duplicates; give each value once")
        return [dict(zip(keys, row, strict=True)) for row in rows]


class ExportConfig(Section):
    """The files that task=export writes."""

    onnx: bool | None = Field(default=None, description="write network.onnx; null: where its packages are installed")


class PredictConfig(Section):
    """The images that task=predict reads and the labels that it reports."""

    batch_size: Count = Field(default=256, description="images at a time")
    num_workers: CountOrZero = Field(default=0, description="processes that read images; 0: the main process")
    top: Count = Field(default=5, description="most likely classes reported for each image")


class PlanConfig(Section):
    """The measurements of task=plan."""

    measure: bool = Field(default=True, description="time a few steps; false: only count")
    seconds: Positive = Field(default=3.0, description="time for which each kind of step is measured")
    step_seconds: str | None = Field(default=None, description="steps.csv of a plan made on another machine")


def _number_as_text(value: Any) -> Any:
    """Accept a number as a name: an architecture by its index in its space."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class LandscapeConfig(Section):
    """The plane that task=landscape measures, and the images that it measures on."""

    steps: Annotated[int, Field(ge=3)] = Field(default=15, description="points along a side of the grid, odd")
    radius: Positive = Field(default=5.0, description="half of a side: L2 distance between architecture parameters")
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(default=0, description="seed of the two directions")
    images: Count | None = Field(default=5000, description="images of val that each point is measured on; null: all")
    batch_size: Count = Field(default=512, description="images a batch")


class RootConfig(Section):
    """The whole configuration."""

    task: Literal[
        "pipeline",
        "search",
        "select",
        "evaluate",
        "plan",
        "analyse",
        "landscape",
        "export",
        "predict",
        "report",
        "convert",
        "list",
    ]
    method: str
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(description="seed of everything random")
    engine: Literal["auto", "fast", "reference"]
    threads: Count | None = Field(description="CPU threads of one operation; null: torch's default")
    sweep: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(description="folder of a sweep's members")
    sweep_limit: dict[str, Count] = Field(
        default={}, description="by swept key of an experiment, the number of its values to run, the first ones"
    )
    skip_finished: bool = Field(default=True, description="a sweep skips members that are finished")
    genotype: Annotated[str | None, BeforeValidator(_number_as_text)] = Field(
        description="architecture of task=evaluate: its name, file, run folder, string or number, or random"
    )
    run: str | None = Field(description="run folder for task=select, analyse, landscape, export or predict")
    epoch: Annotated[int, Field(ge=0)] | None = Field(description="search epoch of that run; null: the last one")
    runs: str | list[str] | None = Field(description="glob of run folders, for task=report, analyse or landscape")
    baseline: str | None = Field(default=None, description="method that task=report compares the others with")
    tags: list[Word] = Field(default=[], description="words to find the run by, for loggers")
    trusted: list[Word] = Field(description="further packages that targets may come from")
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
    candidates: CandidatesConfig
    data: Part
    evaluation: Part
    convert: Part | None = Field(default=None, description="converter of task=convert")
    analysis: Part | None = Field(default=None, description="analysis of task=analyse")
    landscape: LandscapeConfig | None = Field(default=None, description="settings of task=landscape")
    export: ExportConfig | None = Field(default=None, description="settings of task=export")
    images: str | None = Field(default=None, description="photo or folder of photos that task=predict labels")
    predict: PredictConfig | None = Field(default=None, description="settings of task=predict")
    plan: PlanConfig | None = Field(default=None, description="settings of task=plan")
    trainer: Part
    _source: dict[str, Any] = PrivateAttr()

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain lists and dictionaries, in the order of config.yaml."""
        return copy.deepcopy(self._source)

    def with_values(self, values: Mapping[str, Any], who: str, where: str = "") -> "RootConfig":
        """Return the configuration with new values for dotted keys; itself where there are none.

        Args:
            values: Values by dotted key.
            who: Source of the values, for messages about keys: `search.stages: stage NAME overrides`.
            where: Suffix of messages about values: `in stage NAME`.

        Raises:
            ConfigError: There is no such key, or the value is not allowed for it.
        """
        if not values:
            return self
        changed = self.to_dict()
        for key, value in values.items():
            assign(changed, key, value, who)
        try:
            return validate(changed)
        except ConfigError as error:
            raise ConfigError(f"{error} ({where})" if where else str(error)) from error

    def with_sections(self, **sections: Any) -> "RootConfig":
        """Return the configuration with new top-level sections.

        Raises:
            ConfigError: A section is not valid.
        """
        return validate({**self.to_dict(), **sections})


def assign(config: dict[str, Any], key: str, value: Any, who: str) -> Any:
    """Set a dotted key of a configuration in place; return its former value.

    Raises:
        ConfigError: There is no such key.
    """
    *path, last = key.split(".")
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise ConfigError(f"{who} {key}={value}, but there is no such key")
    old, node[last] = node[last], value
    return old


PARTS = ("space", "relaxation", "hypergradient", "perturbation", "selector", "objective", "data", "evaluation")
"""Sections that are one part each."""
PART_LISTS = ("regularizer", "control", "callbacks", "logger")
"""Sections that are lists of named parts."""


IGNORED_IN_COMPARISONS = (
    *("seed", "threads", "task", "genotype", "run", "runs", "baseline", "analysis", "landscape"),
    *("sweep", "sweep_limit", "tags", "skip_finished", "trusted", "trainer", "logger", "callbacks"),
)
"""Keys in which runs may differ and still be averaged; callers compare the Trainer's few that decide a result."""
LOADING_KEYS = ("num_workers", "prefetch_factor", "augment_on")
"""Keys of `data` about the loading of images; they change no image."""


class LoaderConfig(Section):
    """Keys of `data` that the loaders read, for every source."""

    num_workers: CountOrZero = Field(default=0, description="processes that load images")
    prefetch_factor: Count = Field(default=4, description="batches that each of them prepares ahead")
    augment_on: Literal["auto", "loader", "device"] = Field(
        default="auto", description="place where images in memory are augmented, with equal results; auto: on a GPU"
    )
    split: Literal["halves_by_order", "stratified", "benchmark"] = Field(
        default="stratified", description="method of cutting the search halves"
    )
    split_file: str | None = Field(default=None, description="JSON file with the images of each half, for benchmark")
    val_fraction: Fraction = Field(
        default=0.0, description="share of the training images that becomes a validation split of its own"
    )
    augment_val: bool = Field(default=True, description="augment val like arch, as published")


def validate(config: "Mapping[str, Any] | RootConfig") -> RootConfig:
    """Check a resolved configuration, all of it, and return it typed; a typed one is returned as it is.

    Raises:
        ConfigError: One line with every problem: the key, its value, what is allowed, the override that fixes it.
    """
    if isinstance(config, RootConfig):
        return config
    problems: list[str] = []
    trusted = config.get("trusted")
    trusted = tuple(trusted) if isinstance(trusted, list) else ()
    for name in (*PARTS, "convert", "analysis"):
        if isinstance(config.get(name), Mapping):
            problems += check_part(name, config[name], trusted, LoaderConfig if name == "data" else None)
    comparing = (config.get("candidates") or {}).get("evaluation")
    if isinstance(comparing, Mapping):
        problems += check_part("candidates.evaluation", comparing, trusted)
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
    secrets = secrets_in(config)
    if secrets:  # alone: the other problems might repeat one
        raise ConfigError("; ".join(secrets))
    problems += problems_of(RootConfig, config)
    if problems:
        raise ConfigError("; ".join(dict.fromkeys(problems)))
    root = RootConfig.model_validate_json(json.dumps(config))
    root._source = dict(config)
    _check_fields_together(root)
    return root


TASKS_THAT_READ = {
    "genotype": ("evaluate",),
    "run": ("select", "analyse", "landscape", "export", "predict"),
    "epoch": ("select", "analyse", "landscape"),
    "runs": ("report", "analyse", "landscape"),
    "baseline": ("report",),
    "images": ("predict",),
    "analysis": ("analyse",),
    "convert": ("convert",),
}
"""Keys that only some tasks read, with those tasks."""


def check_read(config: RootConfig) -> None:
    """Refuse a task that trains with a key that it does not read: another task was probably meant.

    Raises:
        ConfigError: There is such a key.
    """
    task = config.task
    for key, tasks in TASKS_THAT_READ.items():
        value = getattr(config, key)
        if value is not None and task in ("pipeline", "search", "evaluate") and task not in tasks:
            shown = value if isinstance(value, str | int) else "…"
            raise ConfigError(f"{key}={shown}: task={task} does not read it; use task={' or task='.join(tasks)}")


def _check_fields_together(root: RootConfig) -> None:
    """Check rules over several fields."""
    weights = root.search.weights
    if weights.nesterov and weights.momentum == 0:
        raise ConfigError("search.weights.nesterov=true: needs momentum; use search.weights.momentum=0.9")
    if weights.lr_min > weights.lr:
        raise ConfigError(
            f"search.weights.lr_min={weights.lr_min}: must be at most search.weights.lr={weights.lr}, where it starts"
        )
    if weights.warmup_epochs >= root.search.epochs and root.task in ("pipeline", "search"):
        raise ConfigError(
            f"search.weights.warmup_epochs={weights.warmup_epochs}: must be less than"
            f" search.epochs={root.search.epochs}"
        )
    if root.search.arch.warmup_epochs >= root.search.epochs and root.task in ("pipeline", "search"):
        raise ConfigError(
            f"search.arch.warmup_epochs={root.search.arch.warmup_epochs}: the architecture would never be trained in"
            f" search.epochs={root.search.epochs} epochs; use search.arch.warmup_epochs=0 or more epochs"
        )
    if root.landscape is not None and root.landscape.steps % 2 == 0:
        raise ConfigError(
            f"landscape.steps={root.landscape.steps}: must be odd, so that what was found is a point of the grid; use"
            f" landscape.steps={root.landscape.steps + 1}"
        )
    if root.search.stages is not None and sum(s.epochs for s in root.search.stages) != root.search.epochs:
        lengths = " + ".join(str(stage.epochs) for stage in root.search.stages)
        raise ConfigError(
            f"search.epochs={root.search.epochs}: the stages have {lengths} epochs; make search.epochs their sum"
        )


def _check_trainer(trainer: Mapping[str, Any]) -> list[str]:
    problems = [
        f"trainer.{key}={trainer[key]}: refused, {reason}"
        for key, reason in REFUSED_TRAINER_KEYS.items()
        if trainer.get(key) is not None
    ]
    if trainer.get("limit_train_batches") == 0:
        problems.append("trainer.limit_train_batches=0: nothing would be trained; use at least 1")
    if str(trainer.get("precision")) not in PRECISIONS:
        problems.append(
            f"trainer.precision={trainer.get('precision')}: allowed: {', '.join(PRECISIONS[:2])} (gradients of the"
            " architecture are taken without a gradient scaler); use trainer.precision=bf16-mixed"
        )
    return problems + check_part("trainer", trainer)
