"""The official files of NAS-Bench-201 and NATS-Bench, made small with the classes of their own API.

The real files cannot be had in a test; these have their form, as far as the API's reader of them tells it.
"""

import bz2
import csv
import gzip
import pickle

import numpy as np
import pytest
import torch

from nas_lightning.convert import NasBench201File
from nas_lightning.convert import nasbench201 as module
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation.table import load

NAMES = (
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
)
SEEDS = {"cifar10-valid": (777, 888), "cifar10": (777, 888, 999), "cifar100": (888,), "ImageNet16-120": (777, 888)}
EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def accuracy(index, epochs, dataset, images, seed):
    """Made up, different for everything that could be mixed up; numpy's numbers, as in the real files."""
    place = list(EVALUATED).index(dataset)
    return np.float64(20 * index + 3 * place + len(images) + seed / 1000 + (0.25 if epochs == 200 else 0))


def results(api, index, epochs, seeds=SEEDS):
    found = api.ArchResults(index, NAMES[index])
    for dataset, numbers in seeds.items():
        for seed in numbers:
            config = {"arch_str": NAMES[index], "channel": 16, "num_cells": 5, "class_num": 10}
            curve = dict.fromkeys(range(epochs), 1.0)
            trial = api.ResultsCount(dataset, None, curve, curve, 0.5 + index, 10.0, config, seed, epochs, [0.01])
            for images in EVALUATED[dataset]:
                values = {f"{images}@{e}": np.float64(1) for e in range(epochs)}
                last = {**values, f"{images}@{epochs - 1}": accuracy(index, epochs, dataset, images, seed)}
                trial.update_eval(last, values, values)
            found.update(dataset, seed, trial)
    return found.state_dict()


def content(api, names=("12", "200")):
    infos = {i: dict(zip(names, (results(api, i, 12), results(api, i, 200)), strict=True)) for i in range(len(NAMES))}
    return {"meta_archs": list(NAMES), "arch2infos": infos, "evaluated_indexes": list(infos), "total_archs": 3}


@pytest.fixture(scope="module")
def nats():
    return pytest.importorskip("nats_bench")


@pytest.fixture(scope="module")
def nats_file(nats, tmp_path_factory):
    path = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9.pickle"
    nats.pickle_save(content(nats), path)
    return path.with_name(path.name + ".pbz2")


