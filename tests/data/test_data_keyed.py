"""Keyed randomness: pure functions of their keys that leave the global generators alone."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data import KeyedDataset, order
from nas_lightning.data.keyed import KeyedWords


class Noise(Dataset):
    """Draws from all three generators, as a user's augmentation may."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()]), index


class Broken(Noise):
    def __getitem__(self, index):
        super().__getitem__(index)
        raise IndexError


def items(keyed, pass_number=0):
    return torch.stack([keyed[pass_number, i, i][0] for i in range(len(keyed))])


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
    one, two = KeyedDataset(Noise(), 1), KeyedDataset(Noise(), 1)
    forward = items(one)
    backward = torch.stack([two[0, i, i][0] for i in reversed(range(10))]).flip(0)
    assert torch.equal(forward, backward)
    assert len(forward.unique()) == 30  # each item, and each generator, has draws of its own


@pytest.mark.parametrize("other", [(2, 0, "s"), (1, 1, "s"), (1, 0, "t")])
def test_items_differ_between_seeds_passes_and_streams(other):
    seed, pass_number, stream = other
    one, two = KeyedDataset(Noise(), 1, "s"), KeyedDataset(Noise(), seed, stream)
    assert not torch.isclose(items(one), items(two, pass_number)).any()


def test_an_image_that_comes_twice_is_augmented_anew():
    keyed = KeyedDataset(Noise(), 1)
    (one, first), (two, second) = keyed[0, 0, 4], keyed[0, 1, 4]
    assert first == second == 4
    assert not torch.equal(one, two)


def test_batches_equal_single_items():
    keyed = KeyedDataset(Noise(), 1)
    keys = [(0, 2, 5), (0, 7, 1), (3, 2, 5)]
    for key, (draws, index) in zip(keys, keyed.__getitems__(keys), strict=True):
        assert index == key[2]
        assert torch.equal(draws, keyed[key][0])


def test_generators_are_left_as_found_even_after_a_fault():
    before = states()
    items(KeyedDataset(Noise(), 1))
    with pytest.raises(IndexError):
        KeyedDataset(Broken(), 1)[0, 0, 0]
    KeyedWords(1, "train", 3)([(0, 0, 0)])
    assert states() == before


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_words_are_what_the_generator_of_torch_draws(seed):
    keys = [(pass_number, position, 0) for pass_number in (0, 3) for position in (0, 1, 40_000)]
    words = KeyedWords(seed, "arch", 6)(keys)
    assert words.shape == (6, 6)
    for row, (pass_number, position, _) in zip(words, keys, strict=True):
        rng = torch.Generator().manual_seed(hashed_seed(seed, "arch", pass_number, position))
        for word, side in zip(row[:4].tolist(), (9, 2, 32, 1000), strict=True):
            assert int(torch.randint(side, (), generator=rng)) == word % side
        for word in row[4:].tolist():
            assert torch.rand((), generator=rng).item() == word % 2**24 / 2**24
    assert KeyedWords(seed, "arch", 0)(keys).shape == (6, 0)
