"""Images and run folders that lie elsewhere when a run is resumed; other images are refused."""

import json
import logging
import shutil

import numpy as np
import pytest

import nas_lightning as nl
from conftest import TINY_SIZES, write_images
from nas_lightning.core.errors import MachineError
from nas_lightning.runs.folder import RunFolder
from whole_runs import outcome, run

pytestmark = pytest.mark.xdist_group("images elsewhere")  # in one worker, which makes what they share once
WORDS = ["data=arrays", "data.path=sets/mine.npz", "space=s3", "space.num_nodes=2", "trainer=cpu"]
WORDS += ["~callbacks.curvature", *TINY_SIZES]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project folder with images, `sets/mine.npz`, and a finished run on them, `runs/one`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "sets").mkdir()
    write_images(folder / "sets/mine.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(WORDS, folder / "runs/one")
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it, its run cut off before the end of the evaluation; the test stands in another folder."""
    shutil.copytree(made, tmp_path / "project")
    record = json.loads((made / "runs/one/data.json").read_text())
    record["places"]["data.path"] = str(tmp_path / "project/sets/mine.npz")
    (tmp_path / "project/runs/one/data.json").write_text(json.dumps(record))
    cut_off(tmp_path / "project/runs/one")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def cut_off(folder):
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "evaluation": None}))
    (folder / "checkpoints/evaluation/last.ckpt").unlink()  # the one before is used: an epoch is trained again


def test_the_folder_keeps_absolute_places_and_the_configuration_as_it_was_typed(made):
    record = RunFolder(made / "runs/one").data_record()
    assert record["places"] == {"data.path": str(made / "sets/mine.npz")}
    assert RunFolder(made / "runs/one").config()["data"]["path"] == "sets/mine.npz"


def test_a_run_with_a_relative_path_goes_on_from_another_folder(made, project):
    nl.resume(project / "runs/one")
    assert outcome(project / "runs/one") == outcome(made / "runs/one")


def test_a_moved_project_goes_on_where_it_now_is(made, project, monkeypatch, tmp_path):
    moved = tmp_path / "moved"
    project.rename(moved)
    monkeypatch.chdir(moved)
    nl.resume("runs/one")
    assert outcome(moved / "runs/one") == outcome(made / "runs/one")
    assert RunFolder("runs/one").data_record()["places"] == {"data.path": str(moved / "sets/mine.npz")}


def test_moved_images_are_found_by_their_new_place_from_then_on(made, project, tmp_path):
    folder = tmp_path / "moved run"
    (project / "runs/one").rename(folder)
    (project / "sets/mine.npz").rename(tmp_path / "other name.npz")
    with pytest.raises(MachineError, match=r"mine\.npz: no such file.* or add their new place to it, data\.path=PLACE"):
        nl.resume(folder)
    nl.resume(folder, ["data.path=../other name.npz"])
    assert outcome(folder) == outcome(made / "runs/one")
    cut_off(folder)
    nl.resume(folder)
    assert outcome(folder) == outcome(made / "runs/one")


def test_a_finished_run_takes_the_new_place_for_other_tasks(made, project, tmp_path, monkeypatch):
    nl.resume(project / "runs/one")
    (project / "sets/mine.npz").rename(tmp_path / "mine.npz")
    before = outcome(project / "runs/one")
    nl.resume(project / "runs/one", [f"data.path={tmp_path / 'mine.npz'}"])
    assert outcome(project / "runs/one") == before
    run(["task=select", f"run={project / 'runs/one'}", "selector=magnitude", "trainer=cpu"], tmp_path / "selected")
    assert RunFolder(tmp_path / "selected").data_record()["places"] == {"data.path": str(tmp_path / "mine.npz")}


def changed(path, **arrays):
    with np.load(path) as file:
        np.savez(path, **{**file, **arrays})


def fewer(path):
    with np.load(path) as file:
        changed(path, x_train=file["x_train"][:30], y_train=file["y_train"][:30])


def reordered(path):
    with np.load(path) as file:
        changed(path, y_train=file["y_train"][::-1].copy())


def brighter(path):
    with np.load(path) as file:
        images = file["x_train"].copy()
        images[3] = 255 - images[3]
        changed(path, x_train=images)


def two_classes(path):
    with np.load(path) as file:
        changed(path, y_train=file["y_train"] % 2, y_test=file["y_test"] % 2)


OTHERS = [(fewer, "30 train images, not 40"), (reordered, "other labels, or another order of the train images")]
OTHERS += [
    (brighter, r"other train images: \d+ of 40 that were compared differ"),
    (two_classes, r"the classes 0, 1 \(2\), not 0, 1, 2, 3 \(4\)"),
]


@pytest.mark.parametrize(("change", "words"), OTHERS)
@pytest.mark.parametrize("in_place", [True, False])
def test_other_images_are_refused_and_named(project, change, words, in_place):
    path = project / "sets/mine.npz"
    if not in_place:
        path = shutil.copy(path, project / "sets/others.npz")
    change(path)
    before = (project / "runs/one/data.json").read_text()
    with pytest.raises(
        nl.ConfigError, match=rf"data\.path=\S+: not the data of \S+: {words}.*; give the place"
    ) as caught:
        nl.resume(project / "runs/one", [] if in_place else [f"data.path={path}"])
    assert "\n" not in str(caught.value)
    assert (project / "runs/one/data.json").read_text() == before


def test_a_place_that_is_none_and_a_key_that_is_none(project):
    with pytest.raises(nl.ConfigError, match=r"data\.path=gone: there is no such file or folder"):
        nl.resume(project / "runs/one", ["data.path=gone"])
    with pytest.raises(nl.ConfigError, match=r"data\.root=\.: this run has no such key; allowed: data\.path"):
        nl.resume(project / "runs/one", ["data.root=."])


def test_a_resume_takes_no_list_where_the_run_had_none(project):
    """It would go on with other images, which no fingerprint of all images notices."""
    rows = ["part,label,image", *(f"{'train' if i % 8 < 4 else 'arch'},{i % 4},{i}" for i in range(40))]
    (project / "list.csv").write_text("\n".join(rows))
    message = r"data\.search_split=\S+: this run has no such list.*; allowed: null; resume without"
    with pytest.raises(nl.ConfigError, match=message) as caught:
        nl.resume(project / "runs/one", [f"data.search_split={project / 'list.csv'}"])
    assert "\n" not in str(caught.value)


def test_a_folder_of_before_is_accepted_and_says_so_once(made, project, caplog):
    (project / "runs/one/data.json").unlink()
    with caplog.at_level(logging.INFO):
        nl.resume(project / "runs/one", [f"data.path={project / 'sets/mine.npz'}"])
        cut_off(project / "runs/one")
        nl.resume(project / "runs/one")
    assert sum("no fingerprint of its images" in record.message for record in caplog.records) == 1
    assert outcome(project / "runs/one") == outcome(made / "runs/one")


def test_a_damaged_record_is_named(project):
    (project / "runs/one/data.json").write_text("{")
    with pytest.raises(nl.ConfigError, match=r"data\.json there is damaged .*delete it"):
        nl.resume(project / "runs/one")


def test_moved_candidates_go_on(tmp_path, monkeypatch, images_file):
    """The folders of the members lie in that of the run, and so do their records."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(images_file, tmp_path / "mine.npz")
    several = ["candidates.key=seed", "candidates.values=2", "candidates.epochs=1", "search.epochs=1"]
    run([*WORDS, *several, "data.path=mine.npz", "evaluation.epochs=1"], tmp_path / "run")
    whole = json.loads((tmp_path / "run/summary.json").read_text())
    (tmp_path / "run").rename(tmp_path / "moved")
    empty = dict.fromkeys(("search", "selection", "genotype", "candidates", "evaluation"))
    (tmp_path / "moved/summary.json").write_text(json.dumps({**whole, **empty}))
    shutil.rmtree(tmp_path / "moved/candidates/1/checkpoints/evaluation")
    cut = json.loads((tmp_path / "moved/candidates/1/summary.json").read_text())
    (tmp_path / "moved/candidates/1/summary.json").write_text(json.dumps({**cut, "evaluation": None}))
    (tmp_path / "mine.npz").rename(tmp_path / "yours.npz")
    nl.resume(tmp_path / "moved", ["data.path=yours.npz"])
    found = json.loads((tmp_path / "moved/summary.json").read_text())
    assert found["genotype"] == whole["genotype"]
    assert found["evaluation"]["test_accuracy"] == whole["evaluation"]["test_accuracy"]
    assert [member["chosen"] for member in found["candidates"]] == [member["chosen"] for member in whole["candidates"]]
