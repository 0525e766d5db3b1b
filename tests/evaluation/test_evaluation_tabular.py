"""Looking genotypes up: the summary's section, the trajectory, what is refused."""

import ast
import csv
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import nas_lightning as nl
from cases import block_space, build_space, seeded
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation import Tabular
from nas_lightning.evaluation.reliability import reliability
from nas_lightning.evaluation.shipped import SHIPPED
from nas_lightning.evaluation.table import load
from nas_lightning.objectives import Classification
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces import NasBench201Space, genotype
from nas_lightning.spaces.enumeration import architecture, architectures

SKIP, BEST = genotype("nasbench201_darts"), genotype("nasbench201_drnas")
NONE = nl.Genotype.from_arch_str("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
TEXT = f"""arch_str,cifar10_test_200,cifar10_valid_200,cifar10_test_12,cifar100_test_200,in16_120_test_200
{SKIP.arch_str},54.2967,,36.84,15.6067,16.3222
{BEST.arch_str},94.3633,91.55,88.66,73.5133,46.3444
{NONE.arch_str},,,10,1,0.8333
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "table.csv").write_text(TEXT)
    return str(tmp_path / "table.csv")


def bench_of(tmp_path, data="cifar10", space=None, objective=None):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    return SimpleNamespace(
        space=space or NasBench201Space(),
        data=SimpleNamespace(name=data),
        objective=objective or Classification(),
        folder=folder,
    )


def test_the_section_of_the_summary(path, tmp_path):
    evaluator, bench = Tabular(path), bench_of(tmp_path)
    evaluator.check(bench)
    found = evaluator(BEST, bench)
    assert found.pop("seconds") < 20
    macs = found.pop("macs")
    assert found == {
        "recipe": "tabular",
        "table": path,
        "dataset": "cifar10",
        "in_table": True,
        "test_accuracy": 94.3633,
        "test_accuracy_std": None,
        "test_error": 5.6367,
        "regret": 0.0,
        "regret_published": None,
        "rank": 1,
        "rank_of": 2,
        "random_search_accuracy": 94.3633,  # of the only one that is validated
        "random_accuracy": 74.33,
        "random_search_draws": 1,
        "random_search_chosen_by": "cifar10_valid_200",
        "val_accuracy": 91.55,
        "best_epoch_accuracy": None,
        "params": 1_288_506,
        "params_auxiliary": 0,
        "images_per_second": None,
        "peak_memory_mib": None,
        "device": None,
        "precision": None,
        "epochs": 200,
        "init_channels": 16,
        "layers": 5,
    }
    # By hand: stem, residual blocks, five 3×3 convolutions in each of 15 cells, classifier.
    pixels = (32 * 32, 16 * 16, 8 * 8)
    by_hand = 27 * 16 * pixels[0] + 64 * 10
    by_hand += sum(5 * 5 * 9 * c * c * n for c, n in zip((16, 32, 64), pixels, strict=True))
    by_hand += sum(n * (9 * a * 2 * a + 9 * 4 * a * a + 2 * a * a) for a, n in ((16, pixels[1]), (32, pixels[2])))
    assert macs == by_hand
    assert not (bench.folder.path / "trajectory.csv").exists()
    assert not bench.folder.plots.exists()


def test_the_data_set_and_the_training_are_chosen(path, tmp_path):
    assert Tabular(path)(SKIP, bench_of(tmp_path, "cifar100"))["test_accuracy"] == 15.6067
    found = Tabular(path, dataset="imagenet16_120")(SKIP, bench_of(tmp_path, "digits"))
    assert (found["dataset"], found["test_accuracy"]) == ("imagenet16_120", 16.3222)
    assert found["params"] == 73_306 + 110 * 64 + 110  # 120 classes
    assert "val_accuracy" not in found
    found = Tabular(path, epochs=12)(SKIP, bench_of(tmp_path))
    assert (found["epochs"], found["test_accuracy"]) == (12, 36.84)


def note(folder, *genotypes, attempts=None):
    for index, found in enumerate(genotypes):
        folder.append_genotype(
            {
                "epoch": index - 1,
                "search_epoch": index - 1,
                "attempt": attempts[index] if attempts else 0,
                "genotype": found and found.to_dict(),
                "mixing": {},
            }
        )


def test_trajectory(path, tmp_path):
    bench = bench_of(tmp_path)
    note(bench.folder, BEST, BEST, SKIP, NONE, attempts=[0, 0, 0, 1])
    with bench.folder.genotypes.open("a") as file:
        file.write('{"epoch": 3, "genot')  # a kill left half a line
    bench.folder.metrics.write_text(
        "phase,epoch,search_epoch,attempt,val_accuracy\n"
        "search,0,0,0,42.5\nsearch,1,1,0,\nsearch,2,2,1,69.75\nevaluation,1,1,0,99\n"
    )
    Tabular(path)(SKIP, bench)
    with (bench.folder.path / "trajectory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["test_accuracy", "regret", "rank", "val_error", "arch_str"]
    assert list(rows[0]) == ["epoch", "search_epoch", "attempt", *columns]
    assert [tuple(row[name] for name in ["epoch", *columns]) for row in rows] == [
        ("-1", "94.3633", "0.0", "1", "", BEST.arch_str),
        ("0", "94.3633", "0.0", "1", "57.5", BEST.arch_str),
        ("1", "54.2967", "40.0666", "2", "", SKIP.arch_str),  # not validated after this epoch
        ("2", "", "", "", "30.25", NONE.arch_str),  # an empty cell of the table
    ]
    svg = (bench.folder.plots / "trajectory.svg").read_text()
    words = ("test accuracy (%)", "regret (percentage points)", "validation error (%)", "epochs of the search")
    lines = ("best in the table: 94.36 %", "selected: 54.30 %", "random search, best of 1: 94.36 % expected")
    for text in (*words, *lines):
        assert text in svg


def test_a_search_that_tells_no_genotypes_has_no_trajectory(path, tmp_path):
    bench = bench_of(tmp_path)
    note(bench.folder, None, None)
    Tabular(path)(SKIP, bench)
    assert not (bench.folder.path / "trajectory.csv").exists()


S5 = """# space: s5
# key: architecture
# recipe: mine
# datasets:
#   digits: {column: digits, epochs: [3, 1], num_classes: 10, in_channels: 1, image_size: 8, init_channels: 4,
#     layers: 3}
architecture,digits_test_3,digits_test_1,digits_test_3_seed0
normal |skip_connect~0|skip_connect~1| reduce |skip_connect~0|skip_connect~1|,80.25,50,81
normal |sep_conv_3x3~0|skip_connect~1| reduce |skip_connect~0|skip_connect~1|,92.5,60,92
"""


def s5_genotype(op):
    skips = ((2, "skip_connect", 0), (2, "skip_connect", 1))
    edges = ((2, "skip_connect", 1), (2, op, 0))  # stronger edge first
    return nl.Genotype("s5", {"normal": edges, "reduce": skips}, {"normal": (2,), "reduce": (2,)})


def test_a_table_that_says_what_it_is_of(tmp_path):
    """Regret of a known trajectory, networks of the sizes that the table names."""
    (tmp_path / "s5.csv").write_text(S5)
    evaluator = Tabular(str(tmp_path / "s5.csv"))
    bench = bench_of(tmp_path, "digits", build_space("s5"))
    evaluator.check(bench)
    skip, sep = s5_genotype("skip_connect"), s5_genotype("sep_conv_3x3")
    note(bench.folder, sep, sep, skip)
    found = evaluator(skip, bench)
    keys = ("test_accuracy", "test_error", "regret", "epochs", "init_channels", "layers", "dataset")
    assert tuple(map(found.__getitem__, keys)) == (80.25, 19.75, 12.25, 3, 4, 3, "digits")
    network = bench.space.network(skip, 10, 1, 4, 3)
    assert found["params"] == sum(weight.numel() for weight in network.parameters())
    with (bench.folder.path / "trajectory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["regret"] for row in rows] == ["0.0", "0.0", "12.25"]
    assert {row["architecture"] for row in rows} == {sep.architecture, skip.architecture}
    assert Tabular(str(tmp_path / "s5.csv"), epochs=1)(skip, bench)["regret"] == 10.0
    with pytest.raises(ConfigError, match=r"lists architectures of space s5, not of s3; use space=s5"):
        evaluator.check(bench_of(tmp_path, "digits", build_space("s3")))
    with pytest.raises(ConfigError, match=r"max_pool_3x3.* is not among its 2 architectures; .*evaluation=mine"):
        evaluator(s5_genotype("max_pool_3x3"), bench)
    with pytest.raises(ConfigError, match=r"evaluation\.dataset=cifar10: .* choose among digits: "):
        Tabular(str(tmp_path / "s5.csv"), dataset="cifar10").check(bench)


def test_the_table_that_comes_with_the_package(tmp_path):
    """All 81 are there, each mean is that of its seeds, and the best one has no regret."""
    space = build_space("s5")
    table = load("s5_digits")
    frame = pd.read_csv(SHIPPED / "s5_digits.csv", comment="#")
    assert list(frame["number"]) == list(range(81))
    assert list(frame["architecture"]) == [one.architecture for one in architectures(space)] == list(table.rows)
    for part, images, about in (("test", 898, "digits"), ("valid", 450, "digits on val")):
        seeds = frame[[name for name in frame if f"_{part}_8_seed" in name]].to_numpy()
        assert seeds.shape == (81, 3)
        assert frame[f"digits_{part}_8"].to_numpy() == pytest.approx(seeds.mean(axis=1), abs=1e-4)
        right = seeds / 100 * images  # of so many images
        assert right == pytest.approx(right.round(), abs=1e-3)
        spread = reliability(seeds)
        assert spread.separates_architectures
        told = table.contents.about[about]["spread"]
        assert told == pytest.approx({name: getattr(spread, name) for name in told}, abs=1e-4)
    assert table.contents.datasets["digits"].images == {"test": 899, "valid": 448}
    means = frame["digits_test_8"].to_numpy()
    best, worst = int(means.argmax()), int(means.argmin())
    evaluator, bench = Tabular("s5_digits"), bench_of(tmp_path, "digits", space)
    evaluator.check(bench)
    assert evaluator(architecture(space, best), bench)["regret"] == 0
    found = evaluator(architecture(space, worst), bench)
    assert found["regret"] == pytest.approx(means.max() - means.min(), abs=1e-4)
    assert found["test_accuracy"] == means[worst]
    assert (found["rank"], found["rank_of"]) == (1 + sum(means > means[worst]), 81)
    assert found["random_search_chosen_by"] == "digits_valid_8"
    unnamed = Tabular()
    unnamed.check(bench)
    assert unnamed(architecture(space, worst), bench)["table"] == "s5_digits"


@pytest.mark.parametrize(
    ("data", "accuracies", "params"),
    [
        ("cifar10", (54.2967, 94.3633), (73_306, 1_288_506)),
        ("cifar100", (15.6067, 73.5133), (73_306 + 90 * 65, 1_288_506 + 90 * 65)),
        ("imagenet16_120", (16.3222, 46.3444), (73_306 + 110 * 65, 1_288_506 + 110 * 65)),
    ],
)
def test_nasbench201_without_a_file(data, accuracies, params, tmp_path, caplog):
    """Published accuracies, for instance of DARTS and DrNAS in the tables of DrNAS (ICLR 2021)."""
    evaluator, bench = Tabular(), bench_of(tmp_path, data)
    evaluator.check(bench)
    with caplog.at_level(logging.INFO, "nas_lightning"):
        found = [evaluator(one, bench) for one in (SKIP, BEST)]
    assert tuple(one["test_accuracy"] for one in found) == accuracies
    assert tuple(one["params"] for one in found) == params
    assert {(one["table"], one["rank_of"], one["epochs"]) for one in found} == {("nasbench201", 15_625, 200)}
    assert "looked up in the table nasbench201" in caplog.text
    column = f"{load('nasbench201').contents.datasets[data].column}_test_200"
    every = sorted(load("nasbench201").columns[column].tolist(), reverse=True)
    assert [one["rank"] for one in found] == [every.index(accuracy) + 1 for accuracy in accuracies]
    assert [one["regret"] for one in found] == [round(every[0] - accuracy, 4) for accuracy in accuracies]


def test_random_search_beside_it(tmp_path):
    """Ten draws by default, as with replacement to 0.03 points; one draw is the mean of the table."""
    bench = bench_of(tmp_path)
    found = Tabular()(BEST, bench)
    assert found["random_search_draws"] == 10
    assert found["random_search_chosen_by"] == "cifar10_valid_12"
    assert found["random_search_accuracy"] == pytest.approx(92.578, abs=0.03)
    assert Tabular(draws=1)(BEST, bench)["random_search_accuracy"] == pytest.approx(87.063, abs=1e-3)
    brief = Tabular(epochs=12)(BEST, bench)
    assert (brief["epochs"], brief["random_search_chosen_by"]) == (12, "cifar10_valid_12")
    every = Tabular(draws=15_625)(BEST, bench)
    assert every["random_search_accuracy"] == 94.3733  # that of the best validation accuracy
    with pytest.raises(ConfigError, match=r"evaluation\.draws=0: .*use evaluation\.draws=10"):
        Tabular(draws=0)


def test_a_table_of_the_users_own_takes_precedence(path, tmp_path):
    Path(path).write_text(TEXT.replace("94.3633", "90.5"))
    found = Tabular(path)(BEST, bench_of(tmp_path))
    assert (found["table"], found["test_accuracy"]) == (path, 90.5)


def test_a_numbered_table_that_lacks_rows(tmp_path):
    file = tmp_path / "short.csv"
    file.write_text("# space: nasbench201\n# numbered: true\ncifar10_test_200\n90\n91\n")
    with pytest.raises(ConfigError, match=r"is numbered and has 2 rows, not all 15625 architectures"):
        load(str(file))
    with pytest.raises(ConfigError, match=r"has no column name, only cifar10_test_200"):
        load(str(file), "name")


PARTIAL = """# space: [nasbench1shot1_1, nasbench1shot1_2]
# key: module_hash
# recipe: nasbench101
# complete: false
# datasets:
#   cifar10: {column: cifar10, epochs: [108], num_classes: 10, in_channels: 3, image_size: 32, init_channels: 128,
#     layers: 3}
# lowest_errors: {nasbench1shot1_1: {cifar10_test_108: 5.448717}}
module_hash,cifar10_test_108,cifar10_test_108_seed0,cifar10_test_108_seed1,params,in_nasbench1shot1_1
"""


@pytest.fixture
def partial(tmp_path):
    """A table of two architectures of space 1 and a better one of another space; and three genotypes, one of them not
    in the table."""
    space, rng = block_space("nasbench1shot1_1"), seeded(0)
    found = {one.architecture: one for one in (space.genotype_of(space.sample(rng)) for _ in range(20))}
    first, second, missing = list(found.values())[:3]
    rows = [f"{first.architecture},93.5,93,94,123,1", f"{second.architecture},92,91.5,92.5,456,1"]
    (tmp_path / "partial.csv").write_text(PARTIAL + "\n".join([*rows, f"{'0' * 32},99,99,99,9,0"]))
    return str(tmp_path / "partial.csv"), space, (first, second, missing)


def test_an_architecture_of_a_partial_table(partial, tmp_path):
    path, space, (first, second, _) = partial
    evaluator, bench = Tabular(path), bench_of(tmp_path, space=space)
    evaluator.check(bench)
    found = evaluator(second, bench)
    keys = ("in_table", "test_accuracy", "test_accuracy_std", "regret", "regret_published", "rank", "rank_of", "params")
    assert [found[key] for key in keys] == [True, 92, 0.7071, 1.5, 2.5513, 2, 2, 456]
    assert found["random_accuracy"] == 92.75
    assert evaluator(first, bench)["regret"] == 0


def test_an_architecture_that_it_lacks(partial, tmp_path, caplog):
    """Null, and one line that says so; the trajectory has the epochs whose architectures are there."""
    path, space, (first, second, missing) = partial
    bench = bench_of(tmp_path, space=space)
    note(bench.folder, first, missing, second, missing)
    with caplog.at_level(logging.INFO, "nas_lightning"):
        found = Tabular(path)(missing, bench)
    lacking = ("test_accuracy", "test_accuracy_std", "test_error", "regret", "regret_published", "rank")
    assert [found[key] for key in lacking] == [None] * len(lacking)
    assert (found["in_table"], found["rank_of"], found["random_accuracy"]) == (False, 2, 92.75)
    network = space.network(missing, 10, 3, 128, 3)
    assert found["params"] == sum(weight.numel() for weight in network.parameters())
    assert f"is partial and has no cifar10_test_108 of {missing.architecture}; train the genotype: evaluation=" in (
        caplog.text
    )
    assert "trajectory: 2 of 3 architectures found in the table" in caplog.text
    with (bench.folder.path / "trajectory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["regret"], row["regret_published"]) for row in rows] == [
        *(("-1", "0.0", "1.0513"), ("1", "1.5", "2.5513"))
    ]
    assert "2 of 3 architectures found" in (bench.folder.plots / "trajectory.svg").read_text()


def test_a_trajectory_without_any_architecture_of_the_table(partial, tmp_path, caplog):
    path, space, (*_, missing) = partial
    bench = bench_of(tmp_path, space=space)
    note(bench.folder, missing, missing)
    with caplog.at_level(logging.INFO, "nas_lightning"):
        Tabular(path)(missing, bench)
    assert "0 of 1 architectures found" in caplog.text
    assert not (bench.folder.path / "trajectory.csv").exists()


def test_tables_of_other_spaces(partial, path, tmp_path):
    """Each says what the space needs."""
    other, space, _ = partial
    (tmp_path / "no_key.csv").write_text(PARTIAL.replace("module_hash,", "hash,") + "x,90,90,90,1,1\n")
    (tmp_path / "empty.csv").write_text(PARTIAL + f"{'0' * 32},99,99,99,9,0\n")
    cases = [
        (path, space, r"have no arch_str under which .* column module_hash \(task=convert convert=nasbench101\), use"),
        (other, NasBench201Space(), r"of space nasbench1shot1_1 and nasbench1shot1_2, not of nasbench201; use space="),
        (
            "nasbench201",
            space,
            r"of space nasbench201, not of nasbench1shot1_1; .* module_hash \(task=convert convert=",
        ),
        (other, block_space("nasbench1shot1_3"), r"not of nasbench1shot1_3; use space=nasbench1shot1_1"),
        (str(tmp_path / "no_key.csv"), space, r"has no column module_hash, only hash, .*convert=nasbench101"),
        (
            str(tmp_path / "empty.csv"),
            space,
            r"cifar10_test_108 is empty for all architectures of space=nasbench1shot1",
        ),
        (None, space, r"evaluation\.path=null: no table comes with the package for this space"),
    ]
    for table, of, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            Tabular(table).check(bench_of(tmp_path, space=of))
        assert "\n" not in str(caught.value)


def test_a_search_that_ends_outside_of_a_partial_table(partial, tiny):
    """The run is finished, and says that nothing is known of its architecture."""
    path, _, (_, _, missing) = partial
    words = [word for word in tiny if not word.startswith(("evaluation.", "space=", "search.layers"))]
    words += ["space=nasbench1shot1_1", "search.layers=1", "search.epochs=1", "evaluation=tabular"]
    config = nl.compose([*words, f"evaluation.path={path}", "evaluation.dataset=cifar10"])
    found = nl.evaluate(config, genotype=missing)
    assert found.test_accuracy is None
    assert found.summary["evaluation"]["in_table"] is False


def refusals(path, tmp_path):
    balanced = Classification(metric="balanced_accuracy")
    return {
        "no table": (
            lambda: Tabular().check(bench_of(tmp_path, space=build_space("s3"))),
            r"evaluation\.path=null: no table comes with the package for this space, only for nasbench201, s5; ",
        ),
        "other data": (
            lambda: Tabular(path).check(bench_of(tmp_path, "digits")),
            r"evaluation\.dataset=null: .*data=digits; .*evaluation\.dataset=cifar10",
        ),
        "no column": (
            lambda: Tabular(path, epochs=12).check(bench_of(tmp_path, "cifar100")),
            r"has no column cifar100_test_12, only cifar10_test_200, ",
        ),
        "other space": (
            lambda: Tabular(path).check(bench_of(tmp_path, space=build_space("s3"))),
            r"space=s3: its genotypes have no arch_str .*space=nasbench201",
        ),
        "other metric": (
            lambda: Tabular(path).check(bench_of(tmp_path, objective=balanced)),
            r"objective\.metric=balanced_accuracy: .*use objective\.metric=accuracy",
        ),
        "not in the table": (
            lambda: Tabular(path)(
                nl.Genotype.from_arch_str(SKIP.arch_str.replace("skip_connect~2", "none~2")), bench_of(tmp_path)
            ),
            r"none~2\| is not among its 3 architectures",
        ),
        "empty cell": (lambda: Tabular(path)(NONE, bench_of(tmp_path)), r"cifar10_test_200 is empty for \|none~0\|"),
    }


@pytest.mark.parametrize(
    "case", ["no table", "other data", "no column", "other space", "other metric", "not in the table", "empty cell"]
)
def test_mistakes_are_one_line(case, path, tmp_path):
    call, words = refusals(path, tmp_path)[case]
    with pytest.raises(ConfigError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def imported(name):
    """Modules that a module of ours imports, by its text."""
    spec = find_spec(name)
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_it_does_without_lightning():
    found, waiting = set(), ["nas_lightning.evaluation.tabular"]
    while waiting:
        name = waiting.pop()
        new = {other for other in imported(name) if other.startswith("nas_lightning.")} - found
        assert not any(other.split(".")[0] in ("lightning", "hydra") for other in imported(name))
        found |= new
        waiting += new
    assert "nas_lightning.runs.folder" in found
    assert "nas_lightning.training.workbench" not in found


def test_a_search_that_is_looked_up(tiny, path):
    """From the command line's words to the summary."""
    words = [word for word in tiny if not word.startswith(("evaluation.", "space="))]
    words += ["space=nasbench201", "search.layers=1", "search.epochs=1"]
    words += ["evaluation=tabular", f"evaluation.path={path}", "evaluation.dataset=cifar10"]
    config = nl.compose(words)
    found = nl.evaluate(config, genotype=BEST.arch_str)
    assert found.test_accuracy == 94.3633
    assert found.summary["evaluation"]["recipe"] == "tabular"
    assert found.summary["evaluation"]["table"] == str(path)
    words = [word for word in words if not word.startswith("evaluation.path=")]
    shipped = nl.evaluate(nl.compose(words), genotype=BEST.arch_str).summary["evaluation"]
    assert (shipped["table"], shipped["rank_of"], shipped["random_search_draws"]) == ("nasbench201", 15_625, 10)
    saved = json.loads((found.run_dir / "genotype.json").read_text())
    assert saved["arch_str"] == BEST.arch_str
    with pytest.raises(nl.ConfigError, match="does not belong to space 'nasbench201'"):
        nl.evaluate(config, genotype="darts_v2")
