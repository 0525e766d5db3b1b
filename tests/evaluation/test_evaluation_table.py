"""Tables of trained architectures: what is read, what is refused; the real one where it is."""

import gzip
import os
from pathlib import Path

import pytest

import trainings101
from cases import REAL_TABLE
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation import table as module
from nas_lightning.evaluation.contents import Contents, header
from nas_lightning.evaluation.table import load

TEXT = """index,arch_str,cifar10_test_200,cifar100_valid_12,params_M_c10,in16_120_test_200,note
0,|a|,90.5,,0.1,40.25,x
1,|b|,54.2967,10.5,0.2,,y
2,|c|,94.3733,60,0.3,47.3111,z
"""


@pytest.fixture(params=["csv", "csv.gz"])
def path(request, tmp_path):
    file = tmp_path / f"table.{request.param}"
    file.write_bytes(gzip.compress(TEXT.encode()) if request.param.endswith("gz") else TEXT.encode())
    return str(file)


def test_values(path):
    table = load(path, "arch_str")
    assert set(table.columns) == {"cifar10_test_200", "cifar100_valid_12", "in16_120_test_200"}
    assert table.value("|b|", "cifar10_test_200") == 54.2967
    assert table.value("|c|", "cifar100_valid_12") == 60.0
    assert table.value("|a|", "cifar100_valid_12") is None  # empty
    assert table.value("|a|", "cifar100_test_12") is None  # no such column
    assert table.best("cifar10_test_200") == 94.3733
    with pytest.raises(ConfigError, match=r"evaluation\.path=.*\|d\| is not among its 3 .*evaluation=nasbench201"):
        table.value("|d|", "cifar10_test_200")


def test_one_at_random_and_a_validation_that_says_nothing(tmp_path):
    """The mean is over all; a column without a value where accuracies are chooses nothing."""
    file = tmp_path / "table.csv"
    rows = ["|a|,90,,1", "|b|,80,,2", "|c|,40,,"]
    file.write_text("\n".join(["arch_str,cifar10_test_200,cifar10_valid_12,cifar10_valid_200", *rows]))
    table = load(str(file), "arch_str")
    assert table.mean("cifar10_test_200") == 70
    found = table.random_search("cifar10_test_200", Contents().datasets["cifar10"], 5)
    assert found == {
        "random_search_accuracy": 80.0,  # the better of the two that are validated, by their validation
        "random_search_draws": 2,
        "random_search_chosen_by": "cifar10_valid_200",
    }


def test_a_comma_at_the_end_of_rows_shifts_nothing(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("arch_str,cifar10_test_200\n|a|,90,\n|b|,80,\n")
    assert load(str(file), "arch_str").value("|a|", "cifar10_test_200") == 90


def test_another_key(path):
    assert load(path, "note").value("y", "cifar10_test_200") == 54.2967


def test_names_of_columns():
    assert Contents().datasets["cifar10"].name("test", 200) == "cifar10_test_200"
    assert Contents().datasets["imagenet16_120"].name("valid", 12) == "in16_120_valid_12"


def test_a_table_is_read_once_unless_it_changes(path, monkeypatch):
    first = load(path, "arch_str")
    monkeypatch.setattr(module.pd, "read_csv", None)
    assert load(path, "arch_str") is first
    monkeypatch.undo()
    text = TEXT.replace("90.5", "91.5").encode()
    Path(path).write_bytes(gzip.compress(text) if path.endswith("gz") else text)
    os.utime(path, (0, 0))
    assert load(path, "arch_str").value("|a|", "cifar10_test_200") == 91.5


def test_what_a_table_says_of_itself(tmp_path):
    """What `header` writes is read back; seeds are no columns of results."""
    sizes = {"num_classes": 3, "in_channels": 1, "image_size": 8, "init_channels": 4, "layers": 2, "stem": "cifar"}
    told = {
        "space": "x",
        "key": "name",
        "recipe": "mine",
        "datasets": {"a": {"column": "b", "epochs": [7], **sizes}},
        "about": {"seeds": [0, 1], "text": "a: colon, # a hash and ± a sign"},
    }
    (tmp_path / "x.csv").write_text(header(told) + "name,b_test_7,b_test_7_seed0\nn#1,50,49\nn2,60,61\n", "utf-8")
    table = load(str(tmp_path / "x.csv"))
    assert (table.contents.space, table.contents.key, table.contents.recipe) == ("x", "name", "mine")
    assert table.contents.about == told["about"]
    assert set(table.columns) == {"b_test_7"}
    assert table.value("n#1", "b_test_7") == 50
    assert (table.regret("n#1", "b_test_7"), table.regret("n2", "b_test_7")) == (10, 0)
    (tmp_path / "x.csv").write_text("# only words\n" + TEXT)
    with pytest.raises(ConfigError, match="the lines above its column names do not describe the table") as caught:
        load(str(tmp_path / "x.csv"))
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_line(tmp_path):
    def written(text):
        (tmp_path / "x.csv").write_bytes(text)
        return str(tmp_path / "x.csv")

    cases = [
        (lambda: None, r"evaluation\.path=null: .*task=convert convert=nasbench201"),
        (lambda: "gone.csv", r"evaluation\.path=gone\.csv: there is no such file"),
        (lambda: str(tmp_path), r"there is no such file"),
        (lambda: written(b""), r"not a readable CSV file"),
        (lambda: written(b"a,b\n1,2\n"), r"has no column arch_str, only a, b"),
        (lambda: written(TEXT.replace("|b|", "|a|").encode()), r"\|a\| is duplicated"),
        (lambda: written(b"\xff\xfe\x00\x01"), r"not a readable CSV file"),
    ]
    for make, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            load(make(), "arch_str")
        assert "\n" not in str(caught.value)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(TEXT.encode())[:-12])
    with pytest.raises(ConfigError, match="not a readable CSV file"):
        load(str(tmp_path / "x.csv.gz"), "arch_str")


