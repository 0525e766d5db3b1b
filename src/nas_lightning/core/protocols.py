"""The narrow protocol of each part. A method is a combination of parts; the core knows nothing else of it.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from torch import Generator, Tensor, nn

if TYPE_CHECKING:
    from nas_lightning.core.choices import Active, Choice, Mixing
    from nas_lightning.core.decisions import Decisions
    from nas_lightning.core.genotypes import Genotype

Tensors = dict[str, Tensor]
"""Named tensors: the weights of a network, or the architecture parameters by choice (each [R, O])."""
Loss = Callable[[Tensors, Tensors], Tensor]
"""(weights, architecture parameters) → scalar loss of one fixed batch with fixed draws; moves no buffer."""
Reduce = Callable[[list[Tensor]], list[Tensor]]
"""Average over processes; the identity in a single process."""
Item = TypeVar("Item")


def plainly(items: Sequence[Item], title: str) -> Iterable[Item]:
    """The items, without showing progress."""
    return items


def silently(line: str) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class EdgeInfo:
    """Where a mixed operation stands: what the hooks of a regularizer may know of it."""

    choice: str
    cell: int
    row: int
    source: int
    node: int
    stride: int
    channels: int


class Supernet(Protocol):
    """All architectures of a space at once, an nn.Module; it holds no architecture parameters."""

    def attach(self, regularizers: "tuple[Regularizer, ...]") -> None:
        """Let these parts see every operation's and every edge's output; learnable ones join the weights."""
        ...

    def __call__(self, inputs: Tensor, mixing: "Mixing", active: "Active | None" = None) -> Tensor:
        """Outputs of the mixture."""
        ...


class SearchSpace(Protocol):
    """What may be searched."""

    name: str
    choices: "dict[str, Choice]"

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
        engine: str = "auto",
    ) -> nn.Module:
        """The supernet: `supernet(inputs, mixing, active=None)` → outputs."""
        ...

    def network(
        self,
        genotype: "Genotype",
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 36,
        layers: int = 20,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> nn.Module:
        """The discrete network of a genotype."""
        ...

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> "Genotype":
        """Discretise option strengths, each [R, O]."""
        ...

    def sample(self, generator: Generator | None = None, none: bool = True) -> "Mixing":
        """A uniformly drawn path, zeros and ones by choice, each [R, O]; `none=False` leaves that operation out."""
        ...

    def genotype_of(self, path: "Mixing") -> "Genotype":
        """The genotype of a drawn path, edge by edge as it was drawn."""
        ...

    def validate(self, genotype: "Genotype") -> None:
        """Raise GenotypeError where the genotype cannot be built in this space."""
        ...

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Raise ConfigError where networks of this space cannot take images of that side."""
        ...

    def variant(self, **changes: Any) -> "SearchSpace":
        """A copy with other attributes: `partial_channels`, `edge_weights`."""
        ...


class Relaxation(Protocol):
    """How architecture parameters become mixing weights.

    A relaxation with a method `in_weight_step`, of the signature of `__call__`, is asked by it in the weight step; one
    with a method `strengths`, of the signature of `mean`, is asked by it for what genotypes are derived from. One with
    a method `metrics(epoch) -> dict[str, float]` tells what is worth a column of metrics.csv.
    """

    def init(self, choices: "Mapping[str, Choice]", generator: Generator | None = None) -> Tensors:
        """Fresh architecture parameters; the relaxation remembers the choices' masks."""
        ...

    def restrict(self, kept: Tensors) -> None:
        """From now on only these options take part: boolean [R, O] by choice, in place of an earlier restriction.

        The others weigh exactly 0, the kept ones of a row sum to 1; a row of which nothing is kept is all zeros.
        """
        ...

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> "Mixing":
        """Mixing weights; sampled ones are drawn from `generator`, temperatures follow the search epoch."""
        ...

    def active(self, mixing: "Mixing") -> "Active | None":
        """Which options are computed at all; None for all. Hard relaxations return the sampled ones."""
        ...

    def mean(self, arch: Tensors) -> "Mixing":
        """Deterministic mixing for selection, validation, curvature and landscape."""
        ...

    def penalty(self, arch: Tensors) -> Tensor | None:
        """A term added to the architecture loss, or None."""
        ...


class InnerStep(Protocol):
    """One virtual step of the weight optimizer, a differentiable function of the gradients."""

    @property
    def lr(self) -> float:
        """Step size ξ."""
        ...

    def __call__(self, weights: Tensors, gradients: list[Tensor]) -> Tensors:
        """W − lr·(momentum buffer + gradient + weight decay·w), in the order of `weights`."""
        ...


class Hypergradient(Protocol):
    """How the gradient of the outer problem is estimated."""

    second_order: bool
    """Whether it differentiates through the inner step: then float32 or bfloat16 precision is required."""
    learns: bool
    """Whether there is an architecture step at all."""

    def __call__(
        self,
        train_loss: Loss,
        arch_loss: Loss,
        weights: Tensors,
        arch: Tensors,
        inner_step: InnerStep,
        reduce: Reduce,
    ) -> tuple[Tensors, Tensor]:
        """Gradients by the names of `arch`, and the outer loss; weights and buffers stay as they were."""
        ...


