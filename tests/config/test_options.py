"""Options as objects: what each describes, where it comes from, the messages about names that do not exist."""

import re
import subprocess
import sys

import pytest

import nas_lightning as nl
from documents import ROOT, commands_in
from nas_lightning.config.compose import groups, options
from nas_lightning.config.options import GROUPS, Option, list_options

METHODS = list_options("method")

PAPER = r"https://arxiv\.org/abs/\d{4}\.\d{5}|https://openreview\.net/forum\?id=\w+"


def test_groups_are_those_of_the_tree_methods_first():
    found = list_options()
    assert next(iter(found)) == "method"
    assert set(GROUPS) == set(groups())
    assert {name: set(entry) for name, entry in found.items()} == {
        name: set(options(name)) for name in groups() if options(name)
    }


@pytest.mark.parametrize("option", METHODS.values(), ids=list(METHODS))
def test_a_method_names_the_paper_of_its_page(option):
    """The page of a method in the documentation, written independently, links the same papers and code."""
    heading = re.compile(rf"^## `{option.name}`.*?(?=^## |\Z)", re.M | re.S)
    page, section = next(
        (text, found[0])
        for text in (page.read_text() for page in (ROOT / "docs/methods").glob("*.md"))
        if (found := heading.search(text))
    )
    assert bool(option.papers) == ("Source: none" not in section)
    if option.papers:
        linked = re.findall(PAPER, section) or re.findall(PAPER, page)
        assert linked[0] in option.papers
    everywhere = " ".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    for address in option.papers:
        assert address in everywhere
    for address in option.code:
        assert address.removeprefix("https://github.com/") in everywhere


def test_sources_are_addresses():
    for group in list_options().values():
        for option in group.values():
            assert all(re.fullmatch(PAPER, paper) for paper in option.papers)
            assert all(re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", code) for code in option.code)


def test_every_option_has_examples_and_they_are_commands():
    for group in list_options().values():
        for option in group.values():
            assert option.examples
            for line in option.examples:
                assert commands_in(line) or line.startswith(("python -m benchmarks.", "mlflow ", "tensorboard ")), line


@pytest.mark.parametrize("width", [40, 80, 200, None])
def test_pages_break_no_key_and_no_command(width):
    for option in METHODS.values():
        lines = option.text(width).splitlines()
        for key in option.keys:
            assert any(line.strip().split("  ")[0] == key.word for line in lines), key.word
        for example in option.examples:
            assert f"  {example}" in lines
        for place in (*option.papers, *option.code):
            assert any(line.endswith(place) for line in lines)


def test_a_page_has_all_that_there_is_to_know():
    option = METHODS["darts_pt"]
    assert (option.word, option.papers[0]) == ("method=darts_pt", "https://arxiv.org/abs/2108.04392")
    assert option.parts["selector=perturbation"].startswith("Selection by the accuracy lost")
    keys = {key.name: key for key in option.keys}
    assert (keys["selector.tune_epochs"].default, keys["selector.tune_epochs"].meaning) == (
        5,
        "epochs of fine-tuning between two decisions",
    )
    assert keys["selector.tune_epochs"].word == "selector.tune_epochs=5"
    assert "method" not in keys
    selector = list_options("selector")["perturbation"]
    assert selector.target == "nas_lightning.selectors.Perturbation"
    assert "nas_lightning.selectors.Perturbation" in selector.text()


def test_meanings_of_keys_without_a_comment_come_from_where_they_are_described():
    meaning = {key.name: key.meaning for key in list_options("evaluation")["cifar_36x20"].keys}
    assert meaning["evaluation.epochs"] == "Training epochs; the last one is the result."  # docstring
    meaning = {key.name: key.meaning for key in METHODS["drnas_progressive"].keys}
    assert meaning["search.epochs"] == "search epochs"  # conf/config.yaml
    weights = {key.name: key.meaning for key in list_options("experiment")["nasbench201"].keys}
    assert weights["search.weights.lr"] == "learning rate of the first epoch"  # schema


def test_defaults_are_overrides():
    space = {key.name: key for key in list_options("space")["s3"].keys}
    assert space["space.operations"].word == "space.operations=[none,skip_connect,sep_conv_3x3]"
    long = {key.name: key for key in list_options("space")["s1"].keys}
    assert long["space.operations.normal"].word == "space.operations.normal=…"
    assert len(long["space.operations.normal"].default) == 14
    for key in METHODS["setn"].keys:
        if not key.word.endswith("…") and key.name.startswith(("search", "selector")):
            assert nl.compose(["method=setn", key.word])


def test_representations_are_the_texts():
    assert repr(METHODS["darts"]) == METHODS["darts"].text()
    assert repr(METHODS).splitlines()[0].startswith("method: ")
    assert repr(nl.list_options()).count("\n\n") == len(list_options()) - 1
    assert isinstance(nl.list_options("method")["darts"], Option)


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("metod", None, r"^metod: no such group; nearest: method; groups: method, space, .*debug$"),
        ("darts_pt", None, r"^darts_pt: no such group; nearest: method=darts_pt, paper=darts_pt; groups: "),
        ("zzz", None, r"^zzz: no such group; groups: "),
        ("method", "dart", r"^method=dart: no such option; nearest: darts[^;]*; allowed: .*darts_pt"),
        ("protocol", "x", r"^protocol=x: no such option; "),
        ("regularizer", "cut", r"nearest: cutout; .*or your own, \+regularizer\.cut\._target_"),
    ],
)
def test_names_that_do_not_exist_are_refused_in_one_line(group, name, message):
    with pytest.raises(nl.ConfigError, match=message) as caught:
        list_options(group)[name]
    assert "\n" not in str(caught.value)


def test_the_users_folder_joins_in(tmp_path):
    (tmp_path / "regularizer").mkdir()
    (tmp_path / "regularizer/mine.yaml").write_text("# Mine.\n_target_: my_package.Mine\nmaximum: 0.1  # in the end\n")
    option = list_options("regularizer", tmp_path)["mine"]
    assert (option.description, option.target) == ("Mine.", "my_package.Mine")
    assert [(key.word, key.meaning) for key in option.keys] == [("regularizer.mine.maximum=0.1", "in the end")]
    assert option.examples == ("python run.py +regularizer=mine",)
    with pytest.raises(nl.ConfigError, match="no such folder"):
        list_options(config_dir=tmp_path / "gone")


def test_no_torch_is_imported():
    code = (
        "import sys, nas_lightning as nl; repr(nl.list_options()); repr(nl.list_options('method')['darts_pt']);"
        " sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
