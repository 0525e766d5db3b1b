"""Texts that a user pastes, as values of keys that name a file or folder: exit code 2, one line, the key, a remedy."""

import os

import numpy as np
import pytest

from commands import _logging_as_found, run  # noqa: F401 - a fixture

LONG = "w" * 300
KEYS = {
    "genotype": (["task=evaluate", "genotype={}"], "genotype="),
    "folder of photos": (["data=image_folder", "data.path={}"], "data.path="),
    "arrays": (["data=arrays", "data.path={}"], "data.path="),
    "ImageNet": (["data=imagenet", "data.root={}"], "data.root="),
    "downloaded": (["data=cifar10", "data.root={}"], "data.root="),
    "division": (["data.split_file={}", "data=cifar10"], "data."),
    "table": (["evaluation=tabular", "evaluation.path={}", "space=nasbench201"], "evaluation.path="),
    "exported run": (["task=export", "run={}"], "run="),
    "selected run": (["task=select", "run={}"], "run="),
    "analysed run": (["task=analyse", "analysis=spectrum", "run={}"], "run="),
    "landscape": (["task=landscape", "run={}"], "run="),
    "photos to label": (["task=predict", "run=.", "images={}"], "images="),
    "report": (["task=report", "runs={}"], "runs="),
    "resumed run": (["resume={}"], "resume="),
    "source": (["task=convert", "convert=runs", "convert.source={}", "convert.target=x.csv"], "convert.source="),
    "target": (["task=convert", "convert=runs", "convert.source=.", "convert.target={}.csv"], "convert."),
    "folder of the run": (["hydra.run.dir={}"], "hydra.run.dir="),
    "folder of the sweep": (["-m", "seed=0,1", "sweep={}"], "sweep="),
    "own configurations": (["--config-dir", "{}"], "--config-dir="),
}
PASTED = {
    "300 characters": LONG,
    "a path of 5,000": "folder/" * 715,
    "no user": "~nobody-of-that-name/photos",
    "a sentence": "it's the best = of (all) #3 & more",
}


# Every key with one text, and every text with five keys or more; the other pairs are slow.
PAIRS = [
    pytest.param(key, pasted, marks=[] if (row - column) % len(PASTED) == 0 else pytest.mark.slow)
    for row, key in enumerate(KEYS)
    for column, pasted in enumerate(PASTED)
]


@pytest.mark.parametrize(("key", "pasted"), PAIRS)
def test_no_text_is_a_fault(key, pasted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, name = KEYS[key]
    if key in ("folder of the run", "folder of the sweep") and pasted not in ("300 characters",):
        pytest.skip("such folders can be made, or are refused by their pattern")
    code, _, err = run([word.replace("{}", PASTED[pasted]) for word in words], capsys)
    lines = err.strip().splitlines()
    assert (code, len(lines)) == (2, 1), err
    assert name in lines[0]
    assert "Error" not in lines[0]


def test_a_working_folder_that_is_gone(tmp_path, capsys, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["--help"], ["task=list"], ["seed=1"], ["resume=x"]):
        code, _, err = run(words, capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert "the working folder is gone" in err
    os.chdir(tmp_path)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1024\n"


def test_pointers_of_git_lfs_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos.npz", "cell.json", "table.csv"):
        (tmp_path / name).write_text(POINTER)
    for words in (
        ["data=arrays", "data.path=photos.npz"],
        ["task=evaluate", "genotype=cell.json"],
        ["evaluation=tabular", "evaluation.path=table.csv", "space=nasbench201"],
    ):
        code, _, err = run(words, capsys)
        assert (code, err.count("\n")) == (2, 1), err
        assert "git lfs pull" in err


def test_photos_that_are_pointers(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "photos" / name / f"{number}.png").write_text(POINTER)
    code, _, err = run(["data=image_folder", "data.path=photos"], capsys)
    assert (code, err.count("\n")) == (2, 1), err
    assert "git lfs pull" in err


@pytest.mark.parametrize("name", ["photos=2024", "größe", "a#b & c", "it's", "[1] (2)", "2024", "true", "1e3", "null"])
def test_files_of_any_name_are_found_as_typed(name, tmp_path, capsys, monkeypatch):
    """The file exists: the message is about its content."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "found.npz", other=np.zeros(3))
    (tmp_path / "found.npz").rename(tmp_path / name)
    code, _, err = run(["data=arrays", f"data.path={name}"], capsys)
    assert (code, err.count("\n")) == (2, 1), err
    if name in ("2024", "true", "1e3", "null"):
        assert "data.path" in err
    else:
        assert "lacks x_train" in err


FLAGS = {
    ("--search.epochs=3", "--seed=1"): "--search.epochs=3: keys have no hyphens in front, write search.epochs=3 (",
    ("--seed", "1"): "--seed: keys have no hyphens in front, write seed=VALUE (",
    ("-seed=1",): "-seed=1: keys have no hyphens in front, write seed=1 (",
    ("--method='darts'",): "write method='darts' (",
    ("--confg-dir", "x"): "--confg-dir: unknown, did you mean --config-dir?",
    ("--helpp",): "did you mean --help?",
}


@pytest.mark.parametrize("words", FLAGS)
def test_words_with_hyphens(words, capsys):
    code, _, err = run([*words], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert FLAGS[words] in err
    if "hyphens" in err:
        assert "${args_no_hyphens}" in err
