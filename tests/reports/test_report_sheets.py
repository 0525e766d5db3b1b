import csv
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from nas_lightning.reports.sheets import (
    Sheet,
    as_html,
    comma_separated,
    escape_latex,
    fold,
    latex,
    markdown,
    number,
    write_sheet,
)

BAD = '<script>alert("1")</script> a|b'
SHEET = Sheet("results", "Results", ["method", "n %"], [["darts_2nd", "97.00 ± 0.10"], [BAD, "–"]], ("method",))


class Text(HTMLParser):
    """Cells of tables, as a browser reads them."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and not data.isspace():
            self.cells[-1] += data


def test_html_says_what_the_cells_say():
    text = Text()
    text.feed(as_html(SHEET))
    assert text.cells == ["method", "n %", "darts_2nd", "97.00 ± 0.10", BAD, "–"]
    assert "script" not in text.tags


def test_markdown_keeps_its_columns():
    lines = markdown(SHEET).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert all(line.replace(r"\|", "").count("|") == 3 for line in lines)


def test_csv_holds_the_cells_and_no_formula():
    rows = list(csv.reader(comma_separated(SHEET).splitlines()))
    assert rows == [["method", "n %"], ["darts_2nd", "97.00 ± 0.10"], [BAD, "–"]]
    formulas = Sheet("x", "X", ["a", "b"], [["=1+1", "-0.25"], ["@sum", "+0.50"], ["-x", "-1e-05"]])
    rows = list(csv.reader(comma_separated(formulas).splitlines()))[1:]
    assert rows == [["'=1+1", "-0.25"], ["'@sum", "+0.50"], ["'-x", "-1e-05"]]


def test_latex_is_booktabs_with_escaped_cells():
    lines = latex(SHEET).splitlines()
    assert lines[1:] == [
        r"\begin{tabular}{lr}",
        r"  \toprule",
        r"  method & n \% \\",
        r"  \midrule",
        r"  darts\_2nd & 97.00 $\pm$ 0.10 \\",
        "  \\textless{}script\\textgreater{}alert(\\textquotedbl{}1\\textquotedbl{})\\textless{}/script\\textgreater{}"
        " a\\textbar{}b & -- \\\\",
        r"  \bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("#1 & {x}", r"\#1 \& \{x\}"),
        (r"\input{a}", r"\textbackslash{}input\{a\}"),
        ("a~b^c $x$", r"a\textasciitilde{}b\textasciicircum{}c \$x\$"),
        ("two\nlines\x00", "two lines\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_latex_escapes(text, printed):
    assert escape_latex(text) == printed


def test_a_narrow_table_has_its_shared_columns_in_the_caption():
    header = ["method", "space", "n", "best", "none", "test %", "data"]
    lines = [["darts", "s3", "2", "9", "–", "8", "a"], ["drnas", "s3", "2", "7", "–", "8", "b"]]
    sheet = Sheet("x", "X", header, lines, ["method", "space", "data"], lead=["method", "test %"])
    narrow, caption = fold(sheet)
    assert list(narrow.header) == ["method", "test %", "best", "data"]  # what leads is never folded
    assert [list(line) for line in narrow.lines] == [["darts", "8", "9", "a"], ["drnas", "8", "7", "b"]]
    assert caption == "The same in all rows: space s3 · n 2."
    assert (list(sheet.header), sheet.lines) == (header, lines)  # files have every column
    text = as_html(sheet)
    assert text.startswith('<p class="shared">The same in all rows: space s3 · n 2.</p>')
    assert text.count("<th ") == 4
    assert "s3" not in text[text.index("<table") :]


def test_of_one_row_only_words_are_folded():
    sheet = Sheet("x", "X", ["method", "space", "n", "gone"], [["darts", "s3", "2", "–"]], ["method", "space"])
    narrow, caption = fold(sheet)
    assert (list(narrow.header), caption) == (["n", "gone"], "Method darts · space s3.")
    leading, caption = fold(replace(sheet, lead=["method"]))
    assert (list(leading.header), caption) == (["method", "n", "gone"], "Space s3.")


def test_rows_that_are_all_equal_stay_a_table():
    sheet = Sheet("x", "X", ["n"], [["2"], ["2"]])
    narrow, caption = fold(sheet)
    assert (list(narrow.header), len(narrow.lines), caption) == (["n"], 2, "")


def test_numbers():
    assert [number(value) for value in (1.005, 2, float("nan"), None)] == ["1.00", "2.00", "–", "–"]


def test_files(tmp_path):
    assert [path.name for path in write_sheet(SHEET, tmp_path)] == ["results.md", "results.csv", "results.tex"]
    assert (tmp_path / "results.tex").read_text() == latex(SHEET)
