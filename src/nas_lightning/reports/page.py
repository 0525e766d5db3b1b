"""Render the page of a report: one HTML file that needs no network, no server and no other file.

Figures are embedded as images, so that no script in them can run; tables sort by a click on a title. Text is escaped
where it enters the page.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nas_lightning.reports.sheets import Sheet, as_html

LONG = 40
"""Rows from which on a table is closed until it is clicked."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Args:
        svg: The file.
        caption: Its content and how to read it.
        broad: Take the whole width of the page; others stand side by side where there is room.
    """

    svg: Path
    caption: str
    broad: bool = True


@dataclass
class Section:
    """A part of the page.

    Args:
        anchor: Letters and dashes.
        title: Its heading.
        text: Paragraphs.
        sheets: Tables.
        pictures: Figures.
        items: A list of pairs, a name and a remark.
    """

    anchor: str
    title: str
    text: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    pictures: Sequence[Picture] = ()
    items: Sequence[tuple[str, str]] = field(default=())

    def is_empty(self) -> bool:
        """Return True if there is nothing to show."""
        return not (self.text or self.sheets or self.pictures or self.items)

    def passed(self, change: Callable[[str], str]) -> Section:
        """Return the section with a function applied to every text that may come from a run folder."""
        return Section(
            self.anchor,
            self.title,
            [change(text) for text in self.text],
            [
                replace(s, lines=[[change(cell) for cell in line] for line in s.lines], note=change(s.note))
                for s in self.sheets
            ],
            [replace(picture, caption=change(picture.caption)) for picture in self.pictures],
            [(change(name), change(remark)) for name, remark in self.items],
        )


def render(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """Render the page as HTML, without empty sections.

    Args:
        title: Of the page.
        lead: Paragraphs under the title.
        sections: Its parts, in order.
    """
    shown = [section for section in sections if not section.is_empty()]
    contents = "".join(f'<li><a href="#{section.anchor}">{html.escape(section.title)}</a></li>\n' for section in shown)
    body = "".join(_section(section) for section in shown)
    return _PAGE.format(
        title=html.escape(title),
        style=_STYLE,
        script=_SCRIPT,
        lead=_paragraphs(lead),
        contents=contents,
        body=body,
    )


def _section(section: Section) -> str:
    parts = [f'<section id="{section.anchor}">\n<h2>{html.escape(section.title)}</h2>\n', _paragraphs(section.text)]
    for sheet in section.sheets:
        if len(section.sheets) > 1:
            parts.append(f"<h3>{html.escape(sheet.title)}</h3>\n")
        parts += [_table(sheet), f'<p class="note">{html.escape(sheet.note)}</p>\n' if sheet.note else ""]
    if section.pictures:
        parts += ['<div class="figures">\n', *(_picture(picture) for picture in section.pictures), "</div>\n"]
    if section.items:
        items = "".join(f"<li><code>{html.escape(a)}</code>: {html.escape(b)}</li>\n" for a, b in section.items)
        parts.append(f"<ul>\n{items}</ul>\n")
    return "".join([*parts, "</section>\n"])


def _table(sheet: Sheet) -> str:
    """Return a table; a long one is closed, so that what follows is not far down."""
    table = as_html(sheet)
    if len(sheet.lines) <= LONG:
        return table
    return f"<details>\n<summary>{len(sheet.lines)} rows</summary>\n{table}</details>\n"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.svg.read_bytes()).decode()
    caption = html.escape(picture.caption)
    return (
        f'<figure{" class=broad" if picture.broad else ""}><div class="wide">'
        f'<img src="data:image/svg+xml;base64,{data}" alt="{caption}"></div>\n'
        f"<figcaption>{caption} <code>figures/{html.escape(picture.svg.name)}</code></figcaption></figure>\n"
    )


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>\n" for text in texts)


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --faint: #5a5a5a; --line: #d5d5d5; --band: #f4f6f8;
  --link: #00568a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181b; --faint: #a8a8a8; --line: #3a3d42;
  --band: #202328; --link: #7cc4f0; } }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
a { color: var(--link); } nav ul { columns: 12rem; padding-left: 1.2rem; } .note, figcaption { color: var(--faint);
  font-size: .875rem; } code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; border-bottom-width: 2px; } td { max-width: 22rem;
  overflow-wrap: break-word; } td.number { white-space: nowrap; }
tbody tr:nth-child(even) td { background: var(--band); } .number { text-align: right; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
.shared { margin: .4rem 0; font-size: .875rem; } summary { cursor: pointer; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.figures { display: flex; flex-wrap: wrap; gap: 1.2rem; } figure { margin: 0; min-width: 0;
  flex: 0 1 calc(50% - .6rem); } figure.broad { flex-basis: 100%; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
@media (max-width: 40rem) { body { padding: .8rem; } figure { flex-basis: 100%; } nav ul { font-size: .875rem; }
  .broad img { max-width: none; width: 42rem; } }
@media (prefers-color-scheme: dark) { img { filter: brightness(.87); } }
"""

_SCRIPT = """
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentNode, body = th.closest("table").tBodies[0], at = th.cellIndex;
    var down = th.getAttribute("aria-sort") === "ascending";
    var isNumber = th.classList.contains("number");
    function key(row) {
      var text = row.cells[at].textContent;
      if (!isNumber) { return text.toLowerCase(); }
      var value = parseFloat(text.replace(/^< /, ""));
      return isNaN(value) ? null : value;
    }
    var rows = Array.from(body.rows).map(function (row) { return [key(row), row]; });
    rows.sort(function (a, b) {
      if (a[0] === null || b[0] === null) { return (a[0] === null) - (b[0] === null); }
      return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (down ? -1 : 1);
    });
    rows.forEach(function (pair) { body.appendChild(pair[1]); });
    th.parentNode.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
});
"""

# The policy forbids every fetch, so that nothing could be loaded even if text were not escaped.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline';\
 script-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}</header>
<nav aria-label="Contents">
<ul>
{contents}</ul>
</nav>
<main>
{body}</main>
<script>{script}</script>
</body>
</html>
"""
