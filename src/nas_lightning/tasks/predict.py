"""`task=predict`: label image files with the trained network of a run or of an export."""

from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from nas_lightning.analyses.base import QUIET, show_table
from nas_lightning.config.schema import RootConfig
from nas_lightning.config.sections import PredictConfig
from nas_lightning.core.errors import ConfigError, DataError, MachineError
from nas_lightning.core.terminal import print_line, track_progress
from nas_lightning.core.workers import reason_of_end, reason_of_start
from nas_lightning.data.checks import warn_unlike
from nas_lightning.data.listing import count_words
from nas_lightning.deployment import TrainedNetwork, image_files, predict_images, save_predictions
from nas_lightning.deployment.predicting import Prediction, sample_pixels
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.trained import refuse_run, trained_network
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench

SHOWN = 10
"""Predictions in the table on the terminal."""


def run_predict(config: RootConfig, folder: RunFolder) -> list[Prediction]:
    """Label images, write predictions.csv and return the predictions.

    Raises:
        ConfigError: There are no images, the run has no trained network, or its preprocessing is not known.
        DataError: No image can be read.
        MachineError: The processes that read images cannot be started, or have ended.
    """
    settings = config.predict or PredictConfig()
    if config.images is None:
        raise ConfigError("images=null: task=predict needs a photo or a folder of photos; give images=FOLDER")
    check_processes(config.trainer, config.task)
    refuse_run(folder)
    left_out: Counter[str] = Counter()
    paths = image_files(config.images, left_out)
    trained, network, _ = trained_network(config)
    if trained.preprocessing is None:
        raise ConfigError(
            f"run={config.run}: it was trained with a data module of your own, whose transforms are not known here;"
            " use task=export and load the network in Python"
        )
    _compare(paths, trained, f"images={config.images}: they")
    device = Workbench(config, folder).plain_trainer([], max_epochs=1, **QUIET).strategy.root_device
    try:
        predictions = predict_images(
            trained.normalising(network),
            paths,
            trained.preprocessing,
            trained.class_names,
            settings.batch_size,
            settings.num_workers,
            settings.top,
            device,
            track_progress,
        )
    except (RuntimeError, OSError) as error:
        reason = reason_of_end(error) or (reason_of_start(error) if isinstance(error, OSError) else None)
        if reason is None:
            raise
        raise MachineError(f"{reason}; read the images in the main process: predict.num_workers=0") from error
    broken = [found for found in predictions if found.error]
    if len(broken) == len(predictions):
        raise DataError(f"images={config.images}: none of {len(paths)} could be read; the first: {broken[0].error}")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        save_predictions(folder.path / layout.PREDICTIONS, predictions)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir={folder}: cannot be written ({error.strerror})") from error
    _show(predictions, broken)
    if left_out:
        print_line(escape(count_words(left_out)))
    print_line(escape(f"written: {folder}/{layout.PREDICTIONS}"))
    return predictions


def _compare(paths: Sequence[str], trained: TrainedNetwork, what: str) -> None:
    """Warn about images that are unlike those of the training, for instance of another scale."""
    assert trained.preprocessing is not None
    pixels = sample_pixels(paths, trained.preprocessing)
    if pixels is not None and trained.mean is not None and trained.std is not None:
        warn_unlike(pixels, trained.mean, trained.std, what)


def _show(predictions: Sequence[Prediction], broken: Sequence[Prediction]) -> None:
    good = [found for found in predictions if not found.error]
    more = len(good) - SHOWN
    values = [found.value for found in good if found.value is not None]
    show_table(
        "predictions",
        ("image", "value") if values else ("image", "label", "probability"),
        [(escape(found.path), *_answer(found)) for found in good[:SHOWN]],
        caption=f"and {more} more" if more > 0 else None,
    )
    if values:
        counted = f"from {min(values):.6g} to {max(values):.6g}, mean {sum(values) / len(values):.6g}"
    else:
        labels = Counter(found.labels[0] for found in good).most_common()
        counted = ", ".join(f"{label} {count}" for label, count in labels[:SHOWN])
    print_line(escape(f"{len(good)} images: {counted}"))
    if broken:
        print_line(escape(f"{len(broken)} could not be read; see the column `error`; the first: {broken[0].error}"))


def _answer(found: Prediction) -> tuple[str, ...]:
    if found.value is not None:
        return (f"{found.value:.6g}",)
    return escape(found.labels[0]), f"{found.probabilities[0]:.3f}"
