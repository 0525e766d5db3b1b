"""Deploy a trained network: export it to files that other programs load, and label images."""

from nas_lightning.deployment.description import Normalising, TrainedNetwork
from nas_lightning.deployment.exporting import write_export
from nas_lightning.deployment.predicting import image_files, predict_images, save_predictions

__all__ = ["Normalising", "TrainedNetwork", "image_files", "predict_images", "save_predictions", "write_export"]
