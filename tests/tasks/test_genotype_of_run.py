"""`task=evaluate genotype=RUN`: the run's space, method and parts, but for what the command itself says."""

from pathlib import Path

import pytest
import yaml

from commands import (
    _logging_as_found,  # noqa: F401 - a fixture
    run,
)
from nas_lightning.config.compose import checked
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.genotype import evaluation_config
from nas_lightning.tasks.run import run_task

FOUND = ["space.batch_norm_momentum=0.1", "search.arch.lr=0.3", "selector=random_genotype"]
"""What the searching command has set; the selector trains no supernet."""


@pytest.fixture
def found(tiny, tmp_path):
    """Words of an evaluation of a search by GDAS."""
    words = [word for word in tiny if word != "space=s3"] + ["space=nasbench1shot1_1", "evaluation=digits"]
    run_task(checked([*words, *FOUND, "method=gdas", "task=search"]), RunFolder(tmp_path / "found"))
    return [*words, "task=evaluate", "genotype=found"]


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(config, other):
    """Dotted keys below the sections of a run that differ from the run's."""
    sections = ("space", "method", "search", "relaxation", "hypergradient", "perturbation", "selector", "regularizer")
    one, two = (dict(flat({key: plain[key] for key in (*sections, "control")})) for plain in (config, other))
    return {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["method=gdas", "search.epochs=2"], {}),  # words of the search itself
        (["space.batch_norm_momentum=0.003"], {"space.batch_norm_momentum": 0.003}),  # as its default has it
        (["space.batch_norm_momentum=0.01"], {"space.batch_norm_momentum": 0.01}),
        (["search.batch_size=8", "++search.arch.lr=0.5"], {"search.batch_size": 8, "search.arch.lr": 0.5}),
        (["selector=magnitude"], {"selector._target_": "nas_lightning.selectors.Magnitude"}),
        (["+regularizer=op_noise"], {"regularizer.op_noise._target_": "nas_lightning.regularizers.Noise"}),
    ],
    ids=str,
)
def test_what_the_command_says_wins(found, words, changed):
    config = evaluation_config(checked([*found, *words])).to_dict()
    own = RunFolder("found").config()
    assert {key.split(".")[0] for key in differing(config, own)} == {key.split(".")[0] for key in changed}
    has = dict(flat(config))
    assert {key: has.get(key) for key in changed} == changed
    if not any("=" in word and "." not in word.partition("=")[0] for word in words):  # keys alone: nothing beside them
        assert differing(config, own) == set(changed)


def test_from_the_command_line_alone_and_in_a_sweep(found, capsys):
    said = ["space.batch_norm_momentum=0.01", "search.batch_size=8"]
    assert run([*found, *said, "evaluation.epochs=1", "hydra.run.dir=alone"], capsys)[0] == 0
    assert run([*found, *said, "evaluation.epochs=1", "seed=3,4", "sweep=two", "-m"], capsys)[0] == 0
    files = [Path("alone/config.yaml"), *Path("multirun/two").rglob("config.yaml")]
    kept = [yaml.safe_load(file.read_text()) for file in files if ".hydra" not in file.parts]
    assert len(kept) == 3
    for config in kept:
        assert config["space"]["batch_norm_momentum"] == 0.01
        assert (config["search"]["batch_size"], config["search"]["arch"]["lr"]) == (8, 0.3)
        assert config["method"] == "gdas"


def test_another_method_is_refused(found, capsys):
    code, _, err = run([*found, "method=pc_darts", "hydra.run.dir=judged"], capsys)
    assert code == 2
    assert "method=pc_darts: genotype=found was found by method=gdas" in err
    assert not Path("judged/config.yaml").exists()
