"""The papers' experiments: every sweep composes at both scales, has the runs that its header says, and a smoke runs."""

import csv
import json
import re
import shlex
from functools import cache
from math import prod
from pathlib import Path

import pytest

import nas_lightning as nl
from cases import CONF
from commands import run
from nas_lightning.cli.main import parse
from nas_lightning.config.compose import as_dict, hydra_settings, options, rewrite
from nas_lightning.config.schema import PARTS
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.grammar import check_single, limited, params_of, sweep_choices, sweep_members
from nas_lightning.training.workbench import Workbench

EXPERIMENTS = sorted(name for name in options("experiment") if "/" in name)
SCALES = {
    "images": ("smoke", "Digits"),
    "text": ("smoke_text", "Grammar"),
    "stereo": ("smoke_stereo", "StereoScenes"),
    "points": ("smoke_points", "PointDigits"),
    "graphs": ("smoke_graphs", "GraphDigits"),
}
KINDS = {"robustdarts/figure16": "text", "robustdarts/table3": "stereo", "robustdarts/table4": "stereo"}
SMOKES = (  # of each paper the one with most parts
    "robustdarts/table5_rdarts",
    "sdarts/cifar10_pc",
    "noisydarts/noise",
    "darts_pt/nasbench201",
    "drnas/nasbench201_progressive",
    "robustdarts/figure16",
    "robustdarts/table4",
)


def text_of(name):
    return (CONF / "experiment" / f"{name}.yaml").read_text()


def header(name):
    return "\n".join(line for line in text_of(name).splitlines() if line.startswith("#"))


PARTS_OF = {  # another name, or a part, of a sweep: that sweep
    name: of.group(1) for name in EXPERIMENTS if (of := re.search(r"^defaults:\n  - (\w+/\w+)$", text_of(name), re.M))
}


@cache
def swept(*words):
    """What each key of an experiment is swept over; the command line's own values count more."""
    words = limited(rewrite(words)) if any("sweep_limit" in word for word in words) else words
    params = sweep_choices(params_of(hydra_settings([word for word in words if "," not in word])))
    return {**params, **{key: values for key, values in sweep_choices(words).items() if key in params}}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMOKES else pytest.mark.slow) for name in EXPERIMENTS]
)
def test_an_experiment_composes_at_both_scales_and_its_header_says_how_many_runs(name):
    """The last member of the sweep; of a part of another sweep it is that one's member, which is run once."""
    said = int(re.search(r"\. (\d+) runs?\b", header(name)).group(1))
    assert prod(map(len, swept(f"experiment={name}").values())) == said
    assert f"experiment={name}" in header(name)
    assert "task=report" in header(name)

    small, built_in = SCALES[KINDS.get(name, "images")]
    member = [values[-1] for values in swept(f"experiment={name}").values()]
    smoke = [word for word in member if not word.startswith(("data=", "seed="))]
    for data, words in (("published", member), ("smoke", [*smoke, f"scale={small}"])):
        config = nl.compose([f"experiment={name}", *words])
        if name in PARTS_OF:
            assert config == nl.compose([f"experiment={PARTS_OF[name]}", *words])
            continue
        bench = Workbench(as_dict(config), RunFolder("unused"))
        for part in PARTS:
            if part != "data":
                bench.part(part)
        built = bench.config.data["_target_"] == f"nas_lightning.data.{built_in}"
        assert built == (data == "smoke" or KINDS.get(name) == "stereo")  # whose published pairs are to be named


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_commands_of_a_header_compose(name):
    lines = re.findall(r"python run\.py (.*)", header(name))
    assert lines
    default = nl.compose([f"experiment={name}"]).task
    for line in lines:
        arguments = parse(shlex.split(line, comments=True))
        words = rewrite(arguments.overrides)
        if arguments.multirun:
            words = sweep_members([*params_of(hydra_settings(sweep_members(words)[0])), *words])[0]
        else:
            check_single(words)
        config = nl.compose(words)
        assert config.task == next((word.removeprefix("task=") for word in words if word.startswith("task=")), default)


PUBLISHED_RETRAINING = {
    # paper, space, data: channels, cells (RobustDARTS, appendix B.1)
    ("robustdarts", "s1", "cifar10"): (36, 20),
    ("robustdarts", "s2", "cifar10"): (16, 20),
    ("robustdarts", "s4", "cifar10"): (16, 20),
    ("robustdarts", "s2", "svhn"): (16, 8),
    ("robustdarts_l2", "s1", "cifar10"): (36, 20),
    ("robustdarts_l2", "s3", "cifar10"): (16, 8),
}


