"""A run folder that an earlier version left, cut off after two of three epochs: the parts have other names there."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import nas_lightning as nl
from nas_lightning.config.aliases import ALIASES, LATER_KEYS
from nas_lightning.config.compose import as_dict
from nas_lightning.config.parts import target_of
from nas_lightning.config.schema import IGNORED_IN_COMPARISONS, NEUTRAL
from nas_lightning.reports.published import decisive
from nas_lightning.reports.runs import read_config
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.resolvers import member_name
from nas_lightning.tasks.identity import comparable_hash

BEFORE = Path(__file__).parent / "before"
HASH = "f52d393a"
"""`config_hash` as the earlier version wrote it."""


@pytest.fixture
def folder(tmp_path, images_file, monkeypatch):
    """A copy, beside images of its own; where they lie does not make it another run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(BEFORE, tmp_path / "run")
    config = yaml.safe_load((BEFORE / "config.yaml").read_text())
    config["data"]["path"] = str(images_file)
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return tmp_path / "run"


def test_it_is_resumed(folder):
    before = [json.loads(line) for line in (folder / "genotypes.jsonl").read_text().splitlines()]
    summary = nl.resume(folder)
    rows = [json.loads(line) for line in (folder / "genotypes.jsonl").read_text().splitlines()]
    assert rows[: len(before)] == before
    assert [row["epoch"] for row in rows] == [-1, 0, 1, 2]
    assert summary["search"]["epochs"] == 3
    assert summary["evaluation"]["recipe"] == "images"
    assert [row["phase"] for row in RunFolder(folder).read_metrics()] == ["search"] * 3 + ["evaluation"]


def test_it_names_parts_by_their_names_of_before():
    text = (BEFORE / "config.yaml").read_text()
    for name in ("AdaptiveRollback", "CurvatureTracking", "Retraining", "TensorBoard"):
        (before,) = (one for one in ALIASES if one.endswith(name))
        assert before in text


@pytest.mark.parametrize(("before", "now"), ALIASES.items())
def test_every_name_of_before_is_found(before, now):
    assert target_of("part", {"_target_": before}) is target_of("part", {"_target_": now})


def test_it_is_averaged_with_new_runs_and_found_by_its_sweep():
    """Both hashes are of the configuration, with the names of targets in it."""
    config = yaml.safe_load((BEFORE / "config.yaml").read_text())
    renamed = json.loads(json.dumps(config))
    for part in (renamed["evaluation"], renamed["control"]["adaptive_rollback"], renamed["callbacks"]["curvature"]):
        part["_target_"] = ALIASES[part["_target_"]]
    assert comparable_hash(config) == comparable_hash(renamed)
    assert member_name(config) == member_name(renamed)
    assert json.loads((BEFORE / "summary.json").read_text())["config_hash"] == HASH


def test_a_later_key_at_the_value_of_before_makes_no_other_run():
    """Older configurations lack it."""
    config = yaml.safe_load((BEFORE / "config.yaml").read_text())
    config["search"]["stages"] = [{"name": name, "epochs": 1, "overrides": {}} for name in "abc"]
    config["candidates"]["evaluation"] = dict(config["evaluation"])
    before = comparable_hash(config), member_name(config)
    for key, value in LATER_KEYS.items():
        assign(config, key, value)
    assert (comparable_hash(config), member_name(config)) == before
    for key in LATER_KEYS:
        changed = json.loads(json.dumps(config))
        assign(changed, key, "another")
        neutral = key.rpartition(".")[2] in NEUTRAL or key in IGNORED_IN_COMPARISONS
        assert (comparable_hash(changed) == before[0]) == neutral
        assert member_name(changed) != before[1]


@pytest.mark.parametrize(("value", "whole"), [(1.0, True), (None, True), (1, False), (2, False), (0.5, False)])
def test_one_batch_is_not_all_of_them(value, whole):
    config = yaml.safe_load((BEFORE / "config.yaml").read_text())
    before = comparable_hash(config)
    config["trainer"]["limit_train_batches"] = value
    assert (comparable_hash(config) == before) == whole


def assign(config, key, value):
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    for section in config if isinstance(config, list) else [config]:
        section[last] = value


def test_a_stage_that_is_not_fresh_makes_no_other_run():
    """Stages of earlier configurations lack the key; a fresh one is another search."""
    config = as_dict(nl.compose(["method=drnas_progressive", "data=digits"]))
    before = json.loads(json.dumps(config))
    config["search"]["stages"] = [stage | {"fresh": False} for stage in config["search"]["stages"]]
    assert comparable_hash(config) == comparable_hash(before)
    assert member_name(config) == member_name(before)
    assert decisive(config) == decisive(before)
    config["search"]["stages"][1]["fresh"] = True
    assert comparable_hash(config) != comparable_hash(before)
    assert member_name(config) != member_name(before)
    assert decisive(config) != decisive(before)


def test_reports_compare_it_by_the_current_names(folder):
    """Only the configuration says how a run was trained: former names would make it another training."""
    assert read_config(folder)["evaluation._target_"] == "nas_lightning.evaluation.Retraining"
