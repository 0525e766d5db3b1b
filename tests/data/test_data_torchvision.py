"""CIFAR and SVHN, read by torchvision from small files in their real format."""

import hashlib
import json
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets

from nas_lightning.core.errors import DataError
from nas_lightning.data import Cifar10, Cifar100, Svhn

RNG = np.random.default_rng(0)


def stored(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.name, hashlib.md5(content).hexdigest()


def batch(count, **labels):
    return pickle.dumps({"data": RNG.integers(0, 256, (count, 3072), dtype=np.uint8), **labels})


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    train = [stored(folder / f"data_batch_{i}", batch(4, labels=[i, i, 0, 9])) for i in range(1, 6)]
    test = [stored(folder / "test_batch", batch(3, labels=[7, 8, 9]))]
    names = [f"thing{i}" for i in range(10)]
    file, checksum = stored(folder / "batches.meta", pickle.dumps({"label_names": names}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": file, "key": "label_names", "md5": checksum})
    return tmp_path


def check_pixels(data, part, pixels, labels):
    """The dataset against the published normalisation of the stored pixels [N, 3, 32, 32]."""
    dataset = data.dataset(part, augment=False)
    mean, std = (np.array(values)[:, None, None] for values in (data.mean, data.std))
    images = torch.stack([dataset[i][0] for i in range(len(dataset))])
    np.testing.assert_allclose(images, (pixels / 255 - mean) / std, rtol=1e-4, atol=1e-5)
    assert [dataset[i][1] for i in range(len(dataset))] == list(labels)
    augmented, _ = data.dataset(part, augment=True, cutout=16)[0]
    assert augmented.shape == (3, 32, 32)
    assert augmented.eq(0).all(0).any()


def test_cifar10(cifar10):
    data = Cifar10(str(cifar10))
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("cifar10", 3, 32, 10)
    assert data.class_names[3] == "thing3"
    assert data.train_labels.tolist() == [label for i in range(1, 6) for label in (i, i, 0, 9)]
    content = pickle.loads((cifar10 / "cifar-10-batches-py" / "test_batch").read_bytes())
    check_pixels(data, "test", content["data"].reshape(-1, 3, 32, 32), [7, 8, 9])


def test_cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    labels = {"fine_labels": list(range(100)), "coarse_labels": [0] * 100}
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [stored(folder / "train", batch(100, **labels))])
    test = batch(2, fine_labels=[42, 99], coarse_labels=[1, 2])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [stored(folder / "test", test)])
    names = [f"thing{i}" for i in range(100)]
    file, checksum = stored(folder / "meta", pickle.dumps({"fine_label_names": names}))
    meta = {"filename": file, "key": "fine_label_names", "md5": checksum}
    monkeypatch.setattr(datasets.CIFAR100, "meta", meta)

    data = Cifar100(str(tmp_path))
    data.prepare()
    assert (data.name, data.num_classes, data.class_names[99]) == ("cifar100", 100, "thing99")
    check_pixels(data, "test", pickle.loads(test)["data"].reshape(-1, 3, 32, 32), [42, 99])


def test_svhn(tmp_path, monkeypatch):
    files, arrays = {}, {}
    for part, labels in (("train", range(1, 11)), ("test", [10, 3])):
        path = tmp_path / f"{part}_32x32.mat"
        arrays[part] = RNG.integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        label_column = np.array(labels, dtype=np.uint8)[:, None]
        scipy.io.savemat(path, {"X": arrays[part], "y": label_column})
        files[part] = ["http://127.0.0.1:9/none", *stored(path, path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", files)

    data = Svhn(str(tmp_path))
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("svhn", 3, 32, 10)
    assert data.train_labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    check_pixels(data, "test", arrays["test"].transpose(3, 2, 0, 1), [0, 3])


def test_published_constants():
    assert Cifar10.mean == (0.49139968, 0.48215827, 0.44653124)
    assert Cifar10.std == (0.24703233, 0.24348505, 0.26158768)
    assert (Cifar100.mean, Cifar100.std) == ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    assert (Svhn.mean, Svhn.std) == ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))


@pytest.mark.parametrize("source", [Cifar10, Cifar100, Svhn])
def test_missing_files_name_both_remedies(tmp_path, source):
    with pytest.raises(DataError, match=r"missing or damaged.*data.download=true.*data.root=FOLDER") as raised:
        source(str(tmp_path)).prepare()
    assert "\n" not in str(raised.value)


def test_a_damaged_file_is_no_dataset(cifar10):
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"oops")
    with pytest.raises(DataError, match="cifar10 is missing or damaged"):
        Cifar10(str(cifar10)).prepare()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_download_without_network_is_one_line(tmp_path, monkeypatch, scheme):
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{scheme}://127.0.0.1:9/none.tar.gz")
    with pytest.raises(DataError, match=r"could not fetch cifar10 into data.root=.*data.download=false") as raised:
        Cifar10(str(tmp_path), download=True).prepare()
    assert "\n" not in str(raised.value)


def test_an_existing_set_needs_no_network(cifar10, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/none.tar.gz")
    data = Cifar10(str(cifar10), download=True)
    data.prepare()
    assert len(data.dataset("train", augment=False)) > 0


def test_training_crops_are_shifted_by_up_to_4_pixels_and_mirrored(cifar10):
    data = Cifar10(str(cifar10))
    data.prepare()
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 16, 10] = 255
    data._images["train"][0] = image
    dataset = data.dataset("train", augment=True)
    torch.manual_seed(0)
    spots = {divmod(int(dataset[0][0][0].argmax()), 32) for _ in range(2000)}
    assert spots == {(16 + i, column + j) for i in range(-4, 5) for column in (10, 21) for j in range(-4, 5)}


FETCH = """
import json, sys, time
from pathlib import Path
from torchvision import datasets
from nas_lightning.data import Cifar10

root, attributes = Path(sys.argv[1]), json.loads(sys.argv[2])
for name, value in attributes.items():
    setattr(datasets.CIFAR10, name, value)
Path(sys.argv[3]).touch()
while not (root.parent / "go").exists():
    time.sleep(0.01)
data = Cifar10(str(root), download=True)
data.prepare()
print(len(data.train_labels))
"""


@pytest.mark.slow
def test_members_of_a_sweep_fetch_the_files_once(cifar10, tmp_path):
    """Three processes at once, a server that counts and is slow to answer."""
    with tarfile.open(tmp_path / "files.tar.gz", "w:gz") as archive:
        archive.add(cifar10 / "cifar-10-batches-py", "cifar-10-batches-py")
    content = (tmp_path / "files.tar.gz").read_bytes()
    fetched = []

    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            if self.headers.get("Method") != "HEAD":  # so torchvision asks for redirections
                fetched.append(self.path)
                time.sleep(0.5)
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    attributes = {name: getattr(datasets.CIFAR10, name) for name in ("train_list", "test_list", "meta")}
    attributes |= {
        "url": f"http://127.0.0.1:{server.server_address[1]}/files.tar.gz",
        "tgz_md5": hashlib.md5(content).hexdigest(),
    }
    ready = [tmp_path / f"ready{number}" for number in range(3)]
    words = [sys.executable, "-c", FETCH, str(tmp_path / "new"), json.dumps(attributes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    members = [subprocess.Popen([*words, str(file)], **pipes) for file in ready]
    while not all(file.exists() for file in ready):
        assert all(member.poll() is None for member in members)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    said = [member.communicate() for member in members]
    server.shutdown()
    server.server_close()
    assert [out.strip() for out, _ in said] == ["20"] * 3, said
    assert fetched == ["/files.tar.gz"]
