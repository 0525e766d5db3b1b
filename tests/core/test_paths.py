"""Texts of a user as paths."""

import os
import re

import pytest

from nas_lightning.core.paths import exists, is_directory, is_file, lfs_pointer, path_of, shown

NO_PATHS = [
    "",
    "y" * 300,
    "a/" * 3000,
    "null\0byte",
    "~nobody-of-that-name/x",
    "Genotype(normal=[('a', 0)])",
    "ü\udce4",
]


@pytest.mark.parametrize("text", NO_PATHS)
def test_no_text_is_a_fault(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for ask in (exists, is_file, is_directory):
        assert ask(path_of(text) if text else text) is False


def test_what_is_there_is_found(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    assert [ask(file) for ask in (exists, is_file, is_directory)] == [True, True, False]
    assert [ask(str(tmp_path)) for ask in (exists, is_file, is_directory)] == [True, False, True]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert is_file(path_of("~/file"))
    assert path_of("a~b") == path_of("./a~b")


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert not exists("anything")
    os.chdir(tmp_path)


def test_messages_shorten_their_middle():
    assert shown("short") == "short"
    assert shown("a\n b") == "a b"
    long = shown("x" * 200 + "end")
    assert len(long) <= 80
    assert re.fullmatch("x+…x+end", long)


def test_pointers_of_git_lfs():
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    assert "git lfs pull" in lfs_pointer(text)
    assert lfs_pointer(text.encode()) == lfs_pointer(text)
    assert lfs_pointer("") == lfs_pointer(b"\x93NUMPY") == lfs_pointer("version 2") == ""
