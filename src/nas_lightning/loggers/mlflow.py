"""MLflow logger: a store in the run folder, or a tracking server."""

import logging
import os
from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch.loggers import Logger, MLFlowLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from PIL.Image import Image
from pydantic import Field

from nas_lightning.loggers.base import RunInfo, require
from nas_lightning.runs import layout

logging.getLogger(MLFlowLogger.__module__).setLevel(logging.ERROR)  # it warns about every new experiment


class MLflow(MLFlowLogger):
    """Log a run to MLflow; after a resume under the same id.

    Args:
        tracking_uri: The server or store; null: MLFLOW_TRACKING_URI, else `mlflow/mlflow.db` in the run folder.
        experiment_name: Experiment of the run; null: the sweep, else method-space-data.
        drawing_interval: Epochs between two drawings of the cells and the mixing weights; null: none.
        run: Names and ids of the run; the workbench fills it in.
        others: Further arguments of Lightning's MLFlowLogger.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        drawing_interval: Annotated[int, Field(ge=1)] | None = 5,
        run: RunInfo | None = None,
        **others: Any,
    ) -> None:
        assert run is not None, "filled in by the workbench"
        require("mlflow", "mlflow")
        Logger.__init__(self)  # Lightning's __init__ would open the store before the run folder exists
        self.drawing_interval = drawing_interval
        self._run = run
        self._opened = False
        self._last_step = 0
        self._asked = {"tracking_uri": tracking_uri, "experiment_name": experiment_name, **others}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow client; the first access starts the run."""
        if not self._opened:
            self._open()
        return super().experiment

    def _open(self) -> None:
        run, folder = self._run, self._run.path / "mlflow"
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # only the user's own server learns of a run
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # hides how it creates its tables
        uri = self._asked["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
        local = {}
        if uri is None:
            folder.mkdir(exist_ok=True)
            uri, local = f"sqlite:///{folder}/mlflow.db", {"artifact_location": (folder / "artifacts").as_uri()}
        own_tags = {**dict.fromkeys(run.config.get("tags", []), "true"), "kind": run.kind}
        arguments = {
            **local,
            **self._asked,
            "tracking_uri": uri,
            "experiment_name": self._asked["experiment_name"] or run.group,
            "run_id": run.noted("mlflow"),
        }
        words = dict(zip(("method", "space", "data", "seed"), [*run.words, str(run.config["seed"])], strict=True))
        super().__init__(**{"run_name": run.name, "tags": {**own_tags, **words}, **arguments})
        self._opened = True
        run.note("mlflow", str(self.run_id))

    def log_hyperparams(self, params: Any) -> None:
        """Log the configuration, but not after a resume: MLflow refuses to change parameters."""
        if not self.experiment.get_run(self.run_id).data.params:
            super().log_hyperparams(params)

    def log_row(self, row: dict[str, float], step: int) -> None:
        """Log the metrics of an epoch."""
        self._last_step = step
        self.log_metrics(row, step)

    def log_drawing(self, name: str, image: Image, step: int) -> None:
        """Log a drawing."""
        self.experiment.log_image(self.run_id, image, key=name, step=step)

    def log_genotype(self, file: Path) -> None:
        """Log the genotype as an artifact."""
        self.experiment.log_artifact(self.run_id, str(file))

    def log_outcome(self, outcome: dict[str, Any]) -> None:
        """Log the numbers of the summary as metrics one step after the last epoch, and all of it as an artifact."""
        numbers = {key: value for key, value in outcome.items() if isinstance(value, int | float)}
        self.log_metrics(numbers, self._last_step + 1)
        self.experiment.log_dict(self.run_id, outcome, layout.SUMMARY)

    def close(self, status: str) -> None:
        """End the run with a status of MLflow: FINISHED, KILLED or FAILED."""
        self.experiment.set_terminated(
            self.run_id, {"success": "FINISHED", "interrupted": "KILLED"}.get(status, "FAILED")
        )
        self._initialized = False
