"""The README's table of options lists exactly the options of conf/."""

import re

import pytest

from documents import ROOT, prose

PAGE = ROOT / "README.md"
VALUES = "values"
"""Subfolder of the plugin groups `hydra/launcher` and `hydra/sweeper` that holds one file an option."""
NOT_LISTED = {
    *("experiment", "paper", "protocol", "scale"),  # sets of values, described on pages of their own
    "when",  # values for combinations, composed without being named
    "hydra/job_logging",  # fixed
}
"""Groups of conf/ that the table leaves out."""


def options(group):
    """The options of a group, by name."""
    folder = ROOT / "conf" / group
    return {path.stem for path in (folder / VALUES if (folder / VALUES).is_dir() else folder).glob("*.yaml")}


def groups():
    """Every group of conf/ that has options, `hydra/…` by its two names."""
    folders = [path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"]
    folders += [path for path in (ROOT / "conf/hydra").iterdir() if path.is_dir()]
    return {path.relative_to(ROOT / "conf").as_posix() for path in folders}


def table(text):
    """The options that the table under `## Options` lists: {group: names}.

    A name is a word between backquotes; `key=value` and `-m` are not names.
    """
    section = re.split(r"^## ", text.partition("## Options\n")[2], maxsplit=1, flags=re.M)[0]
    rows = re.findall(r"^\| `([\w/]+)`[^|]* \| (.+) \|$", section, re.M)
    listed = {}
    for group, cell in rows:
        assert group not in listed, f"{group} has two rows"
        names = re.findall(r"`(\w+)`", cell)
        assert len(names) == len(set(names)), f"{group}: an option is listed twice"
        listed[group] = set(names)
    return listed


@pytest.fixture(scope="module")
def listed():
    return table(prose(PAGE))


def test_every_group_has_a_row(listed):
    assert set(listed) == groups() - NOT_LISTED
    assert groups() >= NOT_LISTED


@pytest.mark.parametrize("group", sorted(groups() - NOT_LISTED))
def test_a_row_lists_the_options_of_its_group(group, listed):
    assert options(group)
    assert listed.get(group) == options(group), f"README.md, Options, {group}: differs from conf/{group}"


def test_every_method_has_its_fidelity_stated():
    section = re.split(r"^## ", prose(PAGE).partition("## Fidelity\n")[2], maxsplit=1, flags=re.M)[0]
    named = set(re.findall(r"`(\w+)`", section)) & options("method")
    assert options("method") - named == {"random_search"}, "random_search follows no paper"


def test_the_table_is_read_as_written():
    row = "| `a/b` (a list) | `x` (`k=v`), `y`. See [x](x.md) |"
    text = f"## Options\n\n| group | options |\n|---|---|\n{row}\n\n## Next\n| `c` | `z` |\n"
    assert table(text) == {"a/b": {"x", "y"}}
