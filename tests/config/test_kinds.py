"""A space that reads no images comes with built-in data, unless a command chooses data."""

import pytest

from nas_lightning.config.compose import checked, conf_dir, rewrite
from nas_lightning.config.kinds import BUILT_IN, kind_of
from nas_lightning.config.option_files import files


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["space=recurrent"], ["data=grammar"]),
        (["space=recurrent,recurrent_reduced", "seed=1"], ["data=grammar"]),
        (["space=recurrent", "data=text"], []),
        (["space=recurrent,s3"], []),
        (["space=s3"], []),
        (["method=gdas"], []),
        (["space=unknown"], []),
        (["scale=smoke"], []),
        (["data=grammar"], []),
        (["space=recurrent", "experiment=example"], []),
    ],
)
def test_built_in_data_are_added_to_a_space_alone(words, added):
    assert rewrite(words) == [*words, *added]


def test_the_protocol_and_the_objective_follow_the_data():
    config = checked(["space=recurrent"])
    assert config.data["_target_"] == "nas_lightning.data.Grammar"
    assert config.objective["_target_"] == "nas_lightning.objectives.LanguageModel"
    assert (config.search.hidden, config.search.init_channels) == (48, None)


def test_a_space_of_ones_own_is_read_from_its_folder(tmp_path):
    (tmp_path / "space").mkdir()
    file = conf_dir() / "space" / "recurrent.yaml"
    (tmp_path / "space" / "mine.yaml").write_text(file.read_text())
    assert rewrite(["space=mine"], tmp_path) == ["space=mine", "data=grammar"]
    assert kind_of("space", "mine", (tmp_path,)) == "text"


def test_the_built_in_data_exist():
    for options in BUILT_IN.values():
        for group, name in options.items():
            assert name in files(group, (conf_dir(),))


@pytest.mark.parametrize(
    ("space", "small"),
    [
        ("recurrent", "smoke_text"),
        ("disparity", "smoke_stereo"),
        ("points", "smoke_points"),
        ("graphs", "smoke_graphs"),
        ("s3", "smoke"),
    ],
)
def test_the_small_scale_is_that_of_the_kind(space, small):
    assert f"scale={small}" in rewrite([f"space={space}", "scale=smoke"])
    assert checked([f"space={space}", "scale=smoke"]).search.epochs in (2, 10)
