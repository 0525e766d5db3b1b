"""Interface between the callbacks and the module that a phase trains."""

from typing import ClassVar

import lightning as L

from nas_lightning.callbacks.curvature import Measured
from nas_lightning.core.choices import Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import ACCURACY, Goal


class PhaseModule(L.LightningModule):
    """Base class of the modules of a search, a selection or a retraining; its defaults are those of a retraining.

    Attributes:
        searches: True if it has architecture parameters, and so a genotype and mixing weights at every epoch.
        phase: `search`, `selection` or `evaluation`, as the tables name it.
        num_steps: Optimizer steps of the weights so far.
        curvature: Measurement at the end of this epoch, if there is one.
        goal: Metric that is reported, with its unit and direction.
        lr_keys: Keys of its learning rates in the configuration, for messages.
    """

    searches: ClassVar[bool] = False
    phase: str = "evaluation"
    num_steps: int = 0
    curvature: Measured | None = None
    goal: Goal = ACCURACY
    lr_keys: ClassVar[str] = "evaluation.lr"

    @property
    def row_epoch(self) -> int:
        """The epoch of a row of the tables; it only increases within a phase."""
        return self.trainer.current_epoch

    @property
    def search_epoch(self) -> int:
        """The position on all schedules; a rollback rewinds it."""
        return self.trainer.current_epoch

    @property
    def first_epoch(self) -> int:
        """The search epoch at which the phase begins."""
        return 0

    @property
    def attempt(self) -> int:
        """Number of rollbacks so far."""
        return 0

    def epoch_metrics(self) -> dict[str, float]:
        """Return metrics of the epoch besides the logged ones."""
        return {}

    def genotype(self) -> Genotype | None:
        """Return the genotype of the architecture parameters; None if there are none or they do not determine one."""
        return None

    def mean(self) -> Mixing:
        """Return the deterministic mixing weights by choice, each [R, O]; none without architecture parameters."""
        return {}