@pytest.mark.parametrize(("paper", "space", "data"), PUBLISHED_RETRAINING)
def test_a_papers_protocol_follows_space_and_data(paper, space, data):
    words = [f"space={space}", f"data={data}"]
    found = nl.compose([f"paper={paper}", *words]).evaluation
    assert (found.init_channels, found.layers) == PUBLISHED_RETRAINING[paper, space, data]
    assert found == nl.compose([*words, f"evaluation={found.name}"]).evaluation  # no copy that has drifted


def test_part_of_a_sweep_is_cut_to_its_first_values():
    words = ("experiment=robustdarts/table1", "sweep_limit={space: 2, seed: 1}")
    assert {key: len(values) for key, values in swept(*words).items()} == {
        "method": 2, "space": 2, "data": 3, "seed": 1,
    }  # fmt: skip
    assert len(swept(*words, "space=s1,s2,s3")["space"]) == 3  # the command line is never cut
    assert limited(["seed=1,2"]) == ["seed=1,2"]
    with pytest.raises(nl.ConfigError, match=r"sweep_limit\.sed: this key is not swept; allowed: method, space"):
        limited(rewrite(["experiment=robustdarts/table1", "sweep_limit.sed=1"]))


def test_a_sweep_is_not_taken_for_a_single_run(capsys):
    """Without -m it would be what its keys are by default; one member is what they all say."""
    words = ["experiment=robustdarts/table1", "scale=smoke"]
    code, _, err = run(words, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "is a sweep over method, space, data, seed; add -m" in err
    assert "one run: method=darts_2nd space=s1" in err
    check_single([*words, "method=darts_es", "space=s2"])
    check_single(["experiment=drnas/imagenet"])


@pytest.mark.parametrize(
    "words", ["experiment=drnas/cifar10,robustdarts/figure1", "experiment=drnas/cifar10 scale=smoke,published"]
)
def test_sweeps_are_not_swept_over(words, capsys):
    """Hydra would give all of them the keys and the folder of the first."""
    for command in (["-m", *words.split()], ["task=plan", *words.split()]):
        code, _, err = run(command, capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert "are sweeps of their own; give one at a time" in err


def test_smoke_keeps_every_method_and_strength():
    words = limited(["experiment=robustdarts/figure5", "scale=smoke"])
    assert words[2:] == ["space=s1"]
    found = swept("experiment=robustdarts/figure5", "scale=smoke", "space=s1")
    assert {key: len(values) for key, values in found.items()} == {
        "method": 2, "search.weights.weight_decay": 5, "space": 1, "data": 1, "seed": 1,
    }  # fmt: skip
    assert hydra_settings(words).sweep.dir == "multirun/smoke/robustdarts_figure5"


@pytest.mark.parametrize("method", ["pc_darts", "pc_sdarts_rs", "drnas_progressive"])
@pytest.mark.parametrize("data", ["digits", "image_folder", "imagenet"])
def test_the_search_on_a_part_of_imagenet_has_a_smoke(method, data):
    """Its warm-up of 35 epochs is longer than a smoke."""
    config = nl.compose(["experiment=imagenet_search", f"method={method}", "scale=smoke", f"data={data}"])
    assert (config.search.epochs, config.data["search_fractions"]) == (10, [0.1, 0.025])
    assert 0 < config.search.arch.warmup_epochs < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOKES)
def test_a_smoke_runs_from_search_to_report(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small, built_in = SCALES[KINDS.get(name, "images")]
    code, _, err = run(["-m", f"experiment={name}", f"scale={small}", "trainer=cpu"], capsys)
    assert (code, err) == (0, "")
    (folder,) = Path("multirun/smoke").iterdir()
    rows = list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))
    assert {row["status"] for row in rows} == {"finished"}
    for row in rows:
        summary = json.loads((folder / row["member"] / "summary.json").read_text())
        assert summary["data"] == built_in.lower()
    code, out, _ = run(["task=report", f"runs='{folder}/**'"], capsys)
    assert code == 0
    assert rows[0]["member"].split("-")[0] in out
