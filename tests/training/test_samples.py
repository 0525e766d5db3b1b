"""What proxies score the networks of a run on: its training images, or the shape that a table's networks take."""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.data import Arrays
from nas_lightning.data.module import EvaluationData
from nas_lightning.proxies import Snip, Synflow
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.samples import check_scored, network_at_start, sample_of
from nas_lightning.training.workbench import Workbench

CPU = torch.device("cpu")
TABLE = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10"]


@pytest.fixture
def bench(images_file, tmp_path):
    words = ["data=arrays", f"data.path={images_file}", "trainer=cpu"]
    return lambda *more: Workbench(as_dict(nl.compose([*words, *more])), RunFolder(tmp_path))


def test_a_batch_is_that_of_a_training_with_this_seed(bench, images_file):
    found = sample_of(bench("seed=9"), True, CPU, 8, 3)
    data = EvaluationData(Arrays(str(images_file)), 8, 3)
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert torch.equal(found.inputs, images)
    assert torch.equal(found.targets, labels)
    assert found.unit.shape == (1, 1, 8, 8)
    alone = sample_of(bench(), False, CPU, 8, 3)
    assert alone.inputs is alone.unit


def test_a_network_begins_with_the_weights_of_its_seed(bench):
    parts = bench("space=s3", "space.num_nodes=2", "evaluation.layers=3", "evaluation.init_channels=4")
    one, same, other = (network_at_start(random_genotype(parts.space, 0), parts, seed) for seed in (1, 1, 2))
    kernels = [next(network.parameters()) for network in (one, same, other)]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])


def test_the_networks_of_a_table_have_a_shape_of_their_own(bench):
    parts = bench(*TABLE)
    unit = sample_of(parts, False, CPU, 8, 0).unit
    assert unit.shape == (1, 3, 32, 32)
    network = network_at_start(random_genotype(parts.space, 0), parts, 0)
    assert network(torch.cat([unit, unit])).shape == (2, 10)
    check_scored(Synflow(), parts)
    with pytest.raises(nl.ConfigError, match=r"Snip reads a batch of images, but data=arrays has images of 1x8x8 in 4"):
        check_scored(Snip(), parts)