@pytest.mark.skipif(not REAL_TABLE.exists(), reason="the table of accuracies is local only")
def test_the_real_table():
    module._load.cache_clear()
    table = load(str(REAL_TABLE), "arch_str")
    assert len(table.rows) == 15_625
    best = [table.best(f"{name}_test_200") for name in ("cifar10", "cifar100", "in16_120")]
    assert best == [94.3733, 73.5133, 47.3111]
    skip = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    found = [table.value(skip, f"{name}_test_200") for name in ("cifar10", "cifar100", "in16_120")]
    assert found == [54.2967, 15.6067, 16.3222]


MARKED = """module_hash,cifar10_test_108,cifar10_test_108_seed0,cifar10_test_108_seed1,params,in_a,in_b,in_words
x,94,93,95,10,0,1,yes
y,92,92,,20,1,1,no
z,90,90,90,30,1,2,no
"""


def test_a_space_sees_its_own_architectures(tmp_path):
    """Best, rank, mean and random search are over these; spread and parameters stay those of the row."""
    (tmp_path / "x.csv").write_text(MARKED)
    table, column = load(str(tmp_path / "x.csv")), "cifar10_test_108"
    assert (table.contents.key, table.contents.complete, table.contents.recipe) == ("module_hash", False, "nasbench101")
    own = table.of("a")
    assert (list(own.rows), own.best(column), own.mean(column), own.count(column)) == (["y", "z"], 92, 91, 2)
    assert (own.regret("z", column), own.rank("z", column), own.rank("y", column)) == (2, 2, 1)
    assert own.random_search(column, own.contents.datasets["cifar10"], 2)["random_search_accuracy"] == 92
    assert own.value("x", column) is None
    assert (own.parameters("z"), own.parameters("x")) == (30, None)
    assert (own.spread("z", column), own.spread("y", column), own.spread("x", column)) == (0, None, None)
    assert table.spread("x", column) == 1.4142  # of a sample: two values that differ by 2
    assert table.of("unmarked").best(column) == table.best(column) == 94
    for space, value in (("b", 2), ("words", "yes")):
        with pytest.raises(
            ConfigError, match=rf"its column in_{space} holds {value}; allowed are 1 .* and 0"
        ) as caught:
            table.of(space)
        assert "\n" not in str(caught.value)


def test_a_tfrecord_file_is_no_table(tmp_path):
    """By its name or its content; the message names the task that converts it."""
    words = (
        r"^evaluation\.path=\S*: is a TFRecord file, not a table; .*task=convert convert=nasbench101 convert\.source="
    )
    for name in ("nasbench_only108.tfrecord", "renamed.csv"):
        trainings101.write(tmp_path / name, [b"a record"])
        with pytest.raises(ConfigError, match=words) as caught:
            load(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_partial_table(tmp_path):
    (tmp_path / "x.csv").write_text("# key: name\n# complete: false\nname,cifar10_test_200\na,90\n")
    table = load(str(tmp_path / "x.csv"))
    for found in (table.value, table.regret, table.rank, table.published_regret):
        assert found("b", "cifar10_test_200") is None
    assert table.regret("a", "cifar10_test_200") == 0
