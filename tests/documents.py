"""The project's Markdown as tests read it: blocks of code, files that they name, commands, links."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
"""Every Markdown file of the project."""
SMALLER = (
    *("search.epochs=1", "search.layers=3", "search.init_channels=4", "evaluation.epochs=1", "evaluation.layers=3"),
    *("trainer=cpu", "trainer.limit_train_batches=2", "~callbacks.curvature"),
)
"""Overrides that shorten the searches and retrainings that a page shows."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: As given after the fence.
        text: What is between the fences.
        line: Number of its first line in the page.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that the first line names: a comment that is only a relative path, `# mine/data/mine.yaml`."""
        named = re.match(r"# ([\w./-]+\.(?:py|yaml))\n", self.text)
        return named.group(1) if named else None

    @property
    def content(self) -> str:
        """The text without the line that names the file."""
        return self.text.partition("\n")[2] if self.file else self.text


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """All fenced blocks of a page."""
    text = page.read_text()
    fences = re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.M | re.S)
    return tuple(Block(found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in fences)


def prose(page: Path) -> str:
    """A page without its blocks of code; lines stay where they are."""
    blank = re.compile(r"^```.*?^```$", re.M | re.S)
    return blank.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())


def write_files(page: Path, folder: Path) -> list[str]:
    """Write every block that names a file into a folder; returns their names.

    Raises:
        AssertionError: A file is named twice.
    """
    written: list[str] = []
    for block in blocks(page):
        if block.file:
            assert block.file not in written, f"{page.name}:{block.line}: {block.file} is there already"
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.content)
            written.append(block.file)
    return written


def shell_lines(text: str) -> list[list[str]]:
    """The words of each command of a block of bash; comments are left out."""
    joined = text.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


@dataclass(frozen=True)
class Command:
    """A command of the program that a page or a configuration shows.

    Attributes:
        place: Where it stands, page:line.
        words: What comes after `run.py` or `nas-lightning`, without shell quotes and comments.
    """

    place: str
    words: tuple[str, ...]


def commands_in(text: str) -> list[tuple[str, ...]]:
    """The words after `run.py` or `nas-lightning` of each line, and those of `make search ARGS="…"`.

    >>> commands_in("srun python run.py -m seed=0,1  # a sweep")
    [('-m', 'seed=0,1')]
    >>> commands_in('make search ARGS="method=darts seed=1"')
    [('method=darts', 'seed=1')]
    """
    found = []
    for words in shell_lines(text):
        start = next((index for index, word in enumerate(words) if word in ("run.py", "nas-lightning")), None)
        if start is not None:
            found.append(tuple(words[start + 1 :]))
        elif words[:2] == ["make", "search"]:
            arguments = [word.removeprefix("ARGS=") for word in words[2:] if word.startswith("ARGS=")]
            found.append(tuple(shlex.split(" ".join(arguments))))
    return found


def commands() -> list[Command]:
    """Every command of the pages and of the headers of configurations, each once.

    In a page these are the lines of bash blocks, and what stands between single backquotes and begins with
    `python run.py` or `nas-lightning`, also over the end of a line; in a YAML the lines `# python run.py …` or
    `# nas-lightning …`.
    """
    found: list[Command] = []
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for block in blocks(page):
            if block.language == "bash":
                found += [Command(f"{name}:{block.line}", words) for words in commands_in(block.text)]
        text = prose(page)
        for span in re.finditer(r"`((?:python run\.py|nas-lightning) [^`]+)`", text):
            line = text.count("\n", 0, span.start()) + 1
            found += [Command(f"{name}:{line}", words) for words in commands_in(" ".join(span[1].split()))]
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = re.findall(r"^# ((?:python run\.py|nas-lightning) .*)", file.read_text(), re.M)
        place = file.relative_to(ROOT).as_posix()
        found += [Command(place, words) for line in lines for words in commands_in(line)]
    return list({command.words: command for command in reversed(found)}.values())[::-1]
