"""Pairs in folders: what is written is read, in every format, and faults are said in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from nas_lightning.core.errors import DataError
from nas_lightning.data import StereoFolder, StereoTorchvision
from nas_lightning.data.stereo_files import (
    read_disparity,
    read_pfm,
    reduced,
    save_disparity_png,
)
from nas_lightning.data.stereo_folders import SETS, divided


def write_pfm(path, values, order="<"):
    scale = -1.0 if order == "<" else 1.0
    body = values[::-1].astype(f"{order}f4").tobytes()
    path.write_bytes(f"Pf\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode() + body)


def truth(seed, size=(16, 24)):
    values = np.random.default_rng(seed).uniform(1, 9, size).astype(np.float32)
    values[0, 0] = np.inf
    return values


def write(folder, suffix, number=5, size=(16, 24), sign=1, mask=False):
    """Pairs with names pair0, pair1, …; returns images and truth."""
    rng = np.random.default_rng(0)
    for kind in ("left", "right", "disparity", *(["mask"] if mask else [])):
        (folder / kind).mkdir(parents=True)
    written = []
    for index in range(number):
        images = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
        values = truth(index, size)
        for kind, image in zip(("left", "right"), images, strict=True):
            Image.fromarray(image).save(folder / kind / f"pair{index}.png")
        path = folder / "disparity" / f"pair{index}{suffix}"
        if suffix == ".npy":
            np.save(path, sign * values)
        elif suffix == ".pfm":
            write_pfm(path, sign * values)
        else:
            save_disparity_png(torch.from_numpy(np.where(np.isfinite(values), values, np.nan))[None], path)
        if mask:
            kept = np.full(size, 255, np.uint8)
            kept[5] = 0
            Image.fromarray(kept).save(folder / "mask" / f"pair{index}.png")
        written.append((images, np.where(np.isfinite(values), values, np.nan)))
    return written


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".png"])
def test_what_is_written_is_read(tmp_path, suffix):
    written = write(tmp_path, suffix)
    data = StereoFolder(str(tmp_path))
    data.prepare()
    assert (data.height, data.width, len(data.train_labels), len(data.test_labels)) == (16, 24, 4, 1)
    for part, index, number in (("train", 0, 0), ("train", 3, 3), ("test", 0, 4)):
        left, right, disparity = data.pair(part, index)
        images, values = written[number]
        assert np.array_equal((255 * left).round().byte().permute(1, 2, 0), images[0])
        assert np.array_equal((255 * right).round().byte().permute(1, 2, 0), images[1])
        np.testing.assert_allclose(disparity[0], values, atol=0.5 / 256 if suffix == ".png" else 1e-6)
        assert torch.isnan(disparity[0, 0, 0])
    assert data.max_disparity <= 9
    assert 4 < data.mean_disparity < 6


def test_masks_and_signs(tmp_path):
    write(tmp_path, ".npy", sign=-1, mask=True)
    with pytest.raises(DataError, match=r"a disparity is -.* px; .*; if .*, use data\.disparity_sign=-1$"):
        StereoFolder(str(tmp_path)).prepare()
    data = StereoFolder(str(tmp_path), disparity_sign=-1)
    data.prepare()
    disparity = data.pair("train", 0)[2]
    assert torch.isnan(disparity[0, 5]).all()
    assert (disparity[0, 6] > 0).all()


def test_train_and_test_folders_and_windows(tmp_path):
    write(tmp_path / "train", ".npy", number=3)
    written = write(tmp_path / "test", ".npy", number=2)
    data = StereoFolder(str(tmp_path), height=8, width=16)
    data.prepare()
    assert (len(data.train_labels), len(data.test_labels)) == (3, 2)
    images, disparity = data.dataset("test", augment=False)[1]
    assert images.shape == (6, 8, 16)
    np.testing.assert_allclose(disparity[0], written[1][1][4:12, 4:20], rtol=1e-6)
    assert data.dataset("train", augment=True)[0][0].shape == (6, 8, 16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_portable_float_maps_in_either_byte_order(tmp_path, order):
    values = truth(3)
    write_pfm(tmp_path / "a.pfm", values, order)
    assert np.array_equal(read_pfm(tmp_path / "a.pfm"), values)


def test_numbers_of_images_are_divided_by_the_factor_and_0_is_unknown(tmp_path):
    Image.fromarray(np.array([[0, 256], [512, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    found = read_disparity(tmp_path / "a.png", factor=128.0)
    assert found[0].nan_to_num(-1).tolist() == [[-1, 2], [4, 65535 / 128]]
    with pytest.raises(DataError, match="does not fit 16 bits"):
        save_disparity_png(torch.full((1, 2, 2), 300.0), tmp_path / "b.png")


def faulty(tmp_path, name):
    write(tmp_path, ".npy", number=4)
    disparity = tmp_path / "disparity"
    if name == "no right":
        for path in (tmp_path / "right").iterdir():
            path.unlink()
        (tmp_path / "right").rmdir()
    elif name == "alone":
        (disparity / "pair2.npy").unlink()
    elif name == "size of the right image":
        Image.new("RGB", (20, 16)).save(tmp_path / "right/pair0.png")
    elif name == "size of the truth":
        np.save(disparity / "pair0.npy", np.ones((8, 24), np.float32))
    elif name == "no truth":
        for path in disparity.iterdir():
            np.save(path, np.full((16, 24), np.nan, np.float32))
    elif name == "damaged":
        (disparity / "pair0.npy").write_bytes(b"nothing")
    elif name == "damaged pfm":
        (disparity / "pair0.npy").unlink()
        (disparity / "pair0.pfm").write_bytes(b"Pf\n24 16\n-1.0\n1234")
    elif name == "colours":
        (disparity / "pair0.npy").unlink()
        Image.new("RGB", (24, 16)).save(disparity / "pair0.png")
    elif name == "three numbers":
        np.save(disparity / "pair0.npy", np.ones((16, 24, 2), np.float32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no right", "there is no folder right/ in it; needed are left/, right/ and disparity/"),
        ("alone", r"pair2 is in only one of left and disparity \(1 such names\)"),
        ("size of the right image", "have 16x24, 16x20, 16x24 pixels; they must be of one size"),
        ("size of the truth", "have 16x24, 16x24, 8x24 pixels"),
        ("no truth", "no pixel of 3 training pairs has a true disparity"),
        ("damaged", "cannot read the disparities .*pair0.npy"),
        ("damaged pfm", "cannot read the disparities .*pair0.pfm"),
        ("colours", r"disparities are 16-bit numbers, I;16"),
        ("three numbers", r"disparities of shape \(16, 24, 2\)"),
    ],
)
def test_faults_are_said_in_one_line(tmp_path, name, message):
    faulty(tmp_path, name)
    with pytest.raises(DataError, match=message) as found:
        StereoFolder(str(tmp_path), height=8 if "truth" in name else None).prepare()
    assert "\n" not in str(found.value)


def test_missing_folders_and_windows_that_are_too_large(tmp_path):
    with pytest.raises(DataError, match=r"^data\.path=nowhere: no folder nowhere; .*data\.path=FOLDER$"):
        StereoFolder("nowhere").prepare()
    with pytest.raises(DataError, match=r"^data\.path: give the folder .*data\.path=FOLDER$"):
        StereoFolder().prepare()
    write(tmp_path, ".npy")
    with pytest.raises(DataError, match=r"16x24 pixels are fewer than .*; use at most data\.height=16 data\.width=24$"):
        StereoFolder(str(tmp_path), height=32).prepare()
    with pytest.raises(DataError, match="2 pairs; at least 3 are needed"):
        divided([1, 2], 0.2, "here")


def test_reduced_pairs_have_reduced_disparities():
    left, disparity = torch.arange(2.0 * 4 * 6).view(2, 4, 6), torch.arange(24.0).view(1, 4, 6)
    small = reduced(left, left, disparity, 2)
    assert small[0][1, 0, 0] == left[1, :2, :2].mean()
    assert small[2][0].tolist() == [[3.5, 4.5, 5.5], [9.5, 10.5, 11.5]]
    assert reduced(left, left, disparity, 1)[2] is disparity


def test_kitti_as_torchvision_reads_it(tmp_path):
    folder = tmp_path / "Kitti2015" / "training"
    rng = np.random.default_rng(0)
    for kind in ("image_2", "image_3", "disp_occ_0", "disp_occ_1"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        for kind in ("image_2", "image_3"):
            Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(
                folder / kind / f"{number:06}_10.png"
            )
        values = rng.integers(256, 2560, (16, 24)).astype(np.uint16)
        values[:8] = 0
        for kind in ("disp_occ_0", "disp_occ_1"):
            Image.fromarray(values).save(folder / kind / f"{number:06}_10.png")
    data = StereoTorchvision("kitti2015", root=str(tmp_path), height=8, width=16)
    data.prepare()
    assert (data.name, len(data.train_labels), len(data.test_labels)) == ("kitti2015", 3, 1)
    disparity = data.pair("test", 0)[2]
    assert torch.isnan(disparity[0, :8]).all()
    np.testing.assert_allclose(disparity[0, 8:], values[8:] / 256)


@pytest.mark.parametrize("name", SETS)
def test_sets_that_are_not_there_are_refused_in_one_line(tmp_path, name):
    with pytest.raises(DataError, match=rf"^{name} is missing or damaged in data\.root=|^data\.path=.*0 pairs"):
        StereoTorchvision(name, root=str(tmp_path)).prepare()
