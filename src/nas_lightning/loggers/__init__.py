"""External loggers of a run: Weights & Biases, TensorBoard, MLflow, and users' own."""

from nas_lightning.loggers.base import RunInfo
from nas_lightning.loggers.guarded import Guarded
from nas_lightning.loggers.mlflow import MLflow
from nas_lightning.loggers.run_loggers import RunLoggers
from nas_lightning.loggers.tensorboard import TensorBoard
from nas_lightning.loggers.wandb import Wandb

__all__ = ["Guarded", "MLflow", "RunInfo", "RunLoggers", "TensorBoard", "Wandb"]
