"""Label image files with a trained network."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import exists, is_directory, is_file, path_of, shown
from nas_lightning.data.listing import EXTENSIONS, count_words, files_below
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.data.survey import attempt, sample
from nas_lightning.runs import tables

SAMPLED = 100
"""Files that are compared with the training images before all are labelled."""


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image file.

    Args:
        path: Path of the file.
        labels: Names of the most probable classes, in decreasing order; empty if the file cannot be read.
        probabilities: Probabilities of these classes.
        value: The number predicted by a network without classes.
        error: Reason why the file cannot be read; else empty.
    """

    path: str
    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    value: float | None = None
    error: str = ""


class _Images(Dataset[tuple[str, Tensor | None, str]]):
    """Image files: path, pixels [C, S, S] as bytes or None, error."""

    def __init__(self, paths: Sequence[str], preprocessing: Preprocessing) -> None:
        self.paths = paths
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor | None, str]:
        path = self.paths[index]
        try:
            return path, self.preprocessing.read(path), ""
        except DataError as error:
            return path, None, str(error)


def image_files(images: str | Path, left_out: Counter[str] | None = None) -> list[str]:
    """List an image file, or all of a folder at any depth, sorted, without hidden files.

    Args:
        images: The file or folder.
        left_out: Counts the files that are not read, for each reason.

    Raises:
        DataError: There are no images.
    """
    path = path_of(images)
    left_out = Counter() if left_out is None else left_out
    if is_file(path) and path.suffix.lower() in EXTENSIONS:
        return [str(path)]
    found = sorted(files_below(str(path), os.path.realpath(path), True, left_out)) if is_directory(path) else []
    if not found:
        problem = "there is no such file or folder"
        if is_directory(path):
            problem = f"there are no images in it{f'; {count_words(left_out)}' if left_out else ''}"
        elif is_file(path):
            problem = f"{path.suffix or 'a file without extension'} is not read"
        elif exists(path):
            problem = "it is neither a file nor a folder"
        raise DataError(
            f"images={shown(images)}: {problem}; give a photo or a folder of photos, images=FOLDER; read are"
            f" {' '.join(EXTENSIONS)}"
        )
    return found


def sample_pixels(paths: Sequence[str], preprocessing: Preprocessing) -> Tensor | None:
    """Return the pixels of some of the files, uint8 [N, C, S, S], evenly spaced; None if none of these can be read."""
    found = attempt(preprocessing.read, [paths[index] for index in sample(paths, SAMPLED)])
    images = [image for image in found if isinstance(image, Tensor)]
    return torch.stack(images) if images else None


def predict_images(
    network: nn.Module,
    paths: Sequence[str],
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    batch_size: int = 256,
    num_workers: int = 0,
    top: int = 5,
    device: torch.device | str = "cpu",
    track: Callable[[Any, str], Iterable[Any]] = lambda items, _: items,
) -> list[Prediction]:
    """Label image files, or predict their numbers, in their order; a file that cannot be read gets an error instead.

    Args:
        network: Images [B, C, S, S] from 0 to 1 → logits [B, K], or numbers [B, 1].
        paths: Paths of the files.
        preprocessing: Steps from a file to pixels.
        class_names: Names of the K classes; none if the network gives numbers.
        batch_size: Files per batch.
        num_workers: Processes that read images; 0 reads them in this process.
        top: Classes reported per image; K if there are fewer.
        device: Device of the network, which is moved there.
        track: Wraps the batches to show progress.
    """
    network = network.to(device).eval()
    loader = DataLoader(_Images(paths, preprocessing), batch_size, num_workers=num_workers, collate_fn=list)
    predictions: list[Prediction] = []
    for batch in track(loader, f"batches of {batch_size} images"):
        read = [image for _, image, _ in batch if image is not None]
        outputs = iter(_outputs(network, torch.stack(read).to(device)) if read else ())
        for path, image, error in batch:
            if image is None:
                predictions.append(Prediction(path, error=error))
            elif class_names:
                predictions.append(Prediction(path, *_most_probable(next(outputs), class_names, top)))
            else:
                predictions.append(Prediction(path, value=float(next(outputs))))
    return predictions


@torch.no_grad()
def _outputs(network: nn.Module, pixels: Tensor) -> Tensor:
    """Return the outputs of images on the CPU; pixels [B, C, S, S] from 0 to 255."""
    return network(pixels.float() / 255).float().cpu()


def _most_probable(logits: Tensor, class_names: Sequence[str], top: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the `top` most probable classes of an image with their probabilities, from its logits [K]."""
    # A stable sort, so that ties are ordered by class.
    values, order = logits.softmax(dim=0).sort(descending=True, stable=True)
    return tuple(class_names[k] for k in order[:top].tolist()), tuple(values[:top].tolist())


def save_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write a table: path, label, probability, label_2, probability_2, …, error; probabilities to six places.

    Of numbers it has path, value, error.
    """
    top = max((len(prediction.labels) for prediction in predictions), default=0)
    names = (
        ["value"]
        if any(found.value is not None for found in predictions)
        else [f"{name}{'' if k == 0 else f'_{k + 1}'}" for k in range(top) for name in ("label", "probability")]
    )
    rows = [
        {
            "path": found.path,
            **dict(zip(names, _cells(found), strict=False)),  # a file that cannot be read has none
            "error": found.error,
        }
        for found in predictions
    ]
    tables.write(path, rows, ["path", *names, "error"])


def _cells(found: Prediction) -> list[str]:
    if found.value is not None:
        return [f"{found.value:.6g}"]
    pairs = zip(found.labels, (f"{p:.6f}" for p in found.probabilities), strict=True)
    return [cell for pair in pairs for cell in pair]
