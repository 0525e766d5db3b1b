"""Data, objective and evaluation are for the kind of data that the space reads; what images alone can do is refused."""

import lightning as L
import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.data.modules import EVALUATION, SEARCH
from nas_lightning.data.source import DataSource
from nas_lightning.data.streams import SearchStreams
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import search_data
from nas_lightning.training.workbench import Workbench

SPACES = {"images": "s3", "text": "recurrent", "stereo": "disparity", "points": "points", "graphs": "graphs"}
SMALL = {
    "images": [],
    "text": ["data.train_tokens=4000", "data.valid_tokens=4000", "data.test_tokens=400"],
    "stereo": ["data.height=16", "data.width=32", "data.max_disparity=8", "data.train_pairs=20", "data.test_pairs=3"],
    "points": ["data.points=24"],
    "graphs": ["data.train_graphs=12", "data.nodes=6"],
}


def bench(*words):
    return Workbench(as_dict(nl.compose(list(words))), RunFolder("unused"))


@pytest.mark.parametrize("kind", SPACES)
def test_each_kind_has_data_modules_and_batches_of_its_own(kind):
    made = bench(f"space={SPACES[kind]}", *SMALL[kind])
    assert made.source.kind == made.evaluator.inputs == kind
    assert kind in (made.objective.inputs, *made.objective.inputs)
    streams = search_data(made)
    assert isinstance(streams, SEARCH[kind])
    assert isinstance(streams, L.LightningDataModule)
    assert isinstance(streams, SearchStreams)
    streams.setup("fit")
    loaders = streams.train_dataloader()
    assert len(loaders["train"]) == len(loaders["arch"]) > 0
    inputs, targets = next(iter(loaders["train"]))
    example, labels = made.data.example(made.config.search.batch_size)
    assert type(inputs) is type(example)
    assert targets.shape[1:] == labels.shape[1:] or kind == "text"
    assert isinstance(made.evaluator.training_data(made), EVALUATION[kind])
    assert made.data.difference(made.data.fingerprint(), made.data.fingerprint()) == ""


def test_a_source_has_no_fills_and_tells_whether_its_content_changed():
    source = DataSource()
    assert source.fill() == {}
    assert source.difference({"words": 3}, {"words": 3, "later": 1}) == ""
    assert source.difference({"words": 3}, {"words": 4}) == "another content"


@pytest.mark.parametrize(
    ("words", "part", "message"),
    [
        (
            ["space=recurrent", "data=digits"],
            "data",
            "^data: Digits is for images, but space=recurrent reads text",
        ),
        (
            ["space=s3", "data=grammar"],
            "data",
            "^data: Grammar is for text, .* reads images; use data=digits",
        ),
        (["space=recurrent", "objective=classification"], "objective", "^objective: Classification is for images"),
        (["space=s3", "objective=language_model"], "objective", "^objective: LanguageModel is for text"),
        (
            ["space=recurrent", "evaluation=digits"],
            "evaluator",
            "^evaluation: Retraining .*; use evaluation=grammar",
        ),
        (
            ["space=disparity", "data=grammar", "evaluation=disparity"],
            "data",
            "use data=scenes, or .* space=recurrent",
        ),
        (["space=recurrent"], "images", "holds text, but this works on images only"),
    ],
)
def test_other_kinds_are_refused_in_one_line(words, part, message):
    with pytest.raises(ConfigError, match=message) as caught:
        getattr(bench(*words), part)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=recurrent", "search.layers=3"], r"^search\.layers=3: space=recurrent has no such size; its sizes are"),
        (["space=recurrent", "search.hidden=null"], r"^search\.hidden=null: space=recurrent needs it"),
        (["space=s3", "search.hidden=8"], r"^search\.hidden=8: space=s3 has no such size"),
        (["space=s3", "search.init_channels=null"], r"^search\.init_channels=null: space=s3 needs it"),
    ],
)
def test_sizes_that_a_space_does_not_know_are_refused(words, message):
    made = bench(*words)
    with pytest.raises(ConfigError, match=message):
        made.space.check_sizes(made.config.search)


def test_what_alters_images_is_refused_on_text():
    with pytest.raises(ConfigError, match=r"^regularizer\.cutout: alters images, but data=grammar holds text"):
        nl.search(nl.compose(["space=recurrent", "+regularizer=cutout"]), run_dir="unused")
