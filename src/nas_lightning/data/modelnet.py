"""ModelNet40 as point clouds, from files.

Source: the archive `modelnet40_ply_hdf5_2048` of PointNet (Qi et al., CVPR 2017): 2048 points on each shape, within the
unit sphere, in files `ply_data_train*.h5` and `ply_data_test*.h5` with the arrays `data` and `label`.
Left out: the meshes of ModelNet10 and 40, on which SGAS samples points anew at each access.
Shapes: M clouds, N = `points` points that networks see, P ≥ N stored points.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, is_file, path_of, shown
from nas_lightning.data.arrays import OWN, UNREADABLE
from nas_lightning.data.base import Part
from nas_lightning.data.point_augmentation import PointAugmentation
from nas_lightning.data.points import Degrees, Factor, PointData, Points, Reach

NAMES = "shape_names.txt"
"""File with the names of the classes, a line each; without it classes are numbers."""


class ModelNet(PointData):
    """Point clouds of a folder in the layout of `modelnet40_ply_hdf5_2048`, or of a file of arrays.

    The folder is read with h5py, `pip install h5py`. A file `.npz` has the arrays x_train and x_test, M x P x 3, and
    y_train and y_test, integers 0 .. K - 1.

    Args:
        path: The folder or the file.
        points: N; the first of the stored points.
        resample: Whether training clouds are N stored points drawn anew at each reading, not the first N.
        rotation: Largest turn of a training cloud about the third axis, to either side, in degrees.
        scale: Largest factor by which a training cloud is stretched along each axis; its inverse is the smallest.
        shift: Largest move of a training cloud along each axis.
        jitter: Standard deviation of what moves each point of a training cloud.
    """

    name = "modelnet"
    missing: ClassVar[dict[str, str]] = {
        "path": "data.path={given}: nothing there; give a folder with ply_data_train0.h5, … or FILE.npz, data.path=PATH"
    }

    def __init__(
        self,
        path: str | None = None,
        points: Points = 1024,
        resample: bool = False,
        rotation: Degrees = 0.0,
        scale: Factor = 1.5,
        shift: Reach = 0.2,
        jitter: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        self.path = path
        self.points = points
        self.resample = resample
        self.augmentation = PointAugmentation(rotation, scale, shift, jitter)

    def _load(self) -> None:
        if self.path is None:
            raise DataError(
                "data.path=null: data=modelnet needs its files; give a folder or FILE.npz with data.path=PATH"
            )
        path = path_of(self.path)
        if is_directory(path):
            parts = self._of_folder(path)
        elif is_file(path):
            parts = self._of_arrays(path)
        else:
            raise DataError(self.missing["path"].format(given=shown(self.path)))
        (train, self.train_labels), (test, self.test_labels) = (self._checked(*part) for part in parts)
        self._clouds: dict[Part, torch.Tensor] = {"train": train, "test": test}
        self.num_classes = int(self.train_labels.max()) + 1
        if len(np.unique(self.train_labels)) < self.num_classes or self.num_classes < 2:
            raise self._error("labels of the training part are not 0, 1, 2, … without gaps, of two classes or more")
        if self.test_labels.max() >= self.num_classes:
            raise self._error(f"the test part holds the label {self.test_labels.max()}, which the training part lacks")
        self.class_names = self._names(path)

    def _of_folder(self, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
        """Read the files of both parts, in the order of their names."""
        files = {part: sorted(folder.glob(f"ply_data_{part}*.h5")) for part in ("train", "test")}
        for part, found in files.items():
            if not found:
                raise self._error(f"no file ply_data_{part}*.h5")
        try:
            import h5py  # an extra: no other data need it
        except ModuleNotFoundError:
            raise DataError(
                f"data.path={shown(self.path)}: files .h5 need h5py, which is not installed; pip install"
                " 'nas-lightning[modelnet]', or give FILE.npz with x_train, y_train, x_test and y_test"
            ) from None
        parts = []
        for found in files.values():
            clouds, labels = [], []
            for file in found:
                try:
                    with h5py.File(file, "r") as opened:
                        clouds.append(np.asarray(opened["data"]))
                        labels.append(np.asarray(opened["label"]).reshape(-1))
                except (OSError, KeyError) as error:
                    raise self._error(f"{file.name} has no readable arrays data and label ({error})") from error
            parts.append((np.concatenate(clouds), np.concatenate(labels)))
        return parts

    def _of_arrays(self, file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
        """Read a file of arrays."""
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as opened:
                lacking = [name for name in OWN if name not in opened]
                arrays = [] if lacking else [opened[name] for name in OWN]
        except (*UNREADABLE, TypeError, AttributeError) as error:  # the last two: a single .npy array
            raise self._error(f"not a readable .npz file ({' '.join(str(error).split())})") from error
        if lacking:
            raise self._error(f"lacks {', '.join(lacking)}")
        return [(arrays[0], arrays[1].reshape(-1)), (arrays[2], arrays[3].reshape(-1))]

    def _checked(self, clouds: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Return clouds as float32 [M, 3, P] and labels as int64 [M]."""
        if clouds.ndim != 3 or clouds.shape[2] != 3 or len(clouds) == 0:
            raise self._error(f"clouds have the shape {clouds.shape}, not M x P x 3")
        if clouds.shape[1] < self.points:
            raise DataError(
                f"data.points={self.points}: data.path={shown(self.path)} stores {clouds.shape[1]} points a cloud; use"
                f" at most data.points={clouds.shape[1]}"
            )
        if len(labels) != len(clouds) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            raise self._error(
                f"{len(labels)} labels of {labels.dtype} for {len(clouds)} clouds, not a class number each"
            )
        if not np.isfinite(clouds).all():
            raise self._error("some coordinates are not finite")
        return torch.from_numpy(clouds.astype(np.float32)).transpose(1, 2).contiguous(), labels.astype(np.int64)

    def _names(self, path: Path) -> tuple[str, ...]:
        """Return the names of the classes: those of `shape_names.txt` where it fits, else numbers."""
        file = path / NAMES
        names = file.read_text().split() if is_directory(path) and is_file(file) else []
        return tuple(names) if len(names) == self.num_classes else tuple(map(str, range(self.num_classes)))

    def _error(self, problem: Any) -> DataError:
        return DataError(f"data.path={shown(self.path or 'null')}: {problem}; give another with data.path=PATH")
