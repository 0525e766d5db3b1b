"""The plain sections of a configuration: every field has a type, a range and a unit."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nas_lightning.core.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
SeveralCount = Annotated[int, Field(ge=2)]
CountOrZero = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Word = Annotated[str, Field(min_length=1)]
EvenCount = Annotated[int, Field(ge=2, multiple_of=2)]
Schedule = Literal["cosine", "exponential", "linear", "constant"]

Part = dict[str, Any]
"""A section with a `_target_`, checked against the signature of the target."""


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class WeightsConfig(Section):
    """Weight optimizer of the search, scheduled by the search epoch."""

    optimizer: Literal["sgd", "adam"] = Field(
        default="sgd", description="sgd, as published, or adam, which suits short searches on text"
    )
    lr: Positive = Field(description="learning rate of the first epoch")
    lr_min: NonNegative = Field(description="learning rate that the cosine ends at")
    schedule: Schedule
    warmup_epochs: CountOrZero = Field(description="epochs of linear learning-rate warm-up")
    restart: bool = Field(description="each stage starts at the full rate again and falls along the rest of the curve")
    momentum: Fraction = Field(description="momentum of SGD")
    nesterov: bool = Field(description="Nesterov momentum")
    weight_decay: NonNegative = Field(description="L2 coefficient, coupled with the learning rate")
    clip: Positive | None = Field(description="largest global L2 norm of the weight gradient; null: no clipping")


class ArchConfig(Section):
    """Architecture optimizer: Adam with coupled L2, or exponentiated gradients for parameters on the simplex."""

    optimizer: Literal["adam", "exponentiated_gradient"] = Field(
        default="adam",
        description="exponentiated_gradient: multiplicative steps on the simplex, for relaxation=simplex",
    )
    images: Literal["val", "train"] = Field(
        default="val",
        description="val: the arch half (two levels); train: the batch of the weights, one backward pass (one level)",
    )

    lr: Positive = Field(description="learning rate, constant")
    betas: tuple[Fraction, Fraction] = Field(description="decay rates of the two moments of Adam")
    weight_decay: NonNegative = Field(description="L2 coefficient of the architecture parameters")
    warmup_epochs: CountOrZero = Field(description="first epochs of each stage in which only the weights train")
    clip: Positive | None = Field(description="largest L2 norm of the architecture gradient; null: no clipping")
    interval: Count = Field(default=1, description="weight steps to each architecture step")
    batch_norm: Literal["frozen", "moving"] = Field(
        default="frozen",
        description="running statistics in the architecture step; moving: updated, as released code does",
    )


class DropoutConfig(Section):
    """Dropout of networks that read text, each mask drawn once a chunk."""

    words: Fraction = Field(default=0.0, description="rows of the embedding that are dropped")
    inputs: Fraction = Field(default=0.0, description="embedded words")
    x: Fraction = Field(default=0.0, description="inputs of the cell")
    hidden: Fraction = Field(default=0.0, description="states inside the cell")
    outputs: Fraction = Field(default=0.0, description="outputs of the cell")


class StageConfig(Section):
    """One stage of a search: its own fit, with values that differ from the rest of the configuration."""

    name: str
    epochs: Count = Field(description="search epochs of this stage")
    fresh: bool = Field(
        default=False,
        description="new weights, architecture parameters, optimizers and schedules; only decisions carry on",
    )
    overrides: dict[str, Any] = Field(default={}, description="dotted keys and their values in this stage")


class SearchConfig(Section):
    """The supernet search."""

    epochs: Count = Field(description="search epochs over all stages")
    batch_size: Count = Field(description="images a step")
    init_channels: EvenCount | None = Field(description="channels of the first cells; null: the space has none")
    layers: Count | None = Field(description="cells; null: the space fixes them")
    stem: Literal["cifar", "imagenet"] | None = Field(description="null: the space has its own")
    hidden: Count | None = Field(default=None, description="hidden units of recurrent cells; null: the space has none")
    dropout: DropoutConfig | None = Field(default=None, description="of recurrent cells; null: the space has none")
    order: Literal["arch_first", "weights_first"]
    snapshots: Count | None = Field(description="keep the supernet every so many epochs; null: only the last")
    checkpoint_minutes: Positive | None = Field(
        default=None, description="save between two batches, too, when the last save is so long ago; null: after epochs"
    )
    recompute: bool = Field(
        default=False,
        description="keep only the images between cells for backward passes, and compute the rest again",
    )
    stages: list[StageConfig] | None = Field(description="stages in their order; null: a single stage")
    weights: WeightsConfig
    arch: ArchConfig


class CandidatesConfig(Section):
    """Several searches, or a pool of genotypes that a proposer fills, of which the best is kept."""

    key: str | list[str] | None = Field(
        description="key that differs: seed or any other, or a list of keys varied together"
    )
    values: Count | list[Any] | None = Field(
        description="a value a member, or a list a member where keys are several; a number n is 0 to n-1"
    )
    epochs: Count = Field(description="epochs of the brief retraining that compares the members")
    evaluation: Part | None = Field(default=None, description="evaluator that retrains them; null: that of the run")
    proposer: Part | None = Field(default=None, description="what fills a pool; null: the members are those of values")
    pool: Count = Field(default=20, description="candidates at which the search over the pool ends")
    initial: Count = Field(default=8, description="candidates of the first generation")
    batch: Count = Field(default=4, description="candidates of each later generation")
    levels: list[Count] | None = Field(
        default=None, description="epochs of each level, ascending; null: epochs, or the shortest training of a table"
    )
    promote: Share = Field(default=0.5, description="share of what arrives at a level that goes on to the next")
    supernet: Word | None = Field(default=None, description="folder of a search whose supernet judges; null: trained")
    screen: Part | None = Field(default=None, description="proxy that chooses among suggestions; null: all are judged")
    screened: SeveralCount = Field(default=4, description="suggestions scored for each candidate that the screen keeps")

    def check_pool(self) -> None:
        """Refuse a search over a pool whose values contradict each other.

        Raises:
            ConfigError: Such values.
        """
        if self.proposer is None:
            if self.supernet is not None:
                raise ConfigError(
                    f"candidates.supernet={self.supernet}: only judges what a proposer suggests; add"
                    " proposer@candidates.proposer=random, or use candidates.supernet=null"
                )
            if self.screen is not None:
                raise ConfigError(
                    "candidates.screen: only chooses among what a proposer suggests; add"
                    " proposer@candidates.proposer=random candidates.key=null candidates.values=null, or use"
                    " proxy@candidates.screen=null"
                )
            for name in ("pool", "initial", "batch", "levels", "promote", "screened"):
                value, default = getattr(self, name), type(self).model_fields[name].default
                if value != default:
                    raise ConfigError(
                        f"candidates.{name}={json.dumps(value)}: is of a search over a pool, which a proposer fills;"
                        " use proposer@candidates.proposer=random candidates.key=null candidates.values=null, or"
                        f" candidates.{name}={json.dumps(default)}"
                    )
            return
        if self.key is not None or self.values is not None:
            given = "values" if self.key is None else "key"
            raise ConfigError(
                f"candidates.{given}={json.dumps(getattr(self, given))}: the members are those of candidates.proposer;"
                " use candidates.key=null candidates.values=null, or candidates.proposer=null"
            )
        if self.initial > self.pool:
            raise ConfigError(
                f"candidates.initial={self.initial}: must be at most candidates.pool={self.pool}, where the search"
                f" ends; use candidates.initial={self.pool}"
            )
        if self.screen is None and self.screened != type(self).model_fields["screened"].default:
            raise ConfigError(
                f"candidates.screened={self.screened}: nothing is screened; add proxy@candidates.screen=synflow, or use"
                f" candidates.screened={type(self).model_fields['screened'].default}"
            )
        levels = self.levels
        if levels is None:
            return
        if self.supernet is not None:
            raise ConfigError(
                f"candidates.levels={json.dumps(levels)}: a supernet judges without training; use"
                " candidates.levels=null"
            )
        if not levels or levels != sorted(set(levels)):
            remedy = json.dumps(sorted(set(levels)) or [self.epochs]).replace(" ", "")
            raise ConfigError(
                f"candidates.levels={json.dumps(levels)}: must be epochs in ascending order, each once; use"
                f" candidates.levels={remedy}"
            )

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
    int8: bool = Field(default=False, description="also write network.int8.onnx, quantised with training images")


class PredictConfig(Section):
    """The images that task=predict reads and the labels that it reports."""

    batch_size: Count = Field(default=256, description="images at a time")
    num_workers: CountOrZero = Field(default=0, description="processes that read images; 0: the main process")
    top: Count = Field(default=5, description="most likely classes reported for each image")


class CostsConfig(Section):
    """The measurements of task=costs."""

    batch_size: Count = Field(default=1, description="images of each timed call")
    seconds: Positive = Field(default=0.5, description="time after which no further call of an operation is begun")


class PlanConfig(Section):
    """The measurements of task=plan."""

    measure: bool = Field(default=True, description="time a few steps; false: only count")
    seconds: Positive = Field(default=3.0, description="time for which each kind of step is measured")
    step_seconds: str | None = Field(default=None, description="steps.csv of a plan made on another machine")


class LandscapeConfig(Section):
    """The plane that task=landscape measures, and the images that it measures on."""

    steps: Annotated[int, Field(ge=3)] = Field(default=15, description="points along a side of the grid, odd")
    radius: Positive = Field(default=5.0, description="half of a side: L2 distance between architecture parameters")
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(default=0, description="seed of the two directions")
    images: Count | None = Field(default=5000, description="images of val that each point is measured on; null: all")
    batch_size: Count = Field(default=512, description="images a batch")


LOADING_KEYS = ("num_workers", "prefetch_factor", "augment_on")
"""Keys of `data` about the loading of images; they change no image."""


PLACES = ("data.path", "data.root", "data.data_dir", "data.split_file", "data.search_split", "evaluation.path")
"""Keys that name where images or tables lie: relative to the working folder, or absolute."""
MOVABLE = (*PLACES, "data.download", "data.follow_links")
"""Keys that may change with the place of the images; the images must be the same."""


class LoaderConfig(Section):
    """Keys of `data` that the loaders read, for every source."""

    num_workers: CountOrZero = Field(default=0, description="processes that load images")
    prefetch_factor: Count = Field(default=4, description="batches that each of them prepares ahead")
    augment_on: Literal["auto", "loader", "device"] = Field(
        default="auto", description="place where images in memory are augmented, with equal results; auto: on a GPU"
    )
    split: Literal["halves_by_order", "stratified", "benchmark", "whole", "published"] = Field(
        default="stratified", description="method of cutting the search halves"
    )
    split_file: str | None = Field(default=None, description="JSON file with the images of each half, for benchmark")
    search_fractions: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="shares of the images of each class that a search draws, [train, arch]; null: all"
    )
    search_seed: CountOrZero = Field(default=0, description="seed of that draw, whatever the seed of the run")
    search_split: str | None = Field(default=None, description="split.csv of another run: exactly its images")
    val_fraction: Fraction = Field(
        default=0.0, description="share of the training images that becomes a validation split of its own"
    )
    augment_val: bool = Field(default=True, description="augment val like arch, as published")
