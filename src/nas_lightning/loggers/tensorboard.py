"""TensorBoard logger: event files in the run folder."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL.Image import Image
from pydantic import Field

from nas_lightning.loggers.base import RunInfo, require


class TensorBoard(TensorBoardLogger):
    """Log a run to `tensorboard/`; a resumed run adds an event file, and the curves continue.

    Args:
        drawing_interval: Epochs between two drawings of the cells and the mixing weights; null: none.
        run: Names and ids of the run; the workbench fills it in.
        others: Further arguments of Lightning's TensorBoardLogger.
    """

    def __init__(
        self,
        drawing_interval: Annotated[int, Field(ge=1)] | None = 5,
        run: RunInfo | None = None,
        **others: Any,
    ) -> None:
        assert run is not None, "filled in by the workbench"
        require("tensorboard", "tensorboard")
        super().__init__(run.path, **{"name": "tensorboard", "version": "", "default_hp_metric": False, **others})
        self.drawing_interval = drawing_interval

    def log_drawing(self, name: str, image: Image, step: int) -> None:
        """Log a drawing."""
        self.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")

    def log_genotype(self, file: Path) -> None:
        """Log the genotype as text."""
        self.experiment.add_text("genotype", f"```json\n{file.read_text()}\n```")

    def log_outcome(self, outcome: dict[str, Any]) -> None:
        """Log the summary as text."""
        self.experiment.add_text("summary", f"```json\n{json.dumps(outcome, indent=2)}\n```")

    def close(self, status: str) -> None:
        """Close the event file."""
        self.finalize("success")
        self._experiment = None
