"""Pairs of images in folders, and the stereo sets of torchvision.

Shapes: C channels of an image, H = `height` rows and W = `width` columns that networks see.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision import datasets
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, path_of
from nas_lightning.data.base import Part
from nas_lightning.data.stereo import PARTS, Stereo, StereoData
from nas_lightning.data.stereo_files import SUFFIXES, known, read_disparity, read_image, read_mask

Side = Annotated[int, Field(ge=8)]
Factor = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Listed(StereoData):
    """Pairs that are read when they are asked for."""

    _pairs: dict[Part, list[Any]]

    def __init__(self, height: int | None, width: int | None, augmentation: float) -> None:
        self._given = height, width
        self.augmentation = augmentation

    def _read(self, item: Any) -> tuple[Tensor, Tensor, Tensor, str]:
        """Return a pair, its disparities, and its name for messages."""
        raise NotImplementedError

    def _describe(self) -> None:
        """Set labels, and the size that networks see: the one given, or that of the first pair."""
        self.train_labels, self.test_labels = (np.zeros(len(self._pairs[part]), np.int64) for part in PARTS)
        height, width = self._read(self._pairs["train"][0])[2].shape[1:]
        self.height, self.width = self._given[0] or height, self._given[1] or width

    def pair(self, part: Part, index: int) -> Stereo:
        """Return a pair, [3, H', W'] each and at least as large as H x W, and its disparities [1, H', W'].

        Raises:
            DataError: A file cannot be read, its images and its truth have different sizes, or they are too small.
        """
        left, right, disparity, name = self._read(self._pairs[part][index])
        sizes = [tuple(image.shape[1:]) for image in (left, right, disparity)]
        if len(set(sizes)) > 1:
            shown = ", ".join(f"{height}x{width}" for height, width in sizes)
            raise DataError(f"{name}: left image, right image and truth have {shown} pixels; they must be of one size")
        height, width = sizes[0]
        if height < self.height or width < self.width:
            raise DataError(
                f"{name}: {height}x{width} pixels are fewer than data.height={self.height} and"
                f" data.width={self.width}; use at most data.height={height} data.width={width}"
            )
        return left, right, disparity


class StereoFolder(_Listed):
    """Your own pairs: FOLDER/left, FOLDER/right and FOLDER/disparity with files of equal names, optionally FOLDER/mask.

    Or the same in FOLDER/train and FOLDER/test. Disparities are `.npy` or `.pfm` files in pixels, or 16-bit `.png`
    files; a mask is black where the truth is not to be used. Training pairs are windows of the size that is given, at
    random; test pairs are the middle.

    Args:
        path: FOLDER; it must be given.
        height: Rows that networks see; None: all of the first pair.
        width: Columns, likewise.
        test_fraction: Share of the pairs, the last by name, kept for the test part where there is no test folder.
        disparity_factor: What the numbers of 16-bit images are divided by.
        disparity_sign: -1 where the files hold the motion along x, the negative disparities.
        augmentation: Factor of the variances of the augmentation of training pairs; 0: none.
    """

    name = "stereo_folder"
    missing: ClassVar[dict[str, str]] = {
        "path": "data.path={given}: no folder {path}; give one with left/, right/ and disparity/, data.path=FOLDER"
    }

    def __init__(
        self,
        path: str | None = None,
        height: Side | None = None,
        width: Side | None = None,
        test_fraction: Share = 0.2,
        disparity_factor: Annotated[float, Field(gt=0)] = 256.0,
        disparity_sign: Literal[1, -1] = 1,
        augmentation: Factor = 1.0,
    ) -> None:
        super().__init__(height, width, augmentation)
        self.path = path
        self.test_fraction = test_fraction
        self.disparity_factor, self.disparity_sign = disparity_factor, disparity_sign

    def _load(self) -> None:
        if self.path is None:
            raise DataError("data.path: give the folder with left/, right/ and disparity/, data.path=FOLDER")
        folder = path_of(self.path)
        if not is_directory(folder):
            raise DataError(self.missing["path"].format(given=self.path, path=folder))
        if is_directory(folder / "train"):
            if not is_directory(folder / "test"):
                raise DataError(f"data.path={self.path}: there is {folder}/train, but no {folder}/test; add it")
            self._pairs = {part: listed(folder / part) for part in PARTS}
        else:
            self._pairs = divided(listed(folder), self.test_fraction, self.path)
        self._describe()

    def _read(self, item: dict[str, Path]) -> tuple[Tensor, Tensor, Tensor, str]:
        disparity = read_disparity(item["disparity"], self.disparity_factor, self.disparity_sign)
        if "mask" in item:
            mask = read_mask(item["mask"])
            if mask.shape != disparity.shape:
                raise DataError(
                    f"{item['mask']}: {mask.shape[1]}x{mask.shape[2]} pixels, its disparities have"
                    f" {disparity.shape[1]}x{disparity.shape[2]}; they must be of one size"
                )
            disparity = torch.where(mask, disparity, torch.nan)
        return read_image(item["left"]), read_image(item["right"]), disparity, str(item["left"])


def listed(folder: Path) -> list[dict[str, Path]]:
    """Return the files of each pair, by what they hold, in the order of their names.

    Raises:
        DataError: A folder is missing or empty, or a file has no counterpart.
    """
    files: dict[str, dict[str, Path]] = {}
    for kind in ("left", "right", "disparity", "mask"):
        if kind == "mask" and not is_directory(folder / kind):
            continue
        if not is_directory(folder / kind):
            raise DataError(
                f"data.path={folder}: there is no folder {kind}/ in it; needed are left/, right/ and disparity/,"
                " data.path=FOLDER"
            )
        found = sorted(path for path in (folder / kind).iterdir() if path.is_file() and path.name[0] != ".")
        if kind == "disparity":
            found = [path for path in found if path.suffix in SUFFIXES]
        files[kind] = {path.stem: path for path in found}
    if not files["left"]:
        raise DataError(f"data.path: {folder}/left holds no files; put the left images there")
    for kind, by_name in files.items():
        alone = sorted(set(files["left"]) ^ set(by_name))
        if alone:
            raise DataError(
                f"data.path: {folder}: {alone[0]} is in only one of left and {kind} ({len(alone)} such names); files"
                f" of a pair have equal names, disparities end in {', '.join(SUFFIXES)}"
            )
    return [{kind: by_name[name] for kind, by_name in files.items()} for name in sorted(files["left"])]


def divided(pairs: list[Any], test_fraction: float, path: str) -> dict[Part, list[Any]]:
    """Return the last share of the pairs as the test part, the others as the training part.

    The last and not random ones: neighbouring pairs are often frames of one film.

    Raises:
        DataError: There are fewer than three.
    """
    if len(pairs) < 3:
        raise DataError(f"data.path={path}: {len(pairs)} pairs; at least 3 are needed, 2 to train on and 1 to test on")
    test = min(len(pairs) - 2, max(1, round(test_fraction * len(pairs))))
    return {"train": pairs[:-test], "test": pairs[-test:]}


SETS = {
    "carla": (datasets.CarlaStereo, {}),
    "crestereo": (datasets.CREStereo, {}),
    "eth3d": (datasets.ETH3DStereo, {"split": "train"}),
    "falling_things": (datasets.FallingThingsStereo, {"variant": "single"}),
    "flyingthings3d": (datasets.SceneFlowStereo, {"variant": "FlyingThings3D", "pass_name": "clean"}),
    "instereo2k": (datasets.InStereo2k, {"split": "train"}),
    "kitti2012": (datasets.Kitti2012Stereo, {"split": "train"}),
    "kitti2015": (datasets.Kitti2015Stereo, {"split": "train"}),
    "middlebury2014": (datasets.Middlebury2014Stereo, {"split": "train"}),
    "sintel": (datasets.SintelStereo, {"pass_name": "final"}),
}
"""Stereo sets of torchvision by our names: the class, and the part of it that has a truth."""


class StereoTorchvision(_Listed):
    """A published set by torchvision, from files that are there already.

    Args:
        set: Which: flyingthings3d, sintel, kitti2012, kitti2015, middlebury2014, eth3d, carla, crestereo,
            falling_things or instereo2k.
        root: Folder that holds the set as torchvision expects it.
        height: Rows that networks see; None: all of the first pair.
        width: Columns, likewise.
        test_fraction: Share of the pairs with a truth, the last of them, kept for the test part.
        augmentation: Factor of the variances of the augmentation of training pairs; 0: none.
    """

    def __init__(
        self,
        set: Literal[  # noqa: A002 - the word that a user writes
            "carla", "crestereo", "eth3d", "falling_things", "flyingthings3d", "instereo2k", "kitti2012", "kitti2015",
            "middlebury2014", "sintel",
        ],
        root: str = "data",
        height: Side | None = None,
        width: Side | None = None,
        test_fraction: Share = 0.2,
        augmentation: Factor = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(height, width, augmentation)
        self.name: str = set
        self.root = root
        self.test_fraction = test_fraction

    def _load(self) -> None:
        source, choice = SETS[self.name]
        try:
            self._source = source(str(path_of(self.root)), **choice)
            number = len(self._source)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{self.name} is missing or damaged in data.root={self.root} ({' '.join(str(error).split())}); unpack"
                " it there as torchvision expects it, or give its folder with data.root=FOLDER"
            ) from error
        self._pairs = divided(list(range(number)), self.test_fraction, self.root)
        self._describe()

    def _read(self, item: int) -> tuple[Tensor, Tensor, Tensor, str]:
        name = f"{self.name}: pair {item}"
        left, right, truth, *mask = self._source[item]
        if truth is None:
            raise DataError(f"{name} has no true disparity in data.root={self.root}; add its files")
        disparity = torch.from_numpy(np.array(truth, dtype=np.float32)).reshape(1, *truth.shape[-2:])
        if mask and mask[0] is not None:
            disparity = torch.where(torch.from_numpy(np.array(mask[0], dtype=bool)), disparity, torch.nan)
        images = [functional.pil_to_tensor(image.convert("RGB")).float() / 255 for image in (left, right)]
        if self.name.startswith("kitti"):  # 0 says that it is not known, and torchvision's mask has no such pixel
            disparity = torch.where(disparity > 0, disparity, torch.nan)
        return images[0], images[1], known(disparity, name), name
