"""Every command that the pages and the headers of configurations show is composed and validated, not run.

What a reader has to fill in is read so:

- A word in capitals (FOLDER, PHOTOS, TABLE.csv, outputs/DATE/TIME) is a path or a name like any other; none is opened.
- A value that is one capital letter (`seed=S`) or the variable of a loop (`epoch=$epoch`) stands for a number.
- A word that is `…`, or whose value is (`space=…`), is left out.
- `--config-dir mine` is a folder with every file `mine/…` that a block of a page names, `trusted=[my_package]` the
  package that docs/extend.md makes, with the data module of docs/usage.md. `+callbacks=mine` is a file of this test.
- Commands that look at another run (`task=select`, `task=export`, …) are composed and their words are checked against
  what the task listens to; of `resume=FOLDER` only the further words are checked.
"""

import re
import sys
import tomllib
from collections import defaultdict
from functools import cache

import pytest

import nas_lightning as nl
from documents import PAGES, ROOT, blocks, commands, commands_in, shell_lines, write_files
from nas_lightning.cli.listing import listed
from nas_lightning.cli.main import parse
from nas_lightning.config import compose as composing
from nas_lightning.config.overriding import key_of
from nas_lightning.config.sections import MOVABLE
from nas_lightning.sweeps.grammar import params_of, sweep_members
from nas_lightning.sweeps.processes import check_ranks
from nas_lightning.sweeps.resolvers import register_resolvers
from nas_lightning.tasks.resume import _override_resumed

COMMANDS = commands()
MY_PACKAGE = """
from lightning_parts import Blobs

class MyDataModule(Blobs):
    def __init__(self, root: str) -> None:
        super().__init__()
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder in which the reader has done what the pages say."""
    folder = tmp_path_factory.mktemp("reader")
    for page in PAGES:
        write_files(page, folder)
    (folder / "my_package/__init__.py").write_text(MY_PACKAGE)
    (folder / "mine/callbacks").mkdir()
    (folder / "mine/callbacks/mine.yaml").write_text("# Mine.\n_target_: lightning.pytorch.callbacks.Timer\n")
    sys.path.insert(0, str(folder))
    yield folder / "mine"
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def filled_in(words):
    """The words with what a reader has to fill in."""
    left = [word for word in words if not re.fullmatch(r"(\S+=)?…", word)]
    return [re.sub(r"(?<==)[A-Z]$|\$\w+", "1", word) for word in left]


def each_value_once(members):
    """The members by which every value of a sweep is met, of up to hundreds: what differs by value is its validity.

    Of whole numbers the least and the greatest.
    """
    values = defaultdict(set)
    for word in {word for member in members for word in member}:
        key, _, value = word.partition("=")
        values[key].add(value)
    for key, found in values.items():
        if all(value.isdecimal() for value in found):
            values[key] = {min(found, key=int), max(found, key=int)}
    left = {f"{key}={value}" for key, found in values.items() for value in found}
    for member in members:
        if not left.isdisjoint(member):
            left.difference_update(member)
            yield member


def check(words, config_dir):
    """As the program's own main, up to where it would begin to work."""
    register_resolvers()
    arguments = parse(filled_in(words))
    resumed = [word for word in arguments.overrides if word.startswith("resume=")]
    if arguments.help:
        return
    if "task=list" in arguments.overrides:
        listed([word for word in arguments.overrides if word != "task=list"], arguments.config_dir and config_dir)
        return
    if resumed:
        assert not arguments.multirun
        config = composing.as_dict(nl.compose())
        for word in set(arguments.overrides) - set(resumed):
            if key_of(word) not in MOVABLE:  # a place, which a reader has
                _override_resumed(config, word)
        return
    composing.check_overrides_of_another_run(arguments.overrides)
    overrides = composing.rewrite(arguments.overrides)
    if arguments.config_dir is not None:
        assert arguments.config_dir == "mine"
        overrides.append(composing.search_path(config_dir))
    if not arguments.multirun:
        composing.compose(overrides)
        return
    settings = composing.hydra_settings(sweep_members(overrides)[0])
    for member in each_value_once(sweep_members([*params_of(settings), *overrides])):
        check_member(tuple(sorted(member)), settings.launcher)


@cache
def check_member(words, launcher):
    """Pages show the same sweep again and again."""
    check_ranks(composing.compose(list(words)).trainer, launcher)


def cases():
    """Each command once. Those of the headers run with the slow tests: each YAML is composed elsewhere, too."""
    for command in COMMANDS:
        marks = [pytest.mark.slow] if command.place.startswith("conf/") else []
        yield pytest.param(command, id=f"{command.place} {' '.join(command.words)}"[:90], marks=marks)


@pytest.mark.parametrize("command", list(cases()))
def test_every_command_is_one_of_the_program(command, mine):
    check(command.words, mine)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("python run.py search.epohcs=3", "did you mean search.epochs"),
        ("nas-lightning method=dart", "nearest: darts"),
        ("nas-lightning task=list method=dart", "nearest: darts"),
        ("python run.py -m seed=0,x", "seed=x"),
        ("python run.py task=export run=F space=s2", "space=s2: task=export uses"),
        ("python run.py resume=F seed=1", "seed=1: a resumed run keeps"),
        ("python run.py --config-dir mine experiment=large", "experiment=large: no such option"),
        ("python run.py --fast", "--fast: keys have no hyphens in front"),
    ],
)
def test_a_wrong_command_is_found(line, said, mine):
    (words,) = commands_in(line)
    with pytest.raises(nl.ConfigError, match=re.escape(said)):
        check(words, mine)


def test_the_pages_hold_commands():
    assert len(COMMANDS) > 80
    assert {command.place.split(":")[0] for command in COMMANDS} >= {"README.md", "docs/usage.md", "docs/quickstart.md"}


def other_commands():
    return [
        (f"{page.relative_to(ROOT)}:{block.line}", words)
        for page in PAGES
        for block in blocks(page)
        if block.language == "bash"
        for words in shell_lines(block.text)
    ]


def test_targets_modules_and_extras_exist():
    """`make TARGET`, `python -m benchmarks.NAME`, `python FILE` and `pip install 'nas-lightning[EXTRA]'`."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    seen = set()
    for place, words in other_commands():
        line = " ".join(words)
        if words[0] == "make":
            assert words[1] in targets, f"{place}: {line}"
        elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
            assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file(), f"{place}: {line}"
        elif words[0] == "python" and words[1].startswith("outputs/"):
            continue  # what a command above it has written
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), f"{place}: {line}"
        elif extra := re.search(r"nas-lightning\[([\w,]+)\]", line):
            assert set(extra[1].split(",")) <= set(extras), f"{place}: {line}"
        else:
            continue
        seen.add(words[0])
    assert seen >= {"make", "pip", "python"}
