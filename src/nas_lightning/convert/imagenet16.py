"""Converter of ImageNet16-120, from the official files of downsampled ImageNet to one `.npz` file.

Source: Chrabaszcz, Loshchilov & Hutter 2017, arXiv 1707.08819: `train_data_batch_1` to `_10` and `val_data`, pickles of
{"data": uint8 [N, 768], the red, green and blue planes of 16×16 pixels; "labels": 1 to 1000}. Dong & Yang,
NAS-Bench-201 (ICLR 2020), keep classes 1 to 120, in the order of the files, on which the split files rely.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nas_lightning.convert.base import Converter, Track
from nas_lightning.convert.restricted import load_plain
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import untracked

CLASSES = 120
SIDE = 16
TRAIN = tuple(f"train_data_batch_{number}" for number in range(1, 11))
TEST = "val_data"


class ImageNet16Files(Converter):
    """Keeps the first 120 classes, numbered from 0; reads plain data only, so a malicious pickle cannot run code.

    Args:
        source: Folder with train_data_batch_1 to train_data_batch_10 and val_data.
        target: The `.npz` file to write, which `data=imagenet16_120 data.path=…` reads.
        overwrite: Whether to replace an existing target.
    """

    ending = (".npz",)

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target; see `Converter`.

        Raises:
            ConfigError: The source lacks a file or holds other data, or the target cannot be written.
        """
        source, target = self.paths()
        missing = [name for name in (*TRAIN, TEST) if not (source / name).is_file()]
        if missing:
            raise ConfigError(
                f"convert.source={self.source}: lacks {', '.join(missing)}; give the folder of the 16×16 files of"
                " downsampled ImageNet, unpacked"
            )
        parts = {name: self._read(source / name) for name in track((*TRAIN, TEST), "ImageNet16-120")}
        temporary = target.with_name(target.name + ".tmp")
        with temporary.open("wb") as file:  # given a name, np.savez would append .npz
            np.savez(
                file,
                x_train=np.concatenate([parts[name][0] for name in TRAIN]),
                y_train=np.concatenate([parts[name][1] for name in TRAIN]),
                x_test=parts[TEST][0],
                y_test=parts[TEST][1],
            )
        temporary.replace(target)
        return target

    def _read(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return images uint8 [N, 16, 16, 3] and labels int64 [N], from 0, of the kept classes.

        Raises:
            ConfigError: The file holds other data.
        """
        where = f"convert.source={self.source}: {file.name}"
        remedy = "download the official file again"
        with file.open("rb") as stream:
            content: Any = load_plain(stream, where, remedy)
        if not isinstance(content, dict) or not {"data", "labels"} <= set(content):
            raise ConfigError(f"{where}: has no data and labels; {remedy}")
        images, labels = content["data"], np.asarray(content["labels"])
        if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (3 * SIDE**2,)):
            raise ConfigError(f"{where}: data is not a uint8 array of N x {3 * SIDE**2}; give the 16×16 files")
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 1:
            raise ConfigError(f"{where}: labels are not a list of {len(images)} integers from 1 on; {remedy}")
        kept = labels <= CLASSES
        pixels = images[kept].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), labels[kept].astype(np.int64) - 1
