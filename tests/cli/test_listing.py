"""task=list as a user meets it: all groups, one group, one part; mistakes in one line; at any width."""

import subprocess
import sys

import pytest

from commands import _logging_as_found, run  # noqa: F401 - a fixture
from nas_lightning.config.options import list_options


def test_all_groups_methods_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no title takes two lines
    code, out, err = run(["task=list"], capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("method: ")
    assert lines[1].split()[0] == "bananas"
    titles = [line.partition(":")[0] for line in lines if line[:1].strip()]
    assert titles == [*list_options(), "more"]


@pytest.mark.parametrize("columns", ["40", "80", "200", None])
@pytest.mark.parametrize("words", [[], ["method"], ["method=darts_pt"], ["experiment"]])
def test_names_and_commands_are_whole_at_any_width(words, columns, capsys, monkeypatch):
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = run(["task=list", *words], capsys)
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    if words == ["method=darts_pt"]:
        assert "python run.py method=darts_pt space=darts_nonone data=cifar10" in lines
        assert any(line.split()[0] == "selector.tune_epochs=5" for line in lines if line)
    else:
        names = list_options(words[0]) if words else [name for group in list_options().values() for name in group]
        begins = {line.split()[0] for line in lines if line}
        assert set(names) <= begins
    if columns == "40":
        free = [line for line in lines if " " in line and not line.startswith(("python ", "paper ", "code "))]
        assert max(map(len, free)) <= 40


def test_one_part_is_described_whole(capsys):
    code, out, _ = run(["task=list", "method=darts_pt"], capsys)
    assert code == 0
    for text in ("method=darts_pt", "https://arxiv.org/abs/2108.04392", "https://github.com/ruocwang/darts-pt"):
        assert text in out
    assert "selector=perturbation" in out


@pytest.mark.parametrize(
    "words",
    [["selector=magnitude,likeliest"], ["selector=magnitude", "selector=likeliest"], ["+regularizer=cutout", "scale"]],
)
def test_several_at_once(words, capsys):
    code, out, _ = run([*words, "task=list"], capsys)
    assert code == 0
    titles = [line for line in out.splitlines() if line[:1].strip()]
    assert titles[0] in ("selector=magnitude", "+regularizer=cutout")
    assert "\n\n" in out
    assert "selector=likeliest" in titles or any(title.startswith("scale: ") for title in titles)


@pytest.mark.parametrize(
    ("words", "begins", "has"),
    [
        (["metod"], "metod: no such group; nearest: method;", "groups: method, space"),
        (["darts_pt"], "darts_pt: no such group; nearest: method=darts_pt", "groups: "),
        (["method=dart"], "method=dart: no such option; nearest: darts", "allowed: "),
        (["seed=1"], "seed: no such group;", "groups: "),
        (["method=darts,dart"], "method=dart: no such option;", "allowed: "),
    ],
)
def test_mistakes_are_one_line(words, begins, has, capsys):
    code, out, err = run(["task=list", *words], capsys)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"nas-lightning: {begins}")
    assert has in line


def test_a_task_is_a_group_like_any_other(capsys):
    assert "task=plan" in run(["task=list", "task=plan"], capsys)[1].splitlines()


@pytest.mark.parametrize("words", [["task=list"], ["task=list", "method=darts_pt"]])
def test_it_does_not_wait_for_torch(words):
    code = f"import sys, nas_lightning.cli.main as app; app.main({words}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
