"""The sweep file of docs/wandb says what the program understands."""

import itertools
from pathlib import Path

import yaml

import nas_lightning as nl

DOCS = Path(__file__).parents[1] / "docs/wandb"


def test_the_sweep_drives_run_py():
    """The command that W&B's agent makes of each combination is a valid one."""
    sweep = yaml.safe_load((DOCS / "wandb_sweep.yaml").read_text())
    assert (DOCS.parents[1] / sweep["program"]).is_file()
    values = {name: given.get("values", [given.get("value")]) for name, given in sweep["parameters"].items()}
    fixed = [word for word in sweep["command"] if not word.startswith("${")]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    assert sweep["metric"]["name"].startswith("search/")  # the test images choose nothing
    for combination in itertools.islice(itertools.product(*values.values()), 0, None, 4):
        words = [f"{name}={value}" for name, value in zip(values, combination, strict=True)]
        assert "wandb" in nl.compose([*fixed, *words]).logger
