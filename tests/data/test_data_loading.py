"""Loaders: what a pass gives, to how many processes, and whose workers stay."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from nas_lightning.data import Digits
from nas_lightning.data.keyed import KeyedBatches
from nas_lightning.data.loading import Pass, PassLoader, even_length

FORK = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
INDICES = np.random.default_rng(0).permutation(100)[:43]


class Noise(Dataset):
    """Items that are no batch: they draw from torch's global generator."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return torch.rand(3), index


@pytest.fixture(scope="module")
def digits():
    return Digits().dataset("train", augment=True, cutout=4)


@pytest.mark.parametrize(("processes", "count"), [(1, 43), (2, 43), (3, 43), (3, 42), (3, 1), (1, 0)])
def test_every_image_of_a_pass_is_in_one_process(processes, count):
    for rank in range(processes):
        sampler = Pass(processes, rank)
        sampler.begin(6, INDICES[:count], 4)
        batches = list(sampler)
        expected = list(range(rank, count, processes))
        assert [key for batch in batches for key in batch] == [(6, at, INDICES[at]) for at in expected]
        assert all(len(batch) == 4 for batch in batches[:-1])
        assert len(sampler) == len(batches) == -(-len(expected) // 4)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_have_equally_many_batches_and_none_of_a_lone_image(processes, batch_size):
    full = batch_size * processes
    for count in range(full, 5 * full + 1):
        length = even_length(count, batch_size, processes)
        shares = [len(range(rank, length, processes)) for rank in range(processes)]
        assert len({-(-share // batch_size) for share in shares}) == 1
        assert batch_size == 1 or all(share % batch_size != 1 for share in shares)
        assert 0 <= count - length < 2 * processes


@FORK
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["batched", "one by one"])
def test_loaders_give_what_the_keys_say_pass_after_pass(digits, workers, source):
    dataset = digits if source == "batched" else Noise()
    loader = PassLoader(dataset, 3, "train", workers, persistent=True)
    for number, size in ((0, 7), (4, 7), (4, 10)):
        loader.begin(number, INDICES, size)
        batches = list(loader)
        keys = [(number, position, index) for position, index in enumerate(INDICES.tolist())]
        assert len(loader) == len(batches) == -(-len(keys) // size)
        if source == "batched":
            images, labels = KeyedBatches(digits, 3, "train").__getitems__(keys)
        else:
            images, labels = next(iter(PassLoader(dataset, 3, "train").begin(number, INDICES, len(keys))))
        assert torch.equal(torch.cat([batch[0] for batch in batches]), images)
        assert torch.equal(torch.cat([batch[1] for batch in batches]), labels)


@FORK
@pytest.mark.parametrize("persistent", [True, False])
def test_workers_stay_for_the_next_pass_if_they_are_to_last(digits, persistent):
    loader = PassLoader(digits, 3, "train", 2, persistent=persistent)
    iterators = []
    for number in (0, 1):
        iteration = iter(loader.begin(number, INDICES, 8))
        assert loader.left == 6
        iterators.append(loader._iterator)
        assert len(list(iteration)) == 6
        assert loader.left == 0
    assert (iterators[0] is iterators[1] is not None) == persistent


def test_loaders_without_workers_need_no_settings_for_them(digits):
    loader = PassLoader(digits, 3, "train", 0, prefetch_factor=8, persistent=True)
    assert (loader.persistent_workers, loader.prefetch_factor, loader.pin_memory) == (False, None, False)
    assert PassLoader(digits, 3, "train", 2, prefetch_factor=8).prefetch_factor == 8
