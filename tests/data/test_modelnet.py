"""ModelNet from files: the published layout where h5py is installed, and a file of arrays."""

import importlib.util

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data import ModelNet

HAS_H5PY = importlib.util.find_spec("h5py") is not None


def arrays(**changes):
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.normal(size=(6, 9, 3)),
        "y_train": np.array([[0], [1], [2], [0], [1], [2]], dtype=np.uint8),
        "x_test": rng.normal(size=(3, 9, 3)),
        "y_test": np.array([2, 1, 0]),
    }
    return {**made, **changes}


def stored(folder, **changes):
    file = folder / "clouds.npz"
    np.savez(file, **arrays(**changes))
    return str(file)


def test_a_file_of_arrays_gives_the_first_points_and_their_labels(tmp_path):
    data = ModelNet(stored(tmp_path), points=4)
    cloud, label = data.dataset("test", augment=False)[1]
    assert torch.equal(cloud, torch.from_numpy(arrays()["x_test"][1, :4].T.astype(np.float32)))
    assert (label, data.num_classes, data.class_names) == (1, 3, ("0", "1", "2"))
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    stretched = data.dataset("train", augment=True)[0][0]
    assert stretched.shape == (3, 4)
    assert not torch.equal(stretched, data.dataset("train", augment=False)[0][0])


def test_resampling_reads_other_stored_points(tmp_path):
    data = ModelNet(stored(tmp_path), points=4, resample=True, scale=1.0, shift=0.0)
    dataset = data.dataset("train", augment=True)
    torch.manual_seed(0)
    taken = {tuple(point.tolist()) for _ in range(20) for point in dataset[0][0].unbind(1)}
    assert taken == {tuple(point.tolist()) for point in data.cloud("train", 0).unbind(1)}


@pytest.mark.skipif(not HAS_H5PY, reason="h5py is an extra: pip install 'nas-lightning[modelnet]'")
def test_the_published_layout_is_read_in_the_order_of_its_files(tmp_path):
    import h5py

    made = arrays()
    pieces = {"train0": slice(0, 4), "train1": slice(4, 6), "test0": slice(0, 3)}
    for name, rows in pieces.items():
        part = name[:-1]
        with h5py.File(tmp_path / f"ply_data_{name}.h5", "w") as file:
            file["data"] = made[f"x_{part}"][rows].astype(np.float32)
            file["label"] = made[f"y_{part}"].reshape(-1, 1)[rows].astype(np.uint8)
    (tmp_path / "shape_names.txt").write_text("bed\nchair\ndesk\n")
    data = ModelNet(str(tmp_path), points=9)
    data.prepare()
    assert data.class_names == ("bed", "chair", "desk")
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(data.cloud("train", 5), torch.from_numpy(made["x_train"][5].T.astype(np.float32)))


@pytest.mark.skipif(HAS_H5PY, reason="h5py is installed")
def test_without_h5py_its_files_are_refused_in_one_line(tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"ply_data_{part}0.h5").touch()
    with pytest.raises(DataError, match=r"need h5py, which is not installed; pip install 'nas-lightning\[modelnet\]'"):
        ModelNet(str(tmp_path)).prepare()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((3, 9, 2))}, r"shape \(3, 9, 2\), not M x P x 3"),
        ({"y_test": np.array([0, 1])}, "2 labels of int64 for 3 clouds"),
        ({"y_test": np.array([0, 1, 7])}, "the test part holds the label 7"),
        ({"y_train": np.array([0, 2, 2, 0, 0, 2])}, "without gaps"),
        ({"x_train": np.full((6, 9, 3), np.nan)}, "not finite"),
    ],
)
def test_clouds_that_cannot_be_used_are_refused_in_one_line(changes, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        ModelNet(stored(tmp_path, **changes), points=4).prepare()
    assert "\n" not in str(caught.value)


def test_paths_and_sizes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.points=10: .* stores 9 points a cloud; use at most data\.points=9"):
        ModelNet(stored(tmp_path), points=10).prepare()
    with pytest.raises(DataError, match=r"data\.path=null: data=modelnet needs its files"):
        ModelNet().prepare()
    with pytest.raises(DataError, match=r"nothing there; give a folder"):
        ModelNet(str(tmp_path / "none")).prepare()
    with pytest.raises(DataError, match=r"no file ply_data_train\*\.h5"):
        ModelNet(str(tmp_path)).prepare()
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(DataError, match=r"lacks x_train"):
        ModelNet(str(tmp_path / "other.npz")).prepare()
