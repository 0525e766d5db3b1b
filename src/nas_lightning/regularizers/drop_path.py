"""Drop-path in the search: drop whole edges of the supernet, with increasing probability."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.schedules import drop_path_in_search
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces.operations import drop_path


def known_epochs(epochs: int | None, part: str) -> int:
    """Return the length of a schedule in search epochs.

    Args:
        epochs: The length, or None where it is unknown.
        part: Key of the part in the configuration.

    Raises:
        ConfigError: The length is None.
    """
    if epochs is None:
        key = f"{part}.epochs"
        raise ConfigError(f"{key}=null: the schedule needs the search epochs, a whole number from 1; write {key}=50")
    return epochs


class DropPath(Regularizer, nn.Module):
    """Drops the mixed output of an edge, the identity included, independently for each image; scales up the others.

    The probability is p(e) = maximum·e/(E−1): the maximum is reached in the last search epoch. Active in training
    mode only, hence in the architecture step and in every pass of an unrolled step as well as in the weight step.
    Source: Zela et al., RobustDARTS (ICLR 2020), section 5 and released code; there the mask is applied in place.
    The released code enables Cutout together with drop-path; here it is a separate part.

    Args:
        maximum: Probability in the last epoch. A control may change it between epochs; `at_epoch` follows it.
        epochs: Total search epochs E.

    Attributes:
        probability: Probability of the current epoch.
    """

    key = "regularizer.drop_path"
    graphable = True
    adjustable: ClassVar[dict[str, float]] = {"maximum": 1.0}

    def __init__(
        self,
        maximum: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        epochs: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        self.maximum = maximum
        self.epochs = epochs
        self.probability = 0.0

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the schedule.

        Raises:
            ConfigError: `epochs` is None, or the maximum is no probability below 1.
        """
        if not 0 <= self.maximum < 1:
            raise ConfigError(
                f"{self.key}.maximum={self.maximum}: must be at least 0 and less than 1; write {self.key}.maximum=VALUE"
            )
        epochs = known_epochs(self.epochs, self.key)
        self.probability = drop_path_in_search(min(search_epoch, epochs - 1), epochs, self.maximum)

    def acts_on_edges(self) -> bool:
        """Return True in training mode at a positive probability."""
        return self.training and self.probability > 0

    def on_edge(self, y: Tensor, x: Tensor, edge: EdgeInfo) -> Tensor:
        """Return `y` [B, C, H, W] with zeros for the dropped images; never in place."""
        if not self.acts_on_edges():
            return y
        return drop_path(y, lambda: self.probability, "drop path", edge.cell, edge.row)

    def metrics(self) -> dict[str, float]:
        """Return the probability of the epoch."""
        return {"drop_path": self.probability}
