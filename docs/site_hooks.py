"""What the site needs beyond Markdown; called by mkdocs (`hooks` of mkdocs.yml).

- Navigation: the pages of `ORDER` come first, every other page follows by itself, folders as sections. A page with one
  heading has no table of contents, and its text takes that room.
- Formulas: LaTeX becomes MathML, which browsers show without a script.
- Figures open alone when clicked; numbers and their units stay on one line.
"""

import html
import re
from typing import Any, Literal

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ORDER = (
    *(
        "index.md",
        "quickstart.md",
        "own_images.md",
        "rethinking.md",
        "choosing.md",
        "usage.md",
        "methods.md",
        "methods",
        "results.md",
    ),
    *("spaces.md", "extend.md", "fidelity.md"),
)
"""Pages and folders as a newcomer reads them."""


def on_files(files: Any, config: Any) -> Any:
    """Make the navigation of the pages that there are."""
    pages = sorted(file.src_uri for file in files.documentation_pages())
    top = dict.fromkeys(page.partition("/")[0] for page in pages)
    names = [name for name in ORDER if name in top] + [name for name in top if name not in ORDER]
    config.nav = [_entry(name, pages) for name in names]
    return files


def _entry(name: str, pages: list[str]) -> str | dict[str, str] | dict[str, list[str]]:
    if name == "index.md":
        return {"Home": name}  # its heading is the name of the site
    return name if name.endswith(".md") else _section(name, pages)


def _section(folder: str, pages: list[str]) -> dict[str, list[str]]:
    title = {"methods": "Pages of the methods", "wandb": "Weights & Biases"}.get(folder, folder.capitalize())
    return {title: [page for page in pages if page.startswith(f"{folder}/")]}


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Finish the HTML of a page."""
    if not any(heading.children for heading in page.toc):
        page.meta.setdefault("hide", ["toc"])
    return unbroken(linked(with_formulas(content)))


def with_formulas(content: str) -> str:
    r"""Turn what arithmatex marks, `\(…\)` in a line and `\[…\]` by itself, into MathML."""
    marked = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
    return marked.sub(
        lambda found: (
            formula(html.unescape(found[2]), "inline")
            if found[1] == "span"
            else f'<div class="formula">{formula(html.unescape(found[2]), "block")}</div>'  # scrolls
        ),
        content,
    )


def linked(content: str) -> str:
    """Link each figure, a paragraph of its own, to its file."""
    return re.sub(r'<p>(<img [^>]*src="([^"]+)"[^>]*>)</p>', r'<p><a href="\2">\1</a></p>', content)


def unbroken(content: str) -> str:
    """Put no-break spaces into `90.0 ± 4.2 %`, outside of code blocks."""
    found = re.compile(r"<pre.*?</pre>|(?<=\d) (?=[±%])|(?<=±) (?=\d)", re.S)
    return found.sub(lambda part: "\N{NO-BREAK SPACE}" if part[0] == " " else part[0], content)


def formula(latex: str, display: Literal["inline", "block"]) -> str:
    """A formula in MathML.

    Raises:
        PluginError: It has a command that is not known; without this the reader would see its name.
    """
    mathml = convert(latex, display=display)
    unknown = re.search(r"\\[a-zA-Z]+", re.sub(r"<[^>]+>", " ", mathml))
    if unknown:
        raise PluginError(f"the formula {' '.join(latex.split())} has {unknown[0]}, which becomes no MathML")
    return mathml
