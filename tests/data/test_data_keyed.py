"""Keyed randomness: pure functions of their keys that leave the global generators alone."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from nas_lightning.data import Digits, KeyedDataset, order


class Noise(Dataset):
    """Draws from all three generators, as a user's augmentation may."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()]), index


def items(keyed):
    return torch.stack([keyed[i][0] for i in range(len(keyed))])


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_order_is_a_pure_permutation():
    indices = np.array([3, 5, 7, 11, 13, 17])
    first = order(indices, 1, "train", 0)
    assert sorted(first) == indices.tolist()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert np.array_equal(order(indices, 1, "train", 0), first)


def test_orders_differ_by_every_key():
    orders = [order(range(50), *where).tolist() for where in ((1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1))]
    assert len(set(map(tuple, orders))) == 4


def test_a_longer_order_goes_round_without_replacement():
    long = order(range(7), 1, "arch", 3, length=24)
    assert len(long) == 24
    rounds = [long[i : i + 7].tolist() for i in (0, 7, 14)]
    assert all(sorted(round_) == list(range(7)) for round_ in rounds)
    assert len(set(map(tuple, rounds))) == 3
    assert len(set(long[21:])) == 3


def test_a_shorter_order_is_the_start_of_the_whole():
    assert np.array_equal(order(range(30), 1, "x", 0, length=8), order(range(30), 1, "x", 0)[:8])


def test_items_depend_on_the_key_only():
    one, two = KeyedDataset(Noise(), 1, 0), KeyedDataset(Noise(), 1, 0)
    forward = items(one)
    backward = torch.stack([two[i][0] for i in reversed(range(10))]).flip(0)
    assert torch.equal(forward, backward)
    assert len(forward.unique()) == 30  # each item, and each generator, has draws of its own


@pytest.mark.parametrize("other", [(2, 0, "s"), (1, 1, "s"), (1, 0, "t")])
def test_items_differ_between_seeds_passes_and_streams(other):
    seed, pass_number, stream = other
    one = KeyedDataset(Noise(), 1, 0, stream="s")
    two = KeyedDataset(Noise(), seed, pass_number, stream=stream)
    assert not torch.isclose(items(one), items(two)).any()


def test_indices_choose_items_and_repeats_are_augmented_anew():
    keyed = KeyedDataset(Noise(), 1, 0, indices=[4, 4, 9])
    assert len(keyed) == 3
    assert [keyed[i][1] for i in range(3)] == [4, 4, 9]
    assert not torch.equal(keyed[0][0], keyed[1][0])


def test_batches_equal_single_items():
    keyed = KeyedDataset(Noise(), 1, 0)
    batch = keyed.__getitems__([2, 7, 2])
    for position, (draws, index) in zip([2, 7, 2], batch, strict=True):
        assert index == position
        assert torch.equal(draws, keyed[position][0])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_change_nothing():
    keyed = KeyedDataset(Digits().dataset("train", augment=True, cutout=4), 1, 0, indices=range(40))
    none, two = (torch.cat([images for images, _ in DataLoader(keyed, 7, num_workers=workers)]) for workers in (0, 2))
    assert torch.equal(none, two)


def test_generators_are_left_as_found_even_after_a_fault():
    before = states()
    items(KeyedDataset(Noise(), 1, 0))
    with pytest.raises(IndexError):
        KeyedDataset(Noise(), 1, 0)[99]
    assert states() == before
