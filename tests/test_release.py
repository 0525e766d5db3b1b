"""Files that only a release uses say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def dockerfile():
    return (ROOT / "Dockerfile").read_text()


def test_the_image_holds_a_supported_python_and_known_extras(dockerfile):
    version = re.search(r"^FROM python:([\d.]+)", dockerfile, re.M).group(1)
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    extras = re.search(r"^ARG EXTRAS=(\S+)", dockerfile, re.M).group(1).split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert re.search(r'^ENTRYPOINT \["(\S+)"\]', dockerfile, re.M).group(1) in PROJECT["scripts"]


def test_what_the_image_copies_exists(dockerfile):
    for line in re.findall(r"^COPY (.+)", dockerfile, re.M):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source in (*build["packages"], *build["force-include"], PROJECT["readme"], *PROJECT["license-files"]):
        assert re.search(rf"^COPY .*{re.escape(source.split('/')[0])}", dockerfile, re.M)


def test_the_release_runs_what_there_is():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    words = "\n".join(step.get("run", "") for step in steps)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make (\S+)", words)) <= set(targets)
    assert all(name in PROJECT["scripts"] for name in re.findall(r"bin/(nas\S+)", words))
    python = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


def test_pull_requests_are_checked_on_two_pythons():
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yaml").read_text())
    assert "pull_request" in workflow[True]  # YAML reads the key `on` as true
    job = workflow["jobs"]["check"]
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons[0] == PROJECT["requires-python"].removeprefix(">=")
    assert len(set(pythons)) == 2
    assert all(f"Programming Language :: Python :: {python}" in PROJECT["classifiers"] for python in pythons)
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make lint", "make types", "make test"]
