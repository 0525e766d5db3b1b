"""Whole runs that search on a part of a folder of photos: `split.csv`, a resume, and a run on the list of another."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.split_lists import COLUMNS, read_list
from nas_lightning.data import folders
from nas_lightning.runs import tables
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import search_data
from nas_lightning.tasks import phases
from nas_lightning.tasks.identity import comparable_hash
from nas_lightning.tasks.images import file_hashes
from nas_lightning.training.places import places_of
from nas_lightning.training.workbench import Workbench
from whole_runs import cut_off_and_resumed_equals_whole, outcome, run

CLASSES, EACH = ("ant", "bee", "cow"), 20
SIZES = [
    *("search.epochs=2", "search.batch_size=8", "search.init_channels=4", "search.layers=3"),
    *("evaluation.epochs=1", "evaluation.batch_size=16", "evaluation.init_channels=4", "evaluation.layers=3"),
    *("evaluation.auxiliary=0", "data.image_size=32", "data.num_workers=0"),
    *("search.arch.warmup_epochs=1", "search.weights.warmup_epochs=1", "evaluation.warmup_epochs=0"),
    *("data.search_fractions=[0.5,0.25]", "space.num_nodes=2", "trainer=cpu", "~callbacks.curvature"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """JPEG photos of noise around a colour of their class, 20 of each to train on and 3 to test on."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, each in (("train", EACH), ("val", 3)):
        for number, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for i in range(each):
                pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., number] += 120
                Image.fromarray(pixels).save(root / part / name / f"{i:02d}.JPEG")
    return root


@pytest.fixture
def words(photos):
    return ["experiment=imagenet_search", f"data.root={photos}", *SIZES]


@pytest.fixture
def looked_at(monkeypatch):
    """Photos that are read during searches, and during retrainings."""
    found: dict[str, set[str]] = {"search": set(), "evaluation": set()}
    now = []
    read, search, evaluate = folders.read_upright, phases.run_search, phases._evaluate

    def reading(path, *args, **kwargs):
        for phase in now:
            found[phase].add(path)
        return read(path, *args, **kwargs)

    def within(phase, call):
        def called(*args):
            now.append(phase)
            try:
                return call(*args)
            finally:
                now.remove(phase)

        return called

    monkeypatch.setattr(folders, "read_upright", reading)
    monkeypatch.setattr(phases, "run_search", within("search", search))
    monkeypatch.setattr(phases, "_evaluate", within("evaluation", evaluate))
    return found


def test_the_search_looks_at_the_listed_photos_only_and_the_retraining_at_all(words, photos, tmp_path, looked_at):
    """The published experiment with the published stem, scaled down; half of the channels are mixed."""
    config = nl.compose(words)
    assert (config.search.stem, config.regularizer.partial_channels.divisor) == ("imagenet", 2)
    run(words, tmp_path / "one")
    rows = read_list(tmp_path / "one/split.csv")
    assert {part: sum(row.part == part for row in rows) for part in ("train", "arch", "val")} == {
        "train": 30,
        "arch": 15,
        "val": 0,
    }
    for part, each in (("train", 10), ("arch", 5)):
        assert [sum((row.part, row.label) == (part, name) for row in rows) for name in CLASSES] == [each] * 3
    assert looked_at["search"] == {str(photos / row.image) for row in rows}
    assert looked_at["evaluation"] == {str(path) for path in photos.rglob("*.JPEG")}
    summary = json.loads((tmp_path / "one/summary.json").read_text())
    assert summary["search"]["images"] == 2 * 30 + 4 * 8  # the architecture learns in the second epoch only
    assert summary["genotype"]["space"] == "darts"


def test_a_run_on_the_list_of_another_is_that_run(words, tmp_path):
    """Of another draw: the list wins over the keys of the experiment."""
    run([*words, "data.search_seed=5", "task=search"], tmp_path / "one")
    given = tmp_path / "moved list.csv"
    shutil.copy(tmp_path / "one/split.csv", given)
    run([*words, f"data.search_split={given}", "task=search"], tmp_path / "two")
    assert (tmp_path / "two/split.csv").read_bytes() == given.read_bytes()
    found = [outcome(tmp_path / name) for name in ("one", "two")]
    for one in found:
        del one["summary"]["config_hash"]  # their keys differ
    assert found[0] == found[1]
    assert search_data(Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "three"))).chosen() != read_list(
        given
    )


