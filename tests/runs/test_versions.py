"""Provenance: versions of packages, and the commit with its mark for changed files."""

import platform
import subprocess
from importlib import metadata

import pytest
import torch

from nas_lightning.runs import versions


def test_versions_are_those_of_the_packages(monkeypatch):
    found = versions.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]

    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    assert versions.versions() == {"python": found["python"], **dict.fromkeys(list(found)[1:], "not installed")}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that takes the place of ours; the code asks from three folders below it."""
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "src/nas_lightning/runs/versions.py"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set while a hook of git runs the tests
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *own, *words], check=True, capture_output=True, text=True).stdout


def test_a_commit_is_dirty_where_tracked_files_differ(checkout):
    assert versions.git_commit() is None  # installed, not a checkout
    git(checkout, "init", "-q")
    assert versions.git_commit() is None  # no commit yet
    (checkout / "file").write_text("one")
    git(checkout, "add", "file")
    git(checkout, "commit", "-q", "-m", "One")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert versions.git_commit() == commit
    (checkout / "untracked").write_text("two")
    assert versions.git_commit() == commit
    (checkout / "file").write_text("two")
    assert versions.git_commit() == f"{commit}-dirty"


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    git(checkout, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert versions.git_commit() is None
