"""ImageNet16-120 from small files in the official form, and back through the data set that reads the result."""

import pickle

import numpy as np
import pytest

from nas_lightning.convert import ImageNet16Files
from nas_lightning.core.errors import ConfigError
from nas_lightning.data import ImageNet16

RNG = np.random.default_rng(0)


def write(folder, name, classes, **changes):
    content = {
        "data": RNG.integers(0, 256, (len(classes), 768), dtype=np.uint8),
        "labels": [int(label) for label in classes],
        "mean": RNG.normal(size=768),
        **changes,
    }
    (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return content


@pytest.fixture
def official(tmp_path):
    folder = tmp_path / "ImageNet16"
    folder.mkdir()
    labels = [[*range(1 + 12 * i, 13 + 12 * i), 121, 1000, 1] for i in range(10)]
    parts = [write(folder, f"train_data_batch_{i + 1}", labels[i]) for i in range(10)]
    return folder, parts, write(folder, "val_data", [500, 3, 120, 121])


def test_classes_order_and_pixels(official, tmp_path):
    folder, train, test = official
    target = ImageNet16Files(str(folder), str(tmp_path / "out.npz"))()
    assert target == tmp_path / "out.npz"
    with np.load(target) as found:
        expected = [label - 1 for part in train for label in part["labels"] if label <= 120]
        assert found["y_train"].tolist() == expected
        assert found["y_test"].tolist() == [2, 119]
        assert found["x_train"].shape == (130, 16, 16, 3)
        image, raw = found["x_test"][1], test["data"][2]
        for row, column in ((0, 0), (0, 5), (15, 2)):
            for channel in range(3):  # the planes of colour stand after each other
                assert image[row, column, channel] == raw[256 * channel + 16 * row + column]
        kept = [i for i, label in enumerate(train[3]["labels"]) if label <= 120]
        images = found["x_train"][39 : 39 + 13].transpose(0, 3, 1, 2).reshape(13, 768)
        assert np.array_equal(images, train[3]["data"][kept])


def test_what_it_writes_is_read_as_a_data_set(official, tmp_path):
    folder, _, test = official
    data = ImageNet16(str(ImageNet16Files(str(folder), str(tmp_path / "out.npz"))()))
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("imagenet16_120", 3, 16, 120)
    image, label = data.dataset("test", augment=False)[0]
    assert label == 2
    mean, std = np.array([122.68, 116.66, 104.01]), np.array([63.22, 61.26, 65.09])
    expected = (test["data"][1].reshape(3, 16, 16) - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-5)


def test_progress_is_told(official, tmp_path):
    told = []

    def track(items, title):
        told.append((len(items), title))
        return items

    ImageNet16Files(str(official[0]), str(tmp_path / "out.npz"))(track)
    assert told == [(11, "ImageNet16-120")]


def test_nothing_is_overwritten_unasked(official, tmp_path):
    target = tmp_path / "out.npz"
    target.write_text("mine")
    with pytest.raises(ConfigError, match=r"convert\.target=.*exists already.*convert\.overwrite=true"):
        ImageNet16Files(str(official[0]), str(target))()
    assert target.read_text() == "mine"
    ImageNet16Files(str(official[0]), str(target), overwrite=True)()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ImageNet16", "out.npz"]


def test_mistakes_are_one_line(official, tmp_path):
    folder = official[0]
    cases = [
        ((None, "x.npz"), r"convert\.source=null"),
        ((str(folder), None), r"convert\.target=null: .*NAME\.npz"),
        ((str(tmp_path / "gone"), "x.npz"), r"convert\.source=.*gone: there is no such"),
        ((str(folder), "x.csv"), r"convert\.target=x\.csv: must end in \.npz"),
        ((str(folder), str(tmp_path / "no" / "x.npz")), r"there is no folder"),
        ((str(tmp_path), str(tmp_path / "x.npz")), r"lacks train_data_batch_1, .*val_data"),
    ]
    for arguments, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            ImageNet16Files(*arguments)()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": np.zeros((4, 3072), np.uint8)}, "not a uint8 array of N x 768"),
        ({"data": np.zeros((4, 768))}, "not a uint8 array of N x 768"),
        ({"labels": [1, 2, 3]}, "labels are not a list of 4"),
        ({"labels": [0, 1, 2, 3]}, "labels are not a list of 4"),
        ({"labels": [1.5, 1, 2, 3]}, "labels are not a list of 4"),
    ],
)
def test_other_files_are_refused(official, tmp_path, changes, words):
    write(official[0], "val_data", [1, 2, 3, 4], **changes)
    with pytest.raises(ConfigError, match=rf"val_data: .*{words}"):
        ImageNet16Files(str(official[0]), str(tmp_path / "x.npz"))()


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_malicious_file_is_refused(official, tmp_path, capsys):
    write(official[0], "val_data", [1, 2, 3, 4], mean=Evil())
    with pytest.raises(ConfigError, match=r"val_data: the pickle references .*print.*none was run"):
        ImageNet16Files(str(official[0]), str(tmp_path / "x.npz"))()
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "x.npz").exists()
