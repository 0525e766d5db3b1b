"""Places of images: absolute where something lies there, and found again after a move."""

from nas_lightning.training.places import absolute, located, places_of

TYPED = {"data": {"path": "mine", "split_file": None, "image_size": 8}, "evaluation": {"path": "s5"}}


def test_what_lies_there_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert absolute("mine") == str(tmp_path / "mine")
    assert absolute("s3://bucket") == "s3://bucket"
    assert absolute(3) == 3


def test_names_of_tables_that_come_with_the_package_are_no_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "s5").mkdir()
    assert places_of(TYPED, {}) == {"data.path": str(tmp_path / "mine")}


def test_a_link_stays_a_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "real")
    assert absolute("mine") == str(tmp_path / "mine")


def test_the_recorded_place_comes_first_then_the_typed_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = str(tmp_path / "old")
    places = {"data.path": old, "data.follow_links": True, "seed": 3}
    assert located("data", TYPED["data"], places)["path"] == old  # neither is there: the message names the recorded one
    (tmp_path / "mine").mkdir()
    assert located("data", TYPED["data"], places)["path"] == "mine"
    (tmp_path / "old").mkdir()
    assert located("data", TYPED["data"], places) == {**TYPED["data"], "path": old, "follow_links": True}
    assert located("evaluation", TYPED["evaluation"], places) == TYPED["evaluation"]
