"""`task=list`: every group, `task=list GROUP`: one group, `task=list GROUP=OPTION`: one part."""

from collections.abc import Sequence

from nas_lightning.config.options import Option, Options, list_options
from nas_lightning.core.terminal import screen, text_width

MORE = (
    ("python run.py task=list GROUP", "one group"),
    ("python run.py task=list GROUP=OPTION", "one part: its keys, their defaults and meanings, sources, examples"),
    ("python run.py --help", "examples"),
)
"""Where to look next, after all groups."""


def listed(words: Sequence[str], config_dir: str | None = None) -> list[Options | Option]:
    """Return what the words of the command choose: groups, and options; without words all groups.

    Args:
        words: `GROUP` or `GROUP=OPTION[,OPTION]` each.
        config_dir: The user's folder.

    Raises:
        ConfigError: There is no such group or option.
    """
    groups = list_options(config_dir=config_dir)
    if not words:
        return list(groups.values())
    found: list[Options | Option] = []
    for word in words:
        group, mark, names = word.lstrip("+").partition("=")
        options = groups[group]
        found += [options[name] for name in names.split(",")] if mark else [options]
    return found


def show_list(words: Sequence[str] = (), config_dir: str | None = None) -> None:
    """Print groups and options as text; lines that can be copied are never broken.

    Raises:
        ConfigError: As `listed`.
    """
    console, width = screen(), text_width()
    texts = [entry.text(width) for entry in listed(words, config_dir)]
    if not words:
        texts.append("\n".join(["more", *(f"  {command}  # {what}" for command, what in MORE)]))
    for number, text in enumerate(texts):
        for line in (f"\n{text}" if number else text).split("\n"):
            # Titles stand at the left; soft_wrap, because rich would break lines, in a pipe at 80 columns.
            style = "bold" if line[:1].strip() else None
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
