"""The settings with which a genotype is trained from scratch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator


@dataclass(frozen=True)
class Recipe(Evaluator):
    """Settings of retraining; the published values are in conf/evaluation.

    Args:
        name: Name of the recipe, as reports show it.
        epochs: Training epochs; the last one is the result.
        batch_size: Images per step.
        init_channels: Channels C of the first cells; even.
        layers: Number of cells.
        stem: `cifar` or `imagenet`.
        lr: Learning rate of the first epoch (after warm-up).
        lr_min: Learning rate at the end of the schedule.
        schedule: `cosine`, `exponential` (×0.97 per epoch) or `linear`.
        warmup_epochs: Epochs of linear learning-rate warm-up.
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum.
        weight_decay: L2 coefficient.
        clip: Largest global L2 norm of the gradient; None for no clipping.
        auxiliary: Weight of the auxiliary head's loss; 0 builds no head.
        drop_path: Largest probability of dropping a path; in epoch e of E it is e/E of this.
        cutout: Side of the square that cutout blanks, in pixels; 0 for none.
        label_smoothing: Label smoothing of the training loss.
        images: `full` trains on all training images and measures on the test images. `search_halves` selects among
            candidates: it trains on the train half of the search, measures on `val` and never reads the test images.
        channels_last: Whether images and weights use the memory format channels_last; None is yes on the CPU and on
            CUDA, unless the network has convolutions with wrong gradients in that format. Results are the same up to
            rounding.
        checkpoint_minutes: Save between two batches if the last save is older than this; None saves after epochs only.
        compile: Whether to compile training steps with `torch.compile`, which takes minutes and pays off in long
            trainings on a GPU. Results are the same up to rounding.
        random_baseline: Number of random genotypes of the space that are trained by the same recipe after the run's own
            network, to compare its accuracy with.
        random_folder: Folder, relative to the working folder, where their accuracies are kept for other runs with the
            same evaluation; None keeps none.
        graph: Whether whole batches are computed by CUDA graphs: `off`, `auto` where nothing stands against it, or
            `required`, which makes a reason against it an error. Never run on a GPU yet, hence off.

    Raises:
        ConfigError: Values that contradict each other.
    """

    name: str
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    init_channels: Annotated[int, Field(ge=2, multiple_of=2)]
    layers: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    stem: Literal["cifar", "imagenet"] = "cifar"
    lr_min: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "exponential", "linear"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    clip: Annotated[float, Field(gt=0)] | None = 5.0
    auxiliary: Annotated[float, Field(ge=0)] = 0.4
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2
    cutout: Annotated[int, Field(ge=0)] = 16
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    images: Literal["full", "search_halves"] = "full"
    channels_last: bool | None = None
    compile: bool = False
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = None
    graph: Literal["auto", "off", "required"] = "off"
    random_baseline: Annotated[int, Field(ge=0)] = 0
    random_folder: str | None = "outputs/random_baseline"

    @property
    def measured_on(self) -> str:
        """Return the split on which accuracies are measured: `test` or `val`."""
        return "test" if self.images == "full" else "val"

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ConfigError("evaluation.nesterov=true: needs momentum; use evaluation.momentum=0.9")
        if self.lr_min > self.lr:
            raise ConfigError(f"evaluation.lr_min={self.lr_min}: must be at most evaluation.lr={self.lr}")