class Perturbation(Protocol):
    """What is done to the mixing weights in the weight step."""

    bn_mode: Literal["train", "eval"]
    """Mode of the supernet in which `loss_of_mixing` is evaluated: `eval` takes running statistics and switches off
    what acts in training only. In either mode no buffer moves."""

    def __call__(
        self,
        mixing: "Mixing",
        loss_of_mixing: "Callable[[Mixing], Tensor]",
        choices: "Mapping[str, Choice]",
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> "Mixing":
        """Perturbed mixing weights; only choices of kind `op` are changed."""
        ...

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Strength at a search epoch."""
        ...


@runtime_checkable
class Regularizer(Protocol):
    """A part that acts inside the supernet. `nas_lightning.regularizers.Hooks` has the neutral version of each hook."""

    def build(self, space: SearchSpace) -> SearchSpace:
        """The space as this part changes it (further choices, other widths), before the supernet is built."""
        ...

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """Sees the output [B, C, H, W] of one candidate operation; never changes it in place."""
        ...

    def on_edge(self, y: Tensor, edge: EdgeInfo) -> Tensor:
        """Sees the mixed output [B, C, H, W] of an edge; never changes it in place."""
        ...

    def on_images(self, images: Tensor) -> Tensor:
        """Sees the normalised, augmented images [B, C, H, W] of a batch once, before any step uses them."""
        ...

    def at_epoch(self, search_epoch: int) -> None:
        """Called before each search epoch, also after a rollback: follow schedules from the absolute epoch."""
        ...

    def metrics(self) -> dict[str, float]:
        """What is worth a column of metrics.csv at the end of an epoch."""
        ...

    def parameters(self) -> Iterable[nn.Parameter]:
        """Learnable parameters, trained with the weights and kept in the checkpoint."""
        ...


def strengths_of(relaxation: Relaxation, arch: Tensors) -> "Mixing":
    """The relaxation's `strengths` where it has a method of that name, else its mean; each [R, O]."""
    found: Mixing = getattr(relaxation, "strengths", relaxation.mean)(arch)
    return found


BatchNormMode = Literal["eval", "train"]
"""Statistics of batch normalisation: the running ones, or those of the batch; in either case no buffer moves."""


class Measure(Protocol):
    """What the one-shot model does on `val` for any mixing weights: the same images for all of them, no gradients.

    Raises:
        GenotypeError: Its outputs are not numbers.
    """

    def __call__(
        self,
        mixing: "Mixing",
        active: "Active | None" = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
    ) -> float:
        """A number for all of `val`, for its first `batches` batches, or for those of a range (modulo how many)."""
        ...


@dataclass(frozen=True)
class OneShot:
    """A trained supernet as a selector sees it.

    Args:
        space: What was searched.
        relaxation: How `arch` becomes mixing weights.
        arch: Architecture parameters by choice, each [R, O].
        seed: The run's seed; a selector keys its own draws by it.
        accuracy: The metric of the objective; larger is better.
        loss: Its loss; smaller is better.
        decisions: What is settled already; a selector may settle more.
        track: Shows progress over a sequence: track(items, title).
        tell: Shows a line.
    """

    space: SearchSpace
    relaxation: Relaxation
    arch: Tensors
    seed: int
    accuracy: Measure
    loss: Measure | None = None
    decisions: "Decisions | None" = None
    track: Callable[[Sequence[Any], str], Iterable[Any]] = plainly
    tell: Callable[[str], None] = silently

    @property
    def mean(self) -> "Mixing":
        """The relaxation's mean with what is decided, each [R, O]: what the supernet is run with."""
        mean = self.relaxation.mean(self.arch)
        return mean if self.decisions is None else self.decisions.fixed(mean)

    @property
    def strengths(self) -> "Mixing":
        """By what options and edges are compared, with what is decided, each [R, O]."""
        strengths = strengths_of(self.relaxation, self.arch)
        return strengths if self.decisions is None else self.decisions.fixed(strengths)


@dataclass(frozen=True)
class Tuning:
    """The stage of a selector that trains: the search goes on between its decisions.

    Args:
        epochs: Epochs of the stage.
        overrides: Dotted keys of the configuration and their values in this stage.
    """

    epochs: int
    overrides: dict[str, Any]


def tuning_overrides(lr: float, train_arch: bool = True) -> dict[str, Any]:
    """What differs from the search while its supernet is fine-tuned: a constant rate, no warm-ups, no controls.

    Args:
        lr: Learning rate of the weights.
        train_arch: Whether the architecture parameters go on learning.
    """
    overrides: dict[str, Any] = {
        "search.stages": None,
        "search.weights.lr": lr,
        "search.weights.lr_min": 0.0,
        "search.weights.schedule": "constant",
        "search.weights.warmup_epochs": 0,
        "search.weights.restart": False,
        "search.arch.warmup_epochs": 0,
        "control": {},
    }
    if not train_arch:
        overrides["hypergradient"] = {"_target_": "nas_lightning.hypergradients.Nothing"}
    return overrides


class Selector(Protocol):
    """How a genotype is derived.

    For a selector with the attribute `needs_supernet = False` nothing is trained. A selector with a method
    `tuning(space, search) -> Tuning | None` (`search`: the section of the configuration) has a stage of its own after
    those of the search, and a method `decide(one_shot, epoch) -> bool`, called before each of its epochs.
    """

    def __call__(self, space: SearchSpace, strengths: "Mixing") -> "Genotype | None":
        """The genotype of the strengths alone, noted after every epoch; None if they do not tell."""
        ...

    def select(self, one_shot: OneShot) -> "Genotype":
        """The genotype that the search ends with. A selector without this method ends with `__call__`'s."""
        ...


class Objective(Protocol):
    """What is minimised and what is reported."""

    metric: str
    unit: str
    direction: str

    def bind(self, num_classes: int, train_labels: Any) -> None:
        """Learn the number of classes and the class frequencies."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Scalar loss."""
        ...

    def new_metric(self) -> Any:
        """A fresh torchmetrics metric; its value times 100 is reported where the unit is %."""
        ...
