"""Every method and every space has its section, and the values that stand there are those of its YAML."""

import importlib.util
import re

import pytest

from documents import ROOT, blocks
from every_method import METHODS, REFUSED

pytestmark = pytest.mark.xdist_group("docs pages")  # in one worker, which makes what they share once
DOCS = ROOT / "docs"
METHOD_PAGES = sorted((DOCS / "methods").glob("*.md"))


@pytest.fixture(scope="module")
def config_blocks():
    spec = importlib.util.spec_from_file_location("config_blocks", DOCS / "config_blocks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections(page):
    """The text under each heading `## `NAME``, as far as the next heading of that level."""
    parts = re.split(r"^## (.+)$", page.read_text(), flags=re.M)[1:]
    return {name.strip("`"): text for name, text in zip(parts[::2], parts[1::2], strict=True) if name[0] == "`"}


def options(group):
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def test_every_method_has_one_section():
    """Write the section of a new method: heading, what it is, the mark of its values, its command; then `make docs`."""
    found = sorted(name for page in METHOD_PAGES for name in sections(page))
    assert found == options("method")


@pytest.mark.parametrize("page", METHOD_PAGES, ids=lambda page: page.stem)
def test_a_section_has_values_and_a_command(page):
    text = page.read_text()
    assert "arXiv" in text
    assert "Deviations" in text
    assert "Published" in text
    for name, section in sections(page).items():
        assert f"<!-- config: method={name} " in section, f"{name}: mark its values, <!-- config: method={name} … -->"
        assert re.search(rf"^python run\.py .*(method={name}\b|experiment=)", section, re.M), (
            f"{name}: show its command"
        )


def test_the_overview_leads_to_every_method():
    links = re.findall(r"\[`(\w+)`\]\(methods/(\w+)\.md#(\w+)\)", (DOCS / "methods.md").read_text())
    assert sorted({name for name, _, anchor in links if name == anchor}) == options("method")
    for name, page, _ in links:
        if name in options("method"):
            assert name in sections(DOCS / f"methods/{page}.md")


def test_the_table_of_methods_and_spaces_is_that_of_the_tests():
    """`searches/test_methods.py` runs every pair, and has each of REFUSED refused."""
    text = (DOCS / "spaces.md").read_text().partition("## Which methods run where")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, flags=re.M)
    assert sorted(name for name, _, _ in rows) == options("space")
    for name, runs, refused in rows:
        expected = sorted(method for method, space in REFUSED if space == name)
        assert sorted(re.findall(r"`(\w+)`", refused)) == expected
        assert runs == (str(len(METHODS) - len(expected)) if expected else f"all {len(METHODS)}")


def test_every_space_has_its_section():
    assert sorted(sections(DOCS / "spaces.md")) == options("space")
    for name, section in sections(DOCS / "spaces.md").items():
        assert f"<!-- config: space={name} " in section


def test_values_are_those_of_the_configurations(config_blocks):
    """They are made by `make docs`."""
    pages = [page for page in DOCS.rglob("*.md") if "<!-- config:" in page.read_text()]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        assert config_blocks.rewritten(text) == text, f"{page.relative_to(ROOT)}: run `make docs`"
        assert len(config_blocks.MARK.findall(text)) == text.count("<!-- config:"), page


def test_a_block_shows_what_differs(config_blocks):
    """Against differences that were written down by hand."""
    one = {"a": 1, "part": {"_target_": "x.B", "c": 2}, "section": {"d": 3, "e": {"f": 4, "g": 5}}, "same": {"h": 6}}
    other = {"a": 0, "part": {"_target_": "x.A", "c": 2}, "section": {"d": 3, "e": {"f": 4, "g": 7}}, "same": {"h": 6}}
    expected = {"a": 1, "part": {"_target_": "x.B", "c": 2}, "section": {"e": {"g": 5}}}
    assert config_blocks.difference(one, other) == expected
    mark = "<!-- config: method=sdarts_rs data=cifar10 | differs from: method=darts data=cifar10 -->"
    text = f"{mark}\n\n```yaml\nold: 1\n```\n"
    new = config_blocks.rewritten(text)
    assert "nas_lightning.perturbations.Random\n  start: 0.03\n  maximum: 0.3\n  kinds: [op]" in new
    assert "old" not in new
    assert config_blocks.rewritten(new) == new


def test_blocks_of_yaml_and_python_can_be_read():
    import yaml

    read = []
    for page in sorted(DOCS.rglob("*.md")):
        for block in blocks(page):
            if block.language == "yaml":
                read.append(isinstance(yaml.safe_load(block.text), dict))
            if block.language == "python":
                read.append(bool(compile(block.text, f"{page.name}:{block.line}", "exec").co_code))
    assert len(read) > 20
    assert all(read)
