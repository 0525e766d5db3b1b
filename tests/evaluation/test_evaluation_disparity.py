"""Networks of disparities through the whole program, beside the baselines that need no training."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.batches import Maps
from nas_lightning.core.errors import ConfigError
from nas_lightning.data import StereoScenes
from nas_lightning.data.stereo import stacked
from nas_lightning.evaluation import StereoTraining
from nas_lightning.evaluation.disparity import compared, on_motorcycle, predicted
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench

SMALL = [
    "data=scenes", "data.height=16", "data.width=32", "data.max_disparity=8", "data.layers=2", "data.train_pairs=10",
    "data.test_pairs=3", "space.max_displacement=4", "trainer=cpu", "search.epochs=1", "search.batch_size=2",
    "search.init_channels=2", "evaluation.epochs=1", "evaluation.batch_size=4", "evaluation.init_channels=2",
    "~callbacks.curvature",
]  # fmt: skip


class Shifted(nn.Module):
    """A network whose prediction is off by some pixels of a truth that it is given."""

    def __init__(self, truth, shift):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.truth, self.shift, self.seen = truth, shift, 0

    def forward(self, pairs):
        assert not self.training
        part = self.truth[self.seen : self.seen + len(pairs)]
        self.seen += len(pairs)
        return Maps((torch.zeros(1), part + self.shift))


@pytest.fixture(scope="module")
def data():
    scenes = StereoScenes(height=16, width=32, max_disparity=8.0, layers=2, train_pairs=6, test_pairs=11)
    scenes.prepare()
    return scenes


def test_networks_and_baselines_are_measured_on_the_same_pairs(data):
    _, truth = stacked(data, "test", range(11))
    found = compared(Shifted(truth, 2.5), data)
    assert found["network"] == {"epe": 2.5, "bad_3": 0.0, "d1": 0.0, "epe_visible": 2.5}
    assert compared(Shifted(truth, -4.0), data)["network"] == {"epe": 4.0, "bad_3": 100, "d1": 100, "epe_visible": 4.0}
    error = (truth - data.mean_disparity).abs().numpy()
    visible = ~np.stack([data.occluded(index).numpy() for index in range(11)])
    assert found["constant"]["epe"] == pytest.approx(error.mean(), abs=1e-3)
    assert found["constant"]["bad_3"] == pytest.approx(100 * (error > 3).mean(), abs=1e-2)
    assert found["constant"]["epe_visible"] == pytest.approx(error[visible].mean(), abs=1e-3)
    assert found["block_matching"]["epe_visible"] < found["block_matching"]["epe"]


def test_a_network_reads_normalised_pairs_and_keeps_its_mode(data):
    class Echo(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, pairs):
            return Maps((pairs[:, 3:4],))

    network = Echo().train()
    pairs, _ = stacked(data, "test", [4])
    found = predicted(network, data, pairs)
    torch.testing.assert_close(found, data.dataset("test", augment=False)[4][0][None, 3:4])
    assert network.training


def test_the_motorcycle_is_measured_where_scikit_image_is_installed(data):
    pytest.importorskip("skimage")

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, pairs):
            return Maps((torch.full_like(pairs[:, :1], data.mean_disparity),))

    found = on_motorcycle(Flat(), data, reach=8.0, multiple=8)
    assert found["network"] == found["constant"]
    assert found["block_matching"]["epe"] < found["constant"]["epe"]
    assert "epe_visible" not in found["network"]


def test_adam_has_the_values_of_the_recipe():
    recipe = StereoTraining(
        name="a", epochs=1, batch_size=1, init_channels=2, lr=0.25, betas=(0.5, 0.9), weight_decay=0.1
    )
    (group,) = recipe.build_optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.25, (0.5, 0.9), 0.1)


def run(words, folder):
    run_task(as_dict(nl.compose(words)), RunFolder(folder))
    return json.loads((folder / "summary.json").read_text())


def test_a_search_and_a_retraining_run_on_rendered_pairs(tmp_path):
    summary = run(SMALL, tmp_path / "run")
    assert (summary["space"], summary["data"]) == ("disparity", "scenes")
    assert summary["objective"] == {"metric": "epe", "unit": "px", "direction": "min"}
    found = summary["evaluation"]
    assert found["test_metric"] == pytest.approx(found["compared"]["network"]["epe"], abs=1e-3)
    assert found["references"]["block matching"] == found["compared"]["block_matching"]["epe"]
    assert found["test_accuracy"] is None
    assert found["init_channels"] == 2
    assert summary["search"]["val_metric"] > 0
    assert set(summary["genotype"]["cells"]) == {"normal", "reduce", "up"}
    assert (tmp_path / "run/plots/disparity.png").stat().st_size > 0


def test_a_retraining_has_an_augmentation_of_its_own():
    words = [*SMALL, "data.augmentation=0.5", "evaluation.augmentation=1.0"]
    bench = Workbench(as_dict(nl.compose(words)), RunFolder("unused"))
    recipe = bench.evaluator
    module = recipe.training_data(bench)
    assert (module.data.augmentation, bench.data.augmentation) == (1.0, 0.5)
    module.setup("fit")
    pair, _ = module.augmented[0]
    torch.manual_seed(0)
    moved = module.augmented[0][0]
    torch.manual_seed(0)
    searched = bench.data.dataset("train", augment=True)[0][0]
    assert pair.shape == moved.shape == searched.shape
    assert not torch.equal(moved, searched)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.height=20"], r"^data\.height=20: .* halve it 3 times; "),
        (["space.max_displacement=1"], r"^space\.max_displacement=1: reaches disparities of 4 px"),
        (["search.layers=3"], r"^search\.layers=3: space=disparity has no such size"),
        (
            ["objective=classification"],
            r"Classification is for images or point clouds, but space=disparity reads pairs of images; use obj",
        ),
        (["+regularizer=cutout"], r"~regularizer\.cutout|cutout"),
        (["+regularizer=partial_channels"], r"~regularizer\.partial_channels"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        run([*SMALL, *words], tmp_path / "run")
    assert not (tmp_path / "run/summary.json").exists()
