"""Commands in processes of their own, and the commands that their last lines advise."""

import re
import shlex
import subprocess
from dataclasses import dataclass

from killed import PROGRAM, environment


@dataclass
class Ended:
    code: int
    line: str
    err: str


def command(words, cwd, **more):
    """Run the program; the line is the last of stderr."""
    found = subprocess.run([*PROGRAM, *words], cwd=cwd, env=environment(), capture_output=True, text=True, **more)
    lines = found.stderr.strip().splitlines() or [""]
    return Ended(found.returncode, lines[-1], found.stderr)


def advised(line, pattern=r"continue (?:it )?with (?:[^:]*: )?(.*)"):
    """Return the words of the command that a line advises, as a shell would split them: up to what is no override."""
    text = re.search(pattern, line).group(1)
    words = []
    for word in shlex.split(re.split(r", or | or choose ", text)[0]):
        if "=" not in word:
            break
        words.append(word.rstrip(","))
    return words


OVERRIDE = re.compile(r"(?<![\w=.])(?:[~+]*[a-z_][\w.@/]*=(?:\[[^\]]*\]|[^\s,;()]+)|~[a-z_][\w.]*)")


def alternatives(line):
    """Return the words of each alternative that the end of a refusal advises; one without words gives none.

    >>> alternatives("a.b=3: must be odd; use a.b=5 c=[1,2], or ~a, or more epochs")
    [['a.b=5', 'c=[1,2]'], ['~a']]
    """
    last = line.split("; ")[-1]
    found = [OVERRIDE.findall(part) for part in re.split(r",? or |, and ", last)]
    return [words for words in found if words]
