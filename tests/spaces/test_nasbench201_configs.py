"""What `space=nasbench201` brings along from conf/: depth and recipe, and what the data set has to say in it."""

import pytest

import nas_lightning as nl


@pytest.mark.parametrize(
    ("overrides", "search", "evaluation"),
    [
        (["data=cifar10"], (5, 16), ("nasbench201", 5, 16)),
        (["data=cifar100"], (5, 16), ("nasbench201", 5, 16)),
        (["data=imagenet16_120"], (5, 16), ("nasbench201", 5, 16)),
        (["data=cifar10", "method=rs_ws"], (5, 16), ("nasbench201", 5, 16)),
        (["data=cifar10", "search.layers=1"], (1, 16), ("nasbench201", 5, 16)),
        (["data=cifar10", "evaluation=cifar_16x8"], (5, 16), ("cifar_16x8", 8, 16)),
        (["data=digits"], (2, 8), ("digits", 4, 16)),
        (["data=digits", "search.layers=3"], (3, 8), ("digits", 4, 16)),
        (["data=digits", "evaluation=nasbench201"], (2, 8), ("nasbench201", 5, 16)),
    ],
)
def test_depth_and_recipe(overrides, search, evaluation):
    config = nl.compose(["space=nasbench201", *overrides])
    assert config.space.name == "nasbench201"
    assert (config.search.layers, config.search.init_channels) == search
    recipe = config.evaluation
    assert (recipe.name, recipe.layers, recipe.init_channels) == evaluation


def test_its_data_set_chooses_it():
    assert nl.compose(["data=imagenet16_120", "method=sdarts_rs"]).space.name == "nasbench201"


def test_other_spaces_stay_as_they_were():
    config = nl.compose(["data=cifar10", "space=s1"])
    assert (config.search.layers, config.evaluation.name) == (8, "cifar_36x20")
    config = nl.compose([])
    assert (config.space.name, config.search.layers, config.evaluation.name) == ("s3", 4, "digits")


def test_the_benchmarks_training():
    """Spec of NAS-Bench-201, table of the training hyperparameters."""
    recipe = nl.compose(["space=nasbench201", "data=cifar10"]).evaluation
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.lr_min, recipe.schedule) == (
        200,
        256,
        0.1,
        0.0,
        "cosine",
    )
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 5e-4)
    assert (recipe.clip, recipe.auxiliary, recipe.drop_path, recipe.cutout) == (None, 0.0, 0.0, 0)


def test_build_space():
    space = nl.build_space(nl.compose(["space=nasbench201"]))
    assert list(space.choices) == ["cell"]
