"""Cutout in the search: blank a square of each image of a batch on its device."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.regularizers.drop_path import known_epochs


class Cutout(Regularizer):
    """Blanks one square of each image, vectorised over the batch; the fill value 0 is the mean colour.

    The centre is uniform over the pixels, and the square is clipped at the border: rows c − length // 2 to
    c + length // 2 − 1, columns likewise, as in `nas_lightning.data.Cutout` (Devries and Taylor 2017,
    arXiv 1708.04552; DARTS' released code). An odd length covers one pixel less.

    In the RobustDARTS paper the probability grows linearly over the search; its released code never reads the
    scheduled value, so the published tables come from Cutout on every image from the first epoch on.

    It acts in both modes of the supernet: the caller decides which images it receives.

    Args:
        length: Side of the square in pixels; None is half the image, 16 on CIFAR as published. 0 disables it.
        probability: Probability that an image gets a square, in the last epoch if linear. 0 disables it.
        schedule: `constant`, or `linear`: p(e) = probability·e/(E−1).
        epochs: Total search epochs E; required by the linear schedule.
        image_size: Side of the images in pixels; None reads it from the images.

    Raises:
        ConfigError: The square is larger than the image.
    """

    key = "regularizer.cutout"
    graphable = True

    def __init__(
        self,
        length: Annotated[int, Field(ge=0)] | None = None,
        probability: Annotated[float, Field(ge=0, le=1)] = 1.0,
        schedule: Literal["constant", "linear"] = "constant",
        epochs: Annotated[int, Field(ge=1)] | None = None,
        image_size: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.length = length
        self.probability = probability
        self.schedule = schedule
        self.epochs = epochs
        if image_size is not None:
            self._length_on(image_size)
        self._fraction = 1.0 if schedule == "constant" else 0.0

    def _length_on(self, side: int) -> int:
        """Return the side of the square on images whose shorter side is `side` pixels."""
        if self.length is None:
            return side // 2
        if self.length > side:
            raise ConfigError(
                f"{self.key}.length={self.length}: the images have {side} pixels a side; allowed: 0 to {side}, or null"
                f" for half of it; write {self.key}.length={side // 2}"
            )
        return self.length

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the schedule.

        Raises:
            ConfigError: The schedule is linear and `epochs` is None.
        """
        if self.schedule == "linear":
            self._fraction = min(1.0, search_epoch / max(1, known_epochs(self.epochs, self.key) - 1))

    def on_images(self, images: Tensor) -> Tensor:
        """Return images [B, C, H, W] with blanked squares in a new tensor, or the images themselves if it is disabled.

        Raises:
            ConfigError: The square is larger than the image.
        """
        batch, _, height, width = images.shape
        half = self._length_on(min(height, width)) // 2
        probability = self.probability * self._fraction
        if probability == 0 or half == 0:
            return images
        rng = draws.generator("cutout", device=images.device, per_sample=True)
        chosen = torch.rand(batch, 1, 1, generator=rng, device=images.device) < probability
        rows = self._covered(height, batch, half, images.device, rng)[:, :, None]
        columns = self._covered(width, batch, half, images.device, rng)[:, None, :]
        return images.masked_fill((chosen & rows & columns)[:, None], 0.0)

    @staticmethod
    def _covered(side: int, batch: int, half: int, device: torch.device, rng: torch.Generator | None) -> Tensor:
        """Return boolean [B, side]: the rows (or columns) that the square of each image covers."""
        centre = torch.randint(side, (batch, 1), generator=rng, device=device)
        offset = torch.arange(side, device=device) - centre
        return (offset >= -half) & (offset < half)

    def metrics(self) -> dict[str, float]:
        """Return the probability of the epoch, if it changes."""
        return {"cutout": self.probability * self._fraction} if self.schedule == "linear" else {}
