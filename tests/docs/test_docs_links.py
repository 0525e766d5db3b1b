"""Links of all pages lead somewhere, without a network: files exist, and so do headings.

Anchors are those that GitHub makes; the site's own are checked by its strict build.
"""

import re
from functools import cache

import pytest

from documents import PAGES, ROOT, prose

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@cache
def anchors(page):
    """GitHub's names of the headings of a page."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


def problem(page, link):
    """What is wrong with a link of a page, or None."""
    if re.match(r"https?://", link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: there is no such file"
    if not target.is_relative_to(ROOT):
        return f"{link}: leaves the project"
    if anchor and anchor not in anchors(target):
        return f"{link}: {target.name} has no such heading; it has {', '.join(anchors(target))}"
    if page.is_relative_to(ROOT / "docs") and not target.is_relative_to(ROOT / "docs"):
        return f"{link}: is not part of the site; write the path as code"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    problems = [problem(page, link) for link in LINK.findall(prose(page))]
    assert [text for text in problems if text] == []


def test_wrong_links_are_found():
    page = ROOT / "docs/methods/darts.md"
    assert problem(page, "sdarts.md#sdarts_rs") is None
    assert "no such file" in problem(page, "methods/sdarts.md")
    assert "no such heading" in problem(page, "sdarts.md#sdarts_rx")
    assert "not part of the site" in problem(page, "../../README.md")


def test_the_pages_hold_links():
    links = [link for page in PAGES for link in LINK.findall(prose(page))]
    assert len(links) > 80
    assert sum("#" in link for link in links) > 30
