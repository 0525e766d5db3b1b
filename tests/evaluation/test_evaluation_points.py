"""The recipes of point clouds: `PointTraining`."""

import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_parameters
from nas_lightning.evaluation import PointTraining
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.published import PUBLISHED
from nas_lightning.training.workbench import Workbench


def bench(*words):
    return Workbench(as_dict(nl.compose(["data=points_digits", "space=points", *words])), RunFolder("unused"))


@pytest.mark.parametrize(
    ("recipe", "layers", "neighbours"), [("modelnet40", 9, 20), ("modelnet40_small", 3, 9)], ids=["large", "small"]
)
def test_recipes_of_modelnet_are_those_of_the_released_code(recipe, layers, neighbours):
    made = bench(f"evaluation={recipe}").evaluator
    assert isinstance(made, PointTraining)
    assert made.sizes() == {"init_channels": 128, "layers": layers, "neighbours": neighbours}
    assert (made.epochs, made.batch_size, made.lr, made.lr_min, made.schedule) == (400, 32, 0.1, 0.001, "cosine")
    assert (made.momentum, made.weight_decay, made.drop_path, made.clip) == (0.9, 1e-4, 0.2, 5.0)


def test_the_network_of_a_recipe_has_its_own_neighbours_and_the_head_of_the_space():
    made = bench("evaluation.neighbours=5", "evaluation.layers=1")
    network = made.evaluator.bare_network(PUBLISHED["sgas_modelnet_cri2"], made)
    assert network.body.structure.neighbours == 5
    whole = bench(
        "space.embedding=1024", "space.hidden=[512,256]", "evaluation.init_channels=128", "evaluation.layers=3"
    )
    network = whole.evaluator.bare_network(PUBLISHED["sgas_modelnet_cri2"], whole)
    assert count_parameters(network) == 3_857_320 - 30 * 257  # ten classes, not forty


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.layers=8"], r"evaluation\.layers=8: the last cell looks at the 72 nearest points"),
        (["evaluation.nesterov=true", "evaluation.momentum=0"], r"evaluation\.nesterov=true: needs momentum"),
        (["objective=regression", "evaluation.label_smoothing=0.1"], r"evaluation\.label_smoothing=0\.1: .*no classes"),
        (["evaluation=digits"], "Retraining is for images, but space=points reads point clouds; use .*=points_digits"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(words, message):
    made = bench(*words)

    def check():
        made.evaluator.check(made)

    with pytest.raises(ConfigError, match=message):
        check()
