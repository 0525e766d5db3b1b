"""The official file of NAS-Bench-101, made small by a writer of its own: table, look-up, and what is refused."""

import gzip
import json
from types import SimpleNamespace

import pandas as pd
import pytest

import nas_lightning as nl
from cases import block_space, seeded
from nas_lightning.config.compose import as_dict
from nas_lightning.convert import NasBench101File
from nas_lightning.convert import nasbench101 as converter
from nas_lightning.convert.nasbench101_trainings import read_training
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.modules import Module
from nas_lightning.evaluation import Tabular
from nas_lightning.evaluation.table import load
from nas_lightning.objectives import Classification
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from trainings101 import accuracies, framed, metrics, module, training, trainings, write

KNOWN = module("011101 001100 000010 000010 000001 000000", "mp c3 c3 c3")
"""An architecture of space 1, with a hash of the benchmark's own files."""
OTHER = module("011101 000101 000010 000010 000001 000000", "c3 c1 c3 c3")
"""One of space 2."""
NAME = "nasbench1shot1_1"


def read(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = data.decode().splitlines(keepends=True)
    rows = [line for line in lines if not line.startswith("#")]
    (path.parent / "rows.csv").write_text("".join(rows))
    return pd.read_csv(path.parent / "rows.csv", index_col="module_hash")


def convert(tmp_path, contents, name="out.csv.gz", spaces=(1,), **values):
    source = write(tmp_path / "nasbench_only108.tfrecord", contents)
    return NasBench101File(source, str(tmp_path / name), overwrite=True, spaces=spaces, **values)()


def genotypes(count=400):
    """Genotypes of space 1, drawn."""
    space, rng = block_space(NAME), seeded(0)
    return [space.genotype_of(space.sample(rng)) for _ in range(count)]


def module_of(genotype):
    plain = genotype.to_dict()
    return Module.from_matrix(plain["matrix"], plain["operations"])


def bench_of(tmp_path, name=NAME):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    data = SimpleNamespace(name="cifar10")
    return SimpleNamespace(space=block_space(name), data=data, objective=Classification(), folder=folder)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_the_table(tmp_path, name):
    """Means of three in percent, each training, lengths of the file; only the modules of the space, in order."""
    frame = read(convert(tmp_path, trainings([OTHER, KNOWN], (4, 108)), name))
    assert list(frame.index) == [KNOWN.hash]
    row = frame.loc[KNOWN.hash]
    for length in (4, 108):
        for index, part in enumerate(("valid", "test")):
            percent = [100 * found[index] for found in accuracies(1, length)]
            column = f"cifar10_{part}_{length}"
            assert row[column] == pytest.approx(sum(percent) / 3, abs=5e-5)
            assert [row[f"{column}_seed{seed}"] for seed in range(3)] == pytest.approx(percent, abs=5e-5)
    assert (row["params"], row[f"in_{NAME}"]) == (1001, 1)
    assert next(iter(frame)) == "cifar10_valid_108"
    assert "in_nasbench1shot1_2" not in frame
    assert not list(tmp_path.glob("*.tmp"))


def test_several_spaces_and_the_whole_benchmark(tmp_path, monkeypatch):
    lone = module("01 00", "")
    contents = trainings([KNOWN, OTHER, lone])
    frame = read(convert(tmp_path, contents, spaces=(2, 1)))
    assert set(frame.index) == {KNOWN.hash, OTHER.hash}
    assert frame.loc[KNOWN.hash, ["in_nasbench1shot1_1", "in_nasbench1shot1_2"]].tolist() == [1, 0]
    assert frame.loc[OTHER.hash, ["in_nasbench1shot1_1", "in_nasbench1shot1_2"]].tolist() == [0, 1]
    hashes = {"nasbench1shot1_1": {KNOWN.hash}, "nasbench1shot1_2": {OTHER.hash}, "nasbench1shot1_3": {KNOWN.hash}}
    monkeypatch.setattr(converter, "module_hashes", lambda name, track: frozenset(hashes[name]))
    path = convert(tmp_path, contents, spaces="all")
    frame = read(path)
    assert set(frame.index) == {KNOWN.hash, OTHER.hash, lone.hash}
    assert frame.loc[lone.hash, [f"in_{name}" for name in hashes]].tolist() == [0, 0, 0]
    table = load(str(path))
    assert table.contents.complete
    assert table.contents.spaces == tuple(hashes)
    assert set(table.of("nasbench1shot1_3").rows) == {KNOWN.hash}


def test_two_forms_of_a_module_find_one_row(tmp_path):
    """The file has one numbering of the nodes; genotypes that are isomorphic to it have its accuracy."""
    forms = {}
    for genotype in genotypes():
        plain = genotype.to_dict()
        forms.setdefault(genotype.architecture, {})[tuple(plain["matrix"]), tuple(plain["operations"])] = genotype
    one, two = next(list(same.values())[:2] for same in forms.values() if len(same) > 1)
    assert one.to_dict()["module_hash"] == two.to_dict()["module_hash"]
    path = convert(tmp_path, trainings([module_of(one), KNOWN]))
    evaluator, bench = Tabular(str(path)), bench_of(tmp_path)
    evaluator.check(bench)
    first, second = evaluator(one, bench), evaluator(two, bench)
    keys = ("test_accuracy", "params", "rank", "rank_of", "epochs", "init_channels")
    mean = sum(test for _, test in accuracies(0)) / 3
    assert [first[key] for key in keys] == [pytest.approx(100 * mean, abs=5e-5), 1000, 2, 2, 108, 128]
    assert [second[key] for key in keys] == [first[key] for key in keys]
    assert first["val_accuracy"] == pytest.approx(100 * sum(valid for valid, _ in accuracies(0)) / 3, abs=5e-5)


def test_no_regret_is_negative(tmp_path):
    """Of no row, nor that from the published error; the best one has none."""
    found = list({one.architecture: module_of(one) for one in genotypes(12)}.values())
    path = str(convert(tmp_path, trainings(found)))
    table = load(path).of(NAME)
    regrets = [table.regret(name, "cifar10_test_108") for name in table.rows]
    assert len(regrets) == len(found)
    assert min(regrets) == 0
    published = [table.published_regret(name, "cifar10_test_108") for name in table.rows]
    best = sum(test for _, test in accuracies(len(found) - 1)) / 3
    assert min(published) == pytest.approx(100 * (1 - 0.05448717 - best), abs=1e-4)  # the constant as it was released
    assert min(published) > 0
    assert table.published_regret(found[0].hash, "cifar10_valid_4") is None
    assert load(path).published_regret(found[0].hash, "cifar10_test_108") is None  # of no space


def broken(contents):
    data = bytearray(b"".join(map(framed, contents)))
    data[-20] ^= 1
    return bytes(data)


def refusals():
    whole = trainings([KNOWN, OTHER])
    unknown = training(KNOWN, 0.9, 0.9, operations="input,maxpool3x3,conv5x5,conv3x3-bn-relu,conv3x3-bn-relu,output")
    short = training(KNOWN, 0.9, 0.9, metrics="CgA=")
    above = training(KNOWN, 0.9, 90.0)
    return {
        "checksum": (broken(whole), r"convert\.source=.*: the content of record 5 at byte \d+ is corrupt"),
        "truncated": (b"".join(map(framed, whole))[:-3], r"ends within record 5 at byte"),
        "no TFRecord": (b"module_hash,cifar10_test_108\n" * 9, r"is not a TFRecord file"),
        "empty": (b"", r"is not a TFRecord file"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"pointer of Git LFS"),
        "two trainings": (whole[:4], rf"module {KNOWN.hash} has 2 trainings of 108 epochs; 3 are expected"),
        "four trainings": ([*whole, whole[0]], rf"module {KNOWN.hash} has 4 trainings of 108 epochs"),
        "operation": ([*whole, unknown], r"record 6 is no training .* unknown operation conv5x5; known are maxpool3x3"),
        "metrics": ([*whole, short], r"record 6 is no training .* cannot be read \(1 measurements and 0 parameters"),
        "percent": ([*whole, above], r"the accuracies 0\.9 and 90\.0; fractions are expected"),
        "no JSON": ([b"{"], r"record 0 is no training of NAS-Bench-101: it is not JSON"),
        "other JSON": ([b"[1, 2]"], r"is not a list of hash, epochs, matrix"),
        "hash": ([training(KNOWN, 0.9, 0.9, hash="x")], r"has the module hash 'x'"),
        "epochs": ([training(KNOWN, 0.9, 0.9, epochs=0)], r"has 0 epochs"),
        "matrix": ([training(KNOWN, 0.9, 0.9, matrix="0100")], r"a matrix of 4 digits .* do not fit"),
        "no such module": (trainings([OTHER]), r"none of its 3 trainings is of an architecture of nasbench1shot1_1"),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_is_refused_leaves_no_file(tmp_path, case):
    content, words = refusals()[case]
    source = tmp_path / "file"
    source.write_bytes(content if isinstance(content, bytes) else b"".join(map(framed, content)))
    with pytest.raises(ConfigError, match=words) as caught:
        NasBench101File(str(source), str(tmp_path / "out.csv"), spaces=[1])()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_checksums_that_are_not_checked(tmp_path):
    """The file with a wrong checksum behind its last record is read all the same."""
    whole = trainings([KNOWN])
    source = tmp_path / "file"
    data = bytearray(b"".join(map(framed, whole)))
    data[-1] ^= 1
    source.write_bytes(data)
    with pytest.raises(ConfigError, match="the content of record 2"):
        NasBench101File(str(source), str(tmp_path / "out.csv"), spaces=[1])()
    assert NasBench101File(str(source), str(tmp_path / "out.csv"), spaces=[1], check_crc=False)().exists()


def test_lengths_of_training(tmp_path):
    contents = trainings([KNOWN], (4, 108))
    path = convert(tmp_path, contents, epochs=[4])
    frame = read(path)
    assert [name for name in frame if "_seed" not in name] == [
        "cifar10_valid_4",
        "cifar10_test_4",
        "params",
        f"in_{NAME}",
    ]
    assert load(str(path)).contents.datasets["cifar10"].epochs == (4,)
    with pytest.raises(
        ConfigError, match=r"convert\.epochs=\[36, 4\]: .* no trainings of 36 epochs, only of 4,108; use"
    ):
        convert(tmp_path, contents, epochs=[4, 36])
    evaluator = Tabular(str(convert(tmp_path, contents)), epochs=12)
    with pytest.raises(
        ConfigError, match=r"has no column cifar10_test_12, only cifar10_valid_108, .*; use evaluation\.epochs=108"
    ):
        evaluator.check(bench_of(tmp_path))
    assert load(str(tmp_path / "out.csv.gz")).contents.datasets["cifar10"].epochs == (108, 4)
    for values, words in (({"spaces": []}, "no space is named"), ({"epochs": []}, "no length of training is named")):
        with pytest.raises(ConfigError, match=words):
            NasBench101File("a", "b", **values)


def test_a_partial_file_makes_a_partial_table(tmp_path, caplog):
    path = convert(tmp_path, trainings([KNOWN]))
    assert "the table is partial: 1 of 2,685 of nasbench1shot1_1" in caplog.text
    assert not load(str(path)).contents.complete


def test_another_reader_of_the_message():
    """google.protobuf reads from the written message what our reader does."""
    pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    factory = pytest.importorskip("google.protobuf.message_factory")
    file = pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto2")
    point = file.message_type.add(name="Point")
    names = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
    for number, name in enumerate(names, start=1):
        point.field.add(name=name, number=number, label=1, type=1)
    point.field.add(name="checkpoint_path", number=6, label=1, type=9)
    whole = file.message_type.add(name="Metrics")
    whole.field.add(name="evaluation_data", number=1, label=3, type=11, type_name=".m.Point")
    whole.field.add(name="trainable_parameters", number=2, label=1, type=5)
    whole.field.add(name="total_time", number=3, label=1, type=1)
    pool.Add(file)
    message = factory.GetMessageClass(pool.FindMessageTypeByName("m.Metrics"))()
    message.ParseFromString(metrics(0.25, 0.75, 31_389_066))
    found = read_training(training(KNOWN, 0.25, 0.75, params=31_389_066))
    end = message.evaluation_data[2]
    assert (found.valid, found.test, found.params) == (0.25, 0.75, 31_389_066)
    assert (end.validation_accuracy, end.test_accuracy, message.trainable_parameters) == (0.25, 0.75, 31_389_066)
    assert read_training(json.dumps(["0" * 32, 4, "0100", "input,output", "?"]).encode(), wanted=()) is None


def test_from_the_command_line(tmp_path, capsys):
    source = write(tmp_path / "nasbench_only108.tfrecord", trainings([KNOWN]))
    words = ["task=convert", "convert=nasbench101", f"convert.source={source}", "convert.spaces=[1]"]
    config = as_dict(nl.compose([*words, f"convert.target={tmp_path}/out.csv"]))
    run_task(config, RunFolder(tmp_path / "run"))
    assert "architectures of nasbench1shot1_1: 48 blocks of 4 MiB: 1" in " ".join(capsys.readouterr().out.split())
    assert list(read(tmp_path / "out.csv").index) == [KNOWN.hash]
    with pytest.raises(nl.ConfigError, match=r"convert\.spaces.*4"):
        nl.compose([*words[:3], "convert.spaces=[4]"])
    nl.compose([*words[:3], "convert.spaces=all"])
