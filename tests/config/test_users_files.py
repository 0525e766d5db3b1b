"""YAML files of a user in other forms than Hydra reads: the file is named, and what to do."""

import codecs

import pytest

import nas_lightning as nl
from commands import _logging_as_found, run  # noqa: F401 - a fixture
from nas_lightning.config.compose import global_groups, search_path

BODY = "# Short searches in S2.\ndefaults:\n  - override /space: s2\nsearch:\n  epochs: 2\n"
GOOD = f"# @package _global_\n{BODY}"


def written(folder, content, group="experiment"):
    (folder / group).mkdir(parents=True)
    (folder / group / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


FORMS = {
    "Latin-1": (GOOD.replace("Short", "Größe: short").encode("latin-1"), r"mine\.yaml: line 2 is not UTF-8; save"),
    "UTF-16": (GOOD.encode("utf-16"), r"mine\.yaml: line 1 is not UTF-8"),
    "byte-order mark": (codecs.BOM_UTF8 + GOOD.encode(), r"mine\.yaml: begins with a byte-order mark; save it"),
    "no header": (
        BODY,
        "its first line must be # @package _global_, as in all files of experiment/; add it",
    ),
    "header behind a comment": (f"# Mine.\n{GOOD}", r"its first line must be # @package _global_"),
    "keys alone": ("search:\n  epochs: 2\n", r"its first line must be # @package _global_"),
    "pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "pointer of Git LFS"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_another_form_is_named(form, tmp_path):
    content, message = FORMS[form]
    with pytest.raises(nl.ConfigError, match=message):
        nl.compose(["experiment=mine"], config_dir=written(tmp_path / "own", content))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", [["--help"], ["task=list"]])
def test_help_and_list_work_beside_it(form, words, tmp_path, capsys):
    folder = written(tmp_path / "own", FORMS[form][0])
    code, out, err = run(["--config-dir", str(folder), *words], capsys)
    assert (code, err) == (0, "")
    assert "mine" in out


@pytest.mark.parametrize("name", ["it's", "größe", "a b", "a=b", "a#b,[c]", "back\\slash'"])
def test_folders_of_any_name(name, tmp_path):
    folder = written(tmp_path / name, GOOD)
    config = nl.compose(["experiment=mine"], config_dir=folder)
    assert (config.space.name, config.search.epochs) == ("s2", 2)
    (folder / "experiment" / "mine.yaml").write_text(BODY)
    with pytest.raises(nl.ConfigError, match="its first line must be"):
        nl.compose(["experiment=mine"], config_dir=folder)


def test_other_mistakes_are_reported_as_they_are(tmp_path):
    folder = written(tmp_path, "# Mine.\nlr: 1\n", group="evaluation")  # no file of this group is global
    with pytest.raises(nl.ConfigError, match="seed=-1"):
        nl.compose(["seed=-1"], config_dir=folder)
    blank = written(tmp_path / "other", f"\n{GOOD}")
    assert nl.compose(["experiment=mine"], config_dir=blank).search.epochs == 2
    with pytest.raises(nl.ConfigError, match="seed=-1"):
        nl.compose(["experiment=mine", "seed=-1"], config_dir=blank)


def test_groups_whose_files_are_global():
    found = global_groups()
    assert {"experiment", "method", "paper", "protocol", "scale"} <= set(found)
    assert not {"evaluation", "space", "relaxation"} & set(found)


@pytest.mark.parametrize("name", ["y" * 300, "~nobody-of-that-name", "gone", "null\0byte"])
def test_no_folder_of_that_name(name):
    with pytest.raises(nl.ConfigError, match=r"--config-dir=.*: no such folder"):
        search_path(name)