def test_a_list_with_a_missing_photo_is_refused_before_anything_is_written(words, tmp_path):
    run([*words, "task=search"], tmp_path / "one")
    text = (tmp_path / "one/split.csv").read_text()
    (tmp_path / "list.csv").write_text(text.replace(".JPEG", ".PNG", 1))
    with pytest.raises(ConfigError, match=r"data\.search_split=.*list\.csv: 1 of 45 images are not among") as caught:
        run([*words, f"data.search_split={tmp_path / 'list.csv'}"], tmp_path / "two")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "two").exists()


def test_draws_of_each_seed_are_averaged(words, tmp_path):
    """The documented override: other images for each seed, one group in a report."""
    for seed in (1, 2):
        run([*words, "data.search_seed='${seed}'", f"seed={seed}", "task=search"], tmp_path / str(seed))
    assert read_list(tmp_path / "1/split.csv") != read_list(tmp_path / "2/split.csv")
    hashes = [json.loads((tmp_path / f"{seed}/summary.json").read_text())["config_hash"] for seed in (1, 2)]
    assert hashes[0] == hashes[1]


def test_lists_are_compared_by_their_content(words, tmp_path):
    lists = [tmp_path / f"{name}.csv" for name in ("one", "moved", "other")]
    bench = Workbench(as_dict(nl.compose(words)), RunFolder(tmp_path / "drawn"))
    rows = search_data(bench).chosen()
    for path, listed in zip(lists, (rows, rows, rows[1:]), strict=True):
        tables.write(path, [row._asdict() for row in listed], COLUMNS)
    configs = [as_dict(nl.compose([*words, f"data.search_split={path}"])) for path in lists]
    found = [comparable_hash(config, file_hashes(places_of(config, {}))) for config in configs]
    assert found[0] == found[1] != found[2]
    assert comparable_hash(as_dict(nl.compose(words))) not in found


@pytest.mark.slow
def test_a_resume_goes_on_with_the_listed_photos(words, tmp_path):
    cut_off_and_resumed_equals_whole([*words, "task=search"], "search", 0, tmp_path)
    assert (tmp_path / "cut/split.csv").read_bytes() == (tmp_path / "whole/split.csv").read_bytes()


def test_a_resume_with_other_photos_is_refused(words, photos, tmp_path):
    """A photo was renamed: classes, numbers and levels are the same, so that the fingerprint notices nothing."""
    shutil.copytree(photos, tmp_path / "photos")
    words = [word.replace(str(photos), str(tmp_path / "photos")) for word in words]
    run([*words, "task=search"], tmp_path / "one")
    summary = json.loads((tmp_path / "one/summary.json").read_text())
    (tmp_path / "one/summary.json").write_text(json.dumps({**summary, "search": None}))
    first = tmp_path / "photos" / read_list(tmp_path / "one/split.csv")[0].image
    renamed = first.rename(first.with_name(f"{first.stem}x.JPEG"))
    with pytest.raises(ConfigError, match=r"other images than those listed in .*one/split\.csv, since files"):
        nl.resume(tmp_path / "one")
    renamed.rename(first)
    nl.resume(tmp_path / "one")


def test_a_search_on_all_photos_lists_none(words, tmp_path):
    run([*words, "data.search_fractions=null", "task=search", "search.epochs=2"], tmp_path / "one")
    assert not (tmp_path / "one/split.csv").exists()


@pytest.mark.slow
def test_candidates_search_on_the_same_photos(words, tmp_path):
    candidates = ["candidates.key=seed", "candidates.values=2", "candidates.epochs=1", "task=search"]
    run([*words, *candidates], tmp_path / "one")
    lists = [path.read_bytes() for path in sorted((tmp_path / "one").rglob("split.csv"))]
    assert len(lists) == 3
    assert len(set(lists)) == 1
