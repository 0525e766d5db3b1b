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
    name = page.relative_to(ROOT / "docs").with_suffix(".html")
    return name.parent / "index.html" if name.stem == "README" else name


def test_every_page_is_in_the_site_and_in_its_navigation(site):
    first = (site / "index.html").read_text()
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs"):
            assert (site / address(page)).is_file()
            link = f'href="{address(page).as_posix()}"'
            assert re.search(f'{re.escape(link)} class="md-nav__link', first), f"{page.name} is not in the navigation"


def test_links_work_without_a_server(site):
    """A browser that opens a folder of files shows a list, not the page in it."""
    for page in site.rglob("*.html"):
        if page.name != "404.html":  # of servers
            links = re.findall(r'<a href="([^"#]+)', page.read_text())
            found = [link for link in links if not link.startswith("http")]
            assert all((page.parent / link).is_file() for link in found), page


def test_the_room_of_an_empty_table_of_contents_is_used(site):
    hidden = re.compile(r'data-md-type="toc" hidden')
    assert hidden.search((site / "index.html").read_text())
    assert not hidden.search((site / "rethinking.html").read_text())


def test_figures_open_alone(site):
    figure = r'<a href="images/rethinking\.svg"><img [^>]*src="images/rethinking\.svg"'
    assert re.search(figure, (site / "index.html").read_text())
    assert '<a href="images/cell_reduce.svg"><img' in (site / "quickstart.html").read_text()


def test_numbers_stay_with_their_units(site):
    assert "93.39 ± 0.33 %".replace(" ", "\N{NO-BREAK SPACE}") in (site / "choosing.html").read_text()
    assert "\N{NO-BREAK SPACE}" not in "".join(
        block for page in site.rglob("*.html") for block in re.findall("<pre.*?</pre>", page.read_text(), re.S)
    )


def test_commands_have_the_style_that_wraps_them(site):
    """Its rules name the class of a block of commands and the lines in it."""
    text = (site / "quickstart.html").read_text()
    assert '<link rel="stylesheet" href="site.css">' in text
    assert re.search(r'<div class="language-bash highlight"><pre><span></span><code><span id="[^"]+">python', text)
    rules = (site / "site.css").read_text()
    assert ".language-bash code > span {" in rules
    assert "url(" not in rules
    assert "@import" not in rules


def test_formulas_are_shown_without_a_script(site):
    text = (site / "methods/sdarts.html").read_text()
    assert text.count("<math ") >= 2
    assert text.count('<div class="formula"><math ') == text.count('display="block"') > 0
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
