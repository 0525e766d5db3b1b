"""The site builds without a warning, holds every page, and loads nothing from elsewhere."""

import re
import subprocess
import sys

import pytest

from documents import PAGES, ROOT


def build(folder, config=ROOT / "mkdocs.yml"):
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(config),
        "--site-dir",
        str(folder),
    ]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def address(page):
    name = page.relative_to(ROOT / "docs").with_suffix("")
    return name.parent / "index.html" if name.name in ("index", "README") else name / "index.html"


def test_every_page_is_in_the_site_and_in_its_navigation(site):
    first = (site / "index.html").read_text()
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs"):
            assert (site / address(page)).is_file()
            folder = address(page).parent.as_posix()
            assert folder == "." or f'href="{folder}/"' in first, f"{page.name} is not in the navigation"


def test_formulas_are_shown_without_a_script(site):
    text = (site / "methods/sdarts/index.html").read_text()
    assert text.count("<math ") >= 2
    assert "\\epsilon" not in text
    assert "arithmatex" not in text


def test_nothing_is_loaded_from_other_machines(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="(http[^"]+)"', page.read_text())
        loaded += re.findall(
            r'<link [^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="(http[^"]+)"', page.read_text()
        )
        assert loaded == [], page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[two](two.md)", "two.md"),
        ("[part](#nowhere)", "#nowhere"),
        (r"$\arg\max_o x$", "which becomes no MathML"),
    ],
)
def test_a_page_that_is_wrong_stops_the_build(tmp_path, text, said):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/site_hooks.py").write_text((ROOT / "docs/site_hooks.py").read_text())
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    (tmp_path / "docs/index.md").write_text(f"# One\n\n{text}\n")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert said in done.stderr
