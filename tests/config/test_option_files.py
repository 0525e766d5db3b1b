"""Headers and comments of configuration files, against a file whose content is known."""

import pytest

import nas_lightning as nl
from nas_lightning.config.option_files import Setting, defaults_of, files, header, settings_of

TEXT = """\
# @package _global_
# A part of mine: see below.
# More about it,
# over two lines.
# Paper: https://arxiv.org/abs/0000.00000
# Code: https://example.org/mine
# python run.py +regularizer=mine
defaults:
  - /space: s2
  - _self_

# Kept for the top,
# also here.
plain: 1
search:        # not a value
  lr: 3e-4     # of the weights # with a sign
  clip: null
  text: 'a # b'  # quoted
  flow: [1,
    2]  # behind the bracket
  block:  # of the list
    - [a, b]  # not of the list
    - [c, d]
  # above
  flag: true
empty: {}  # nothing yet
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_a_header_is_description_details_sources_and_commands(file):
    found = header(file)
    assert (found.description, found.details) == ("A part of mine: see below.", "More about it, over two lines.")
    assert (found.papers, found.code) == (("https://arxiv.org/abs/0000.00000",), ("https://example.org/mine",))
    assert (found.commands, found.package) == (("python run.py +regularizer=mine",), "")


@pytest.mark.parametrize(
    ("text", "description", "package"),
    [
        ("# @package logger.mine\n# Mine.\n", "Mine.", "logger.mine"),
        ("\n# Mine.\na: 1\n", "Mine.", None),
        ("a: 1\n# not a header\n", "a: 1", None),
        ("", "", None),
    ],
)
def test_other_headers(text, description, package, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    found = header(tmp_path / "mine.yaml")
    assert (found.description, found.package) == (description, package)


def test_values_come_with_the_comments_on_them(file):
    assert defaults_of(file) == [{"/space": "s2"}, "_self_"]
    assert settings_of(file) == {
        "plain": Setting(1, "Kept for the top, also here."),
        "search.lr": Setting(3e-4, "of the weights # with a sign"),
        "search.clip": Setting(None, ""),
        "search.text": Setting("a # b", "quoted"),
        "search.flow": Setting([1, 2], "behind the bracket"),
        "search.block": Setting([["a", "b"], ["c", "d"]], "of the list"),
        "search.flag": Setting(True, "above"),
        "empty": Setting({}, "nothing yet"),
    }


def test_the_header_is_no_comment_on_the_first_key(tmp_path):
    (tmp_path / "mine.yaml").write_text("# Mine.\n_target_: a.B\n")
    assert settings_of(tmp_path / "mine.yaml") == {"_target_": Setting("a.B", "")}


def test_a_changed_file_is_read_again(file):
    settings_of(file)
    file.write_text("# Mine.\na: 12345\n")
    assert settings_of(file) == {"a": Setting(12345, "")}


@pytest.mark.parametrize("text", ["# Mine.\na: [1\n", "# Mine.\na: ${\n"])
def test_a_file_that_is_no_configuration_is_named(text, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(nl.ConfigError, match=r"mine\.yaml: cannot be read as a configuration") as caught:
        settings_of(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_the_first_folder_counts_and_shared_parts_are_left_out(tmp_path):
    for name in ("one/data/a", "two/data/a", "two/data/b/c", "two/data/_parts/d"):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# Mine.\n")
    assert files("data", (tmp_path / "one", tmp_path / "two")) == {
        "a": tmp_path / "one/data/a.yaml",
        "b/c": tmp_path / "two/data/b/c.yaml",
    }