def read(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(csv.DictReader(text.decode().splitlines()))


def check_rows(rows):
    assert [row["arch_str"] for row in rows] == list(NAMES)
    assert [float(row["params_M_c10"]) for row in rows] == [0.5, 1.5, 2.5]
    for index, row in enumerate(rows):
        for epochs in (12, 200):
            for short, dataset, part, images in (
                ("cifar10", "cifar10", "test", "ori-test"),
                ("cifar10", "cifar10-valid", "valid", "x-valid"),
                ("cifar100", "cifar100", "test", "x-test"),
                ("cifar100", "cifar100", "valid", "x-valid"),
                ("in16_120", "ImageNet16-120", "test", "x-test"),
                ("in16_120", "ImageNet16-120", "valid", "x-valid"),
            ):
                of_seeds = [accuracy(index, epochs, dataset, images, seed) for seed in SEEDS[dataset]]
                assert float(row[f"{short}_{part}_{epochs}"]) == pytest.approx(np.mean(of_seeds), abs=5e-5)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_nats_bench_file(nats_file, tmp_path, name):
    target = NasBench201File(str(nats_file), str(tmp_path / name))()
    check_rows(read(target))
    table = load(str(target), "arch_str")
    assert table.value(NAMES[1], "cifar10_test_200") == float(read(target)[1]["cifar10_test_200"])


def test_the_table_says_what_the_api_says(nats, nats_file, tmp_path):
    api = nats.create(str(nats_file), "tss", fast_mode=False, verbose=False)
    rows = read(NasBench201File(str(nats_file), str(tmp_path / "out.csv"))())
    for row in rows:
        index = api.query_index_by_arch(row["arch_str"])
        assert index == int(row["index"])
        for hp in ("12", "200"):
            for dataset, short in (("cifar10", "cifar10"), ("cifar100", "cifar100"), ("ImageNet16-120", "in16_120")):
                found = api.get_more_info(index, dataset, hp=hp, is_random=False)["test-accuracy"]
                assert float(row[f"{short}_test_{hp}"]) == pytest.approx(found, abs=5e-5)
            found = api.get_more_info(index, "cifar10-valid", hp=hp, is_random=False)["valid-accuracy"]
            assert float(row[f"cifar10_valid_{hp}"]) == pytest.approx(found, abs=5e-5)


def test_nats_bench_folder(nats, tmp_path):
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    whole = content(nats)
    nats.pickle_save({"meta_archs": whole["meta_archs"]}, folder / "meta.pickle")
    for index, entry in whole["arch2infos"].items():
        nats.pickle_save(entry, folder / f"{index:06d}.pickle")
    told = []

    def track(items, title):
        told.append((list(items), title))
        return items

    check_rows(read(NasBench201File(str(folder), str(tmp_path / "out.csv"))(track)))
    assert told == [([0, 1, 2], "architectures")]


@pytest.mark.parametrize("legacy", [True, False])
def test_nas_bench_201_file(nats, tmp_path, legacy):
    """Made by the older API's classes and torch.save; read with its successor's."""
    api = pytest.importorskip("nas_201_api")
    path = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    whole = content(api, ("less", "full"))
    torch.save(whole, path, _use_new_zipfile_serialization=not legacy)
    rows = read(NasBench201File(str(path), str(tmp_path / "out.csv"))())
    check_rows(rows)
    theirs = api.NASBench201API(whole, verbose=False)
    found = theirs.get_more_info(1, "cifar100", hp="200", is_random=False)["test-accuracy"]
    assert float(rows[1]["cifar100_test_200"]) == pytest.approx(found, abs=5e-5)


def test_what_was_not_trained_is_empty(nats, tmp_path):
    only = {"cifar10": (777,)}
    infos = {1: {"200": results(nats, 1, 200, only)}}
    path = tmp_path / "some.pickle"
    nats.pickle_save({"meta_archs": list(NAMES), "arch2infos": infos, "evaluated_indexes": [1]}, path)
    (row,) = read(NasBench201File(f"{path}.pbz2", str(tmp_path / "out.csv"))())
    assert row["arch_str"] == NAMES[1]
    filled = {name for name, value in row.items() if value}
    assert filled == {"index", "arch_str", "cifar10_test_200", "params_M_c10"}


class Marked:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("kind", ["pbz2", "pth"])
def test_code_in_a_file_runs_only_when_asked(nats, tmp_path, kind, caplog):
    whole, mark = content(nats), tmp_path / "mark"
    whole["extra"] = Marked(str(mark))
    path = tmp_path / f"file.{kind}"
    if kind == "pth":
        torch.save(whole, path)
    else:
        with bz2.open(path, "wb") as file:
            pickle.dump(whole, file)
    with pytest.raises(ConfigError, match=r"references .*open.*convert\.unsafe_pickle=true") as caught:
        NasBench201File(str(path), str(tmp_path / "out.csv"))()
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    with pytest.warns(ResourceWarning):  # the file that the code opened
        NasBench201File(str(path), str(tmp_path / "out.csv"), unsafe_pickle=True)()
    assert mark.exists()
    assert "runs whatever code it holds" in caplog.text
    check_rows(read(tmp_path / "out.csv"))


def test_mistakes_are_one_line(nats, tmp_path):
    def packed(name, what):
        nats.pickle_save(what, tmp_path / name)
        return str(tmp_path / f"{name}.pbz2")

    (tmp_path / "text.pth").write_text("no archive")
    (tmp_path / "text.pbz2").write_text("no archive")
    (tmp_path / "folder").mkdir()
    cases = [
        (packed("list", [1]), "lacks meta_archs and arch2infos"),
        (packed("other", {"meta_archs": []}), "lacks meta_archs and arch2infos"),
        (packed("empty", {"meta_archs": [], "arch2infos": {}}), "has no architecture"),
        (str(tmp_path / "text.pth"), "cannot be read"),
        (str(tmp_path / "text.pbz2"), "not a readable pickle"),
        (str(tmp_path / "folder"), r"has no meta\.pickle\.pbz2"),
        (None, r"convert\.source=null"),
    ]
    for source, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            NasBench201File(source, str(tmp_path / "out.csv"))()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_without_the_api(tmp_path, monkeypatch):
    (tmp_path / "file.pbz2").touch()

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"nats_bench.*pip install 'nas-lightning\[benchmarks\]'"):
        NasBench201File(str(tmp_path / "file.pbz2"), str(tmp_path / "out.csv"))()
