"""Provenance of a run: versions of packages and the commit of the checkout."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect results, by name."""
    packages = ("nas-lightning", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str | None:
    """Return the commit that the code runs from, with `-dirty` if tracked files differ; None outside a checkout."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():  # installed: a repository further up is not ours
        return None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changes else head or None
