"""Watching the curvature of the architecture loss."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import lightning as L
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from nas_lightning.core import draws, ranks
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.functional import evaluating
from nas_lightning.curvature import measure
from nas_lightning.curvature.products import LossOfArch

Batch = tuple[Tensor, Tensor]


@dataclass
class Measured:
    """The curvature at the end of an epoch, a row of curvature.csv; controls add what they make of it.

    Args:
        dominant_eigenvalue: Largest algebraic eigenvalue of the Hessian with respect to the architecture parameters.
        products: Hessian-vector products that it took.
        residual: ‖Hv − λv‖ of the pair found.
        seconds: Time that it took.
        on_grid: False for a measurement after the last epoch that the interval alone would not have taken.
        smoothed: The latest average of the control's window, if there is one.
        event: What a control decided: `stopped`, `rolled back`, or nothing.
        to_epoch: The search epoch whose end it goes back to.
    """

    dominant_eigenvalue: float
    products: int
    residual: float
    seconds: float
    on_grid: bool
    smoothed: float | None = None
    event: str = ""
    to_epoch: int | None = None


def loss_of_arch(module: Any, batch: Batch) -> LossOfArch:
    """The loss of a batch as a function of the architecture parameters: at the relaxation's mean, weights as they are.

    Args:
        module: The search module.
        batch: Images and targets, on its device.
    """
    images, targets = batch
    frozen = {name: weight.detach() for name, weight in module.supernet.named_parameters()}

    def loss(arch: Tensors) -> Tensor:
        mixing, active = module.at_mean(arch)
        with draws.keyed(module.seed, module.num_steps, "curvature", module.global_rank):
            outputs = functional_call(module.supernet, frozen, (images, mixing, active))
        return module.objective.loss(outputs, targets)

    return loss


class CurvatureTracking(L.Callback):
    """Measures the dominant eigenvalue of ∇²_α L_arch every so many search epochs and after the last one.

    The relaxation's mean is differentiated, at the weights as they are, on one batch; random draws are the same for
    all products of a measurement. RobustDARTS' released code: every 2 epochs, the last arch batch, train mode,
    weight decay of the architecture optimizer added to the diagonal. In a distributed run it is the curvature of the
    mean loss over the batches of all processes, each normalised by itself.

    Args:
        interval: Search epochs between two measurements.
        batch: `last` is the last arch batch of the epoch, as released; `fixed` the same images in every epoch, chosen
            by the run's seed, which is less noisy.
        mode: `train` has batch statistics, noise and drop-path, as released; `eval` running statistics and no noise.
        exact: The whole Hessian instead of Lanczos.
        weight_decay: Add the weight decay of the architecture optimizer, as released.
    """

    def __init__(
        self,
        interval: Annotated[int, Field(ge=1)] = 2,
        batch: Literal["last", "fixed"] = "last",
        mode: Literal["train", "eval"] = "train",
        exact: bool = False,
        weight_decay: bool = True,
    ) -> None:
        self.interval = interval
        self.batch = batch
        self.mode = mode
        self.exact = exact
        self.weight_decay = weight_decay

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure where it is due."""
        if pl_module.phase != "search" or not pl_module.hypergradient.learns:
            return
        epoch = pl_module.search_epoch
        on_grid = epoch % self.interval == 0
        if on_grid or epoch == pl_module.settings.epochs - 1:
            pl_module.curvature = self.measured(trainer, pl_module, on_grid)
            pl_module.log("dominant_eigenvalue", pl_module.curvature.dominant_eigenvalue, sync_dist=True)

    def measured(self, trainer: L.Trainer, module: Any, on_grid: bool = True) -> Measured:
        """Measure now."""
        start = time.perf_counter()
        mode = evaluating(module.supernet) if self.mode == "eval" else nullcontext()
        with mode, ranks.local_normalisation(module.supernet):
            found = measure(
                loss_of_arch(module, self._batch(trainer, module)),
                module.arch,
                module=module.supernet,
                exact=self.exact,
                weight_decay=module.settings.arch.weight_decay if self.weight_decay else 0.0,
                reduce=module.reduce,
            )
        seconds = round(time.perf_counter() - start, 4)
        return Measured(found.value, found.products, found.residual, seconds, on_grid)

    def _batch(self, trainer: L.Trainer, module: Any) -> Batch:
        if self.batch == "last":
            return module.arch_batch
        images, targets = trainer.datamodule.fixed_arch_batch()  # type: ignore[attr-defined]
        return images.to(module.device), targets.to(module.device)
