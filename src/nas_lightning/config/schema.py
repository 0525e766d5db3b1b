"""The whole configuration, typed and checked.

Plain sections are in `sections.py`; parts are bound to the signature of what they build (`parts.py`). All problems are
found before anything is built, and reported together.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from nas_lightning.config.parts import check_part, parse
from nas_lightning.config.secrets import secrets_in
from nas_lightning.config.sections import (
    CandidatesConfig,
    CostsConfig,
    Count,
    ExportConfig,
    LandscapeConfig,
    LoaderConfig,
    Part,
    PlanConfig,
    PredictConfig,
    SearchConfig,
    Section,
    Word,
)
from nas_lightning.core.errors import ConfigError

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


def _number_as_text(value: Any) -> Any:
    """Accept a number as a name: an architecture by its index in its space."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _off(value: Any) -> Any:
    """Accept what YAML makes of an unquoted `off`."""
    return "off" if value is False else value


Graph = Annotated[Literal["auto", "off", "required"], BeforeValidator(_off)]
"""Whether passes are replayed as CUDA graphs."""


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
        "costs",
        "list",
    ]
    method: str
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(description="seed of everything random")
    engine: Literal["auto", "fast", "reference"]
    graph: Graph = "off"
    threads: Count | None = Field(description="CPU threads of one operation; null: torch's default")
    sweep: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")] = Field(description="folder of a sweep's members")
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
    readings: dict[str, Part] = Field(default={}, description="further selectors that read the searched supernet")
    methods: dict[str, dict[str, Any]] | list[str] = Field(
        default=[], description="names of further methods to search and evaluate by"
    )
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
    costs: CostsConfig | None = Field(default=None, description="settings of task=costs")
    plan: PlanConfig | None = Field(default=None, description="settings of task=plan")
    trainer: Part
    _source: dict[str, Any] = PrivateAttr()
    _words: tuple[str, ...] = PrivateAttr(default=())

    @property
    def words(self) -> tuple[str, ...]:
        """Overrides of the command that it was composed from; empty where they are not known."""
        return self._words

    def composed_from(self, words: Sequence[str]) -> "RootConfig":
        """Note the overrides of the command and return the configuration itself."""
        self._words = tuple(words)
        return self

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

    def further_methods(self) -> dict[str, "RootConfig"]:
        """Return the configuration of each of `methods` by its name; see `config.further`.

        Raises:
            ConfigError: They are names still, which only a composition can look up, or one is not valid.
        """
        if isinstance(self.methods, list):
            if self.methods:
                raise ConfigError(f"methods={self.methods}: names are looked up by nl.compose(['methods=[NAME]'])")
            return {}
        run = {**self.to_dict(), "methods": [], "readings": {}}
        if "random_baseline" in run["evaluation"]:  # of the whole run, not of each method
            run["evaluation"] = {**run["evaluation"], "random_baseline": 0}
        found: dict[str, RootConfig] = {}
        for name, sections in self.methods.items():
            try:
                found[name] = validate({**run, **sections, "method": name})
            except ConfigError as error:
                raise ConfigError(f"{error} (in methods: {name})") from error
        return found


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
PLACES_OF_LISTS = {**{name: name for name in PART_LISTS}, "proxy": "analysis.proxies"}
"""Groups whose options are added to a list of named parts by `+GROUP=NAME`, with the place of that list."""


IGNORED_IN_COMPARISONS = (
    *("seed", "threads", "task", "genotype", "run", "runs", "baseline", "analysis", "landscape"),
    *("sweep", "sweep_limit", "tags", "skip_finished", "trusted", "trainer", "logger", "callbacks", "graph"),
    *("readings", "methods", "data.search_seed"),  # a draw of images, which may follow the seed
)
"""Keys in which runs may differ and still be averaged; callers compare the Trainer's few that decide a result."""


NEUTRAL = ("checkpoint_minutes", "graph", "recompute", "random_baseline", "random_folder")
"""Keys that do not affect the result of the run itself, in `search` and in recipes."""


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
    for name in ("evaluation", "proposer", "screen"):
        part = (config.get("candidates") or {}).get(name)
        if isinstance(part, Mapping):
            problems += check_part(f"candidates.{name}", part, trusted)
    for name in (*PART_LISTS, "readings"):
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
    root, wrong = parse(RootConfig, config)
    nameless = tuple(f"{name}._target_=" for name in PART_LISTS)  # told above
    problems += [problem for problem in wrong if not problem.startswith(nameless)]
    if problems or root is None:
        raise ConfigError("; ".join(dict.fromkeys(problems)))
    root._source = dict(config)
    # As composed, not by way of JSON: a part may have a dictionary with numbers for keys.
    root.__dict__ |= {
        name: config[name]
        for name in (*PARTS, *PART_LISTS, "readings", "methods", "trainer", "convert", "analysis")
        if name in config
    }
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
    root.candidates.check_pool()
    if root.task in ("pipeline", "search"):
        root.further_methods()


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
