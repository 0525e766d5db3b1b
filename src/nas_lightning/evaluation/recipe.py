"""The settings with which a genotype is trained from scratch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator
from nas_lightning.evaluation import optimizers


@dataclass(frozen=True, kw_only=True)
class BaseRecipe(Evaluator):
    """Settings that all trainings from scratch share, whatever their networks read.

    Settings that only some recipes have are neutral here and no arguments: `drop_path`, `label_smoothing`, …

    Args:
        name: Name of the recipe, as reports show it.
        epochs: Training epochs; the last one is the result.
        batch_size: Images, columns or pairs per step.
        lr: Learning rate of the first epoch (after warm-up).
        lr_min: Learning rate at the end of the schedule.
        schedule: `cosine`, `exponential` (×0.97 per epoch), `staircase` (×0.97 every 2.4 epochs), `linear` or
            `constant`.
        warmup_epochs: Epochs of linear learning-rate warm-up.
        weight_decay: L2 coefficient.
        clip: Largest global L2 norm of the gradient; None for no clipping.
        images: `full` trains on all training data and measures on the test part. `search_halves` selects among
            candidates: it trains on the train half of the search, measures on `val` and never reads the test part.
        checkpoint_minutes: Save between two batches if the last save is older than this; None saves after epochs only.
        random_baseline: Number of random genotypes of the space that are trained by the same recipe after the run's own
            network, to compare its accuracy with.
        random_folder: Folder, relative to the working folder, where their accuracies are kept for other runs with the
            same evaluation; None keeps none.

    Raises:
        ConfigError: Values that contradict each other.
    """

    name: str
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    lr_min: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "exponential", "staircase", "linear", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    clip: Annotated[float, Field(gt=0)] | None = 5.0
    images: Literal["full", "search_halves"] = "full"
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = None
    random_baseline: Annotated[int, Field(ge=0)] = 0
    random_folder: str | None = "outputs/random_baseline"

    # No annotations, which would make them arguments.
    auxiliary = 0.0
    drop_path = 0.0
    label_smoothing = 0.0
    compile = False
    ema_decay = None  # type: float | None
    mixup = 0.0
    cutmix = 0.0
    drop_path_schedule = "growing"  # type: Literal["growing", "constant"]
    channels_last = False  # type: bool | None
    graph = "off"  # type: Literal["auto", "off", "required"]

    @property
    def measured_on(self) -> str:
        """Return the split on which the metric is measured: `test` or `val`."""
        return "test" if self.images == "full" else "val"

    @property
    def mixes(self) -> bool:
        """Whether steps are on mixtures of images, so that a metric on them says little."""
        return self.mixup > 0 or self.cutmix > 0

    def build_optimizer(self, weights: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer of all weights."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if self.lr_min > self.lr:
            raise ConfigError(f"evaluation.lr_min={self.lr_min}: must be at most evaluation.lr={self.lr}")


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """Settings of retraining on images; the published values are in conf/evaluation.

    Args:
        init_channels: Channels C of the first cells; even. None where the space fixes them.
        layers: Number of cells; None likewise.
        stem: `cifar` or `imagenet`; None likewise.
        optimizer: `sgd`, `rmsprop` (as TensorFlow computes it, see `evaluation.rmsprop`), or `adamw`.
        momentum: Momentum of SGD and RMSProp; of AdamW the decay of its average of gradients (β1).
        nesterov: Nesterov momentum of SGD.
        rho: Decay of the average of squared gradients of RMSProp and AdamW (β2); None: 0.9 and 0.999.
        epsilon: What RMSProp adds to the average of squares, under the root, and AdamW to its root; None: 1e-3 of
            RMSProp, 1e-8 of AdamW.
        decay: Weights that decay: `all`, or `kernels`, without biases, and scales and shifts of normalisations. The
            decay is added to the gradient, by AdamW to the step.
        ema_decay: Share that stays at each step of a moving average of the weights, which is measured and exported in
            their place; None averages nothing.
        auxiliary: Weight of the auxiliary head's loss; 0 builds no head.
        drop_path: Largest probability of dropping a path; in epoch e of E it is e/E of this.
        drop_path_schedule: `growing`, as said, or `constant`, the largest in every epoch.
        dropout: Probability of dropping a unit before the classifier.
        mixup: α of MixUp; 0 switches it off. With it or CutMix no metric is measured on the training images.
        cutmix: α of CutMix; 0 switches it off. With both, each batch takes either with probability 1/2.
        cutout: Side of the square that cutout blanks, in pixels; 0 for none.
        augment: Augmentation of the training images besides the source's crop and mirror image: `standard` is none, and
            colour jitter on ImageNet; `autoaugment`, `randaugment`, `trivial`, see `data.policies`. But for `standard`
            images are transformed one by one, which takes longer for those in memory.
        weights_of: Folder of a run that trained the same genotype in the same sizes: training starts from its weights,
            with a new classifier. None starts from random weights.
        label_smoothing: Label smoothing of the training loss.
        channels_last: Whether images and weights use the memory format channels_last; None is yes on the CPU and on
            CUDA, unless the network has convolutions with wrong gradients in that format. Results are the same up to
            rounding.
        compile: Whether to compile training steps with `torch.compile`, which takes minutes and pays off in long
            trainings on a GPU. Results are the same up to rounding.
        graph: Whether whole batches are computed by CUDA graphs: `off`, `auto` where nothing stands against it, or
            `required`, which makes a reason against it an error. Never run on a GPU yet, hence off.

    Raises:
        ConfigError: Values that contradict each other.
    """

    init_channels: Annotated[int, Field(ge=2, multiple_of=2)] | None
    layers: Annotated[int, Field(ge=1)] | None
    stem: Literal["cifar", "imagenet"] | None = "cifar"
    optimizer: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    rho: Annotated[float, Field(ge=0, lt=1)] | None = None
    epsilon: Annotated[float, Field(gt=0)] | None = None
    decay: Literal["all", "kernels"] = "all"
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    auxiliary: Annotated[float, Field(ge=0)] = 0.4
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path_schedule: Literal["growing", "constant"] = "growing"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    cutout: Annotated[int, Field(ge=0)] = 16
    augment: Literal["standard", "autoaugment", "randaugment", "trivial"] = "standard"
    weights_of: str | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    channels_last: bool | None = None
    compile: bool = False
    graph: Literal["auto", "off", "required"] = "off"

    def build_optimizer(self, weights: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Build the recipe's optimizer on all weights."""
        rates = optimizers.Rates(
            self.lr, self.momentum, self.nesterov, self.rho, self.epsilon, self.weight_decay, self.decay
        )
        return optimizers.build_optimizer(self.optimizer, weights, rates)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("evaluation.nesterov=true: needs momentum; use evaluation.momentum=0.9")
        if self.nesterov and self.optimizer != "sgd":
            raise ConfigError(
                f"evaluation.nesterov=true: evaluation.optimizer={self.optimizer} has none; use"
                " evaluation.nesterov=false or evaluation.optimizer=sgd"
            )
