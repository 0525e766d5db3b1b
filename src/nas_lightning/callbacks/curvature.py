"""Track the curvature of the architecture loss during a search."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import lightning as L
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from nas_lightning.callbacks.stopping import Computation
from nas_lightning.core import draws, ranks
from nas_lightning.core.batches import Batch, first_of, placed_inputs
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.functional import evaluating
from nas_lightning.curvature import measure
from nas_lightning.curvature.products import LossOfArch


@dataclass
class Measured:
    """Curvature at the end of an epoch, a row of curvature.csv; controls add their decision.

    Args:
        dominant_eigenvalue: Largest algebraic eigenvalue of the Hessian with respect to the architecture parameters.
        products: Number of Hessian-vector products.
        residual: ‖Hv − λv‖ of the eigenpair.
        seconds: Duration of the measurement.
        on_grid: False for a measurement after the last epoch that is off the interval.
        smoothed: Latest moving average of the control, if there is one.
        event: Decision of a control: `stopped`, `rolled back`, or an empty string.
        to_epoch: Search epoch whose end the control restores.
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
    """Return the loss of a batch as a function of the architecture parameters, at the relaxation's mean.

    Args:
        module: The search module; its weights enter as constants.
        batch: Inputs and targets, on the device of the module.
    """
    inputs, targets = batch
    frozen = {name: weight.detach() for name, weight in module.supernet.named_parameters()}

    def loss(arch: Tensors) -> Tensor:
        mixing, active = module.at_mean(arch)
        with draws.keyed(module.seed, module.num_steps, "curvature", module.global_rank):
            outputs = functional_call(module.supernet, frozen, (inputs, mixing, active))
        return module.objective.loss(outputs, targets)

    return loss


class CurvatureTracking(L.Callback):
    """Measures the dominant eigenvalue of ∇²_α L_arch at regular search epochs and after the last one.

    The relaxation's mean is differentiated, at the current weights, on one batch; all products of a measurement use the
    same random draws. Source: Zela et al., RobustDARTS (ICLR 2020), released code: every 2 epochs, the last arch batch,
    train mode, weight decay of the architecture optimizer added to the diagonal. In a distributed run it is the
    curvature of the mean loss over the batches of all processes, each normalised by itself.

    Args:
        interval: Search epochs between two measurements.
        batch: `last` is the last arch batch of the epoch, as released; `fixed` the same images in every epoch, chosen
            by the run's seed, which is less noisy.
        mode: `train` has batch statistics, noise and drop-path, as released; `eval` running statistics and no noise.
        exact: Compute the whole Hessian instead of Lanczos.
        weight_decay: Add the weight decay of the architecture optimizer, as released.
        images: Measure on the first so many images of the batch; null takes all. Double backward holds about five times
            the memory of a training step per image.
    """

    def __init__(
        self,
        interval: Annotated[int, Field(ge=1)] = 2,
        batch: Literal["last", "fixed"] = "last",
        mode: Literal["train", "eval"] = "train",
        exact: bool = False,
        weight_decay: bool = True,
        images: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.interval = interval
        self.batch = batch
        self.mode = mode
        self.exact = exact
        self.weight_decay = weight_decay
        self.images = images

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure if this epoch is due."""
        if pl_module.phase != "search" or not pl_module.hypergradient.learns:
            return
        epoch = pl_module.search_epoch
        on_grid = epoch % self.interval == 0
        if on_grid or epoch - pl_module.progress.schedule_start == pl_module.settings.epochs - 1:
            pl_module.curvature = self.measured(trainer, pl_module, on_grid)
            pl_module.log("dominant_eigenvalue", pl_module.curvature.dominant_eigenvalue, sync_dist=True)

    def measured(self, trainer: L.Trainer, module: Any, on_grid: bool = True) -> Measured:
        """Measure now.

        Args:
            trainer: The Trainer, whose data module gives the fixed batch.
            module: The search module.
            on_grid: Recorded in the result.
        """
        start = time.perf_counter()
        name = f"the measurement of the curvature after epoch {module.search_epoch}"
        computation = Computation(trainer, name, "the epoch from its last saved state")

        def reduce(tensors: list[Tensor]) -> list[Tensor]:
            computation.leave_if_asked()  # called once a product
            reduced: list[Tensor] = module.reduce(tensors)
            return reduced

        mode = evaluating(module.supernet) if self.mode == "eval" else nullcontext()
        with mode, ranks.local_normalisation(module.supernet):
            found = measure(
                loss_of_arch(module, self._batch(trainer, module)),
                module.arch,
                module=module.supernet,
                exact=self.exact,
                weight_decay=module.settings.arch.weight_decay if self.weight_decay else 0.0,
                reduce=reduce,
                graphs=module.passes.graphs(),
            )
        seconds = round(time.perf_counter() - start, 4)
        return Measured(found.value, found.products, found.residual, seconds, on_grid)

    def _batch(self, trainer: L.Trainer, module: Any) -> Batch:
        if self.batch == "last":
            batch: Batch = module.arch_batch
        else:
            batch = trainer.datamodule.fixed_arch_batch()  # type: ignore[attr-defined]
        inputs, targets = first_of(batch, self.images)
        return placed_inputs(inputs, module.device), targets.to(module.device)
