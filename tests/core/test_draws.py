"""Keyed draws: what they depend on, and what not."""

import math
import weakref

import numpy as np
import pytest
import torch

from nas_lightning.core import draws
from nas_lightning.spaces.operations import drop_path

X = torch.zeros(64, 3, 2, 2)


def drawn(*key, seed=1, step=2, pass_name="train", rank=0, per_sample=False):
    with draws.keyed(seed, step, pass_name, rank):
        return torch.rand(8, generator=draws.generator(*key, per_sample=per_sample))


def test_equal_keys_give_equal_numbers_in_any_order():
    with draws.keyed(1, 2, "train"):
        first = torch.rand(8, generator=draws.generator(0, 1, "noise"))
        other = torch.rand(8, generator=draws.generator(0, 2, "noise"))
    with draws.keyed(1, 2, "train"):
        other_again = torch.rand(8, generator=draws.generator(0, 2, "noise"))
        first_again = torch.rand(8, generator=draws.generator(0, 1, "noise"))
    assert torch.equal(first, first_again)
    assert torch.equal(other, other_again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("change", [{"seed": 2}, {"step": 3}, {"pass_name": "arch"}])
def test_every_part_of_the_scope_matters(change):
    assert torch.equal(drawn("a", 0), drawn("a", 0))
    assert not torch.equal(drawn("a", 0), drawn("a", 0, **change))


def test_key_matters_and_its_parts_keep_their_places():
    keys = [("a",), ("b",), ("a", 1), ("a", 11), ("a", 1, 1), (1, "a"), ("a", 2, 1), ("a", 1, 2)]
    numbers = {tuple(drawn(*key).tolist()) for key in keys}
    assert len(numbers) == len(keys)


def test_rank_enters_only_per_sample_draws():
    assert torch.equal(drawn("a", rank=0), drawn("a", rank=1))
    assert not torch.equal(drawn("a", rank=0, per_sample=True), drawn("a", rank=1, per_sample=True))
    assert torch.equal(drawn("a", rank=1, per_sample=True), drawn("a", rank=1, per_sample=True))


@pytest.mark.parametrize("draw", [lambda: draws.normal_like(X, "noise"), lambda: draws.keep_mask(X, 0.5, "drop")])
def test_masks_and_noise_are_per_sample_draws(draw):
    values = {}
    for rank in (0, 1):
        with draws.keyed(1, 0, "train", rank):
            values[rank] = draw()
            assert torch.equal(values[rank], draw())
    assert not torch.equal(values[0], values[1])


def test_outside_a_block_the_global_generator_is_used():
    assert draws.generator("a") is None
    torch.manual_seed(5)
    noise = draws.normal_like(X, "a")
    torch.manual_seed(5)
    assert torch.equal(noise, torch.randn(X.shape))
    assert not torch.equal(draws.keep_mask(X, 0.5, "a"), draws.keep_mask(X, 0.5, "a"))


def test_inside_a_block_the_global_generator_stays_as_it_was():
    before = torch.random.get_rng_state()
    with draws.keyed(1, 0, "train"):
        draws.normal_like(X, "a")
        draws.keep_mask(X, 0.5, "a")
    assert torch.equal(before, torch.random.get_rng_state())


def test_scope_is_restored_after_exceptions_and_nesting():
    outer = drawn("a")
    with draws.keyed(1, 2, "train"):
        with pytest.raises(RuntimeError, match="inside"), draws.keyed(9, 9, "other"):
            raise RuntimeError("inside")
        assert torch.equal(torch.rand(8, generator=draws.generator("a")), outer)
    assert draws.generator("a") is None


def test_hashed_seed_is_the_same_on_every_machine():
    # Golden: blake2b of the key as Python writes it, first eight bytes little endian, shifted right by one.
    assert draws.hashed_seed(1, 2, "train", "noise") == 7247916602123008941
    assert draws.hashed_seed(np.int64(1), 2, "train", "noise") == draws.hashed_seed(1, 2, "train", "noise")
    assert all(0 <= draws.hashed_seed(i) < 2**63 for i in range(100))


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_keep_mask_has_the_right_mean_over_images_and_over_passes(keep):
    many = torch.zeros(4000, 2, 1, 1)
    with draws.keyed(0, 0, "train"):
        mask = draws.keep_mask(many, keep, "drop", 0)
    assert mask.shape == (4000, 1, 1, 1)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert abs(mask.mean().item() - keep) < 4.5 * math.sqrt(keep * (1 - keep) / 4000)
    first_of_pass = []
    for step in range(1000):
        with draws.keyed(0, step, "train"):
            first_of_pass.append(draws.keep_mask(X[:1], keep, "drop", 0).item())
    assert abs(sum(first_of_pass) / 1000 - keep) < 4.5 * math.sqrt(keep * (1 - keep) / 1000)


def test_masks_of_two_keys_are_independent():
    many = torch.zeros(4000, 1, 1, 1)
    with draws.keyed(0, 0, "train"):
        pair = torch.stack([draws.keep_mask(many, 0.5, "drop", edge).flatten() for edge in (0, 1)])
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 4.5 / math.sqrt(4000)


def test_keep_mask_extremes_and_types():
    assert draws.keep_mask(X, 1.0, "a").eq(1).all()
    assert draws.keep_mask(X, 0.0, "a").eq(0).all()
    assert draws.keep_mask(X.double(), 0.5, "a").dtype == torch.float64
    assert draws.normal_like(X.double(), "a").dtype == torch.float64


def test_noise_is_standard_normal_and_fresh_for_every_number():
    with draws.keyed(0, 0, "train"):
        noise = draws.normal_like(torch.zeros(50, 4, 10, 10), "noise")
    n = noise.numel()
    assert noise.unique().numel() > 0.95 * n
    assert abs(noise.mean().item()) < 4.5 / math.sqrt(n)
    assert abs(noise.var().item() - 1) < 4.5 * math.sqrt(2 / n)


# --------------------------------------------------------------------------------------------- captured sections
def test_eager_draws_are_made_at_once():
    made = torch.ones(2)
    assert draws.outside(lambda: made) is made
    assert draws.number(lambda: 0.3, X) == 0.3


def test_a_section_is_asked_once_for_each_draw_and_not_for_those_within_it():
    taken = []

    def take(make):
        taken.append(make())
        return taken[-1]

    def nested():
        return draws.keep_mask(X, 0.5, "a") / 0.5

    with draws.keyed(0, 0, "weights"):
        expected = [draws.normal_like(X, "n"), nested(), draws.symmetric_like(X, "s")]
        with draws.captured(take):
            found = [draws.normal_like(X, "n"), draws.outside(nested), draws.symmetric_like(X, "s")]
            number = draws.number(lambda: 0.3, X.double())
    assert [id(t) for t in found] == [id(t) for t in taken[:3]]
    assert all(map(torch.equal, found, expected))
    assert (number.shape, number.dtype, number.item()) == ((), torch.float64, 0.3)
    assert len(taken) == 4


def test_what_is_remembered_of_a_draw_keeps_no_tensor_alive():
    makes = []
    x = torch.zeros(4, 3, 8, 8)
    kept = weakref.ref(x)
    with draws.captured(lambda make: makes.append(make) or make()):
        draws.normal_like(x, "n")
        draws.symmetric_like(x, "s")
        draws.keep_mask(x, 0.5, "k")
        draws.number(lambda: 1.0, x)
        drop_path(x, lambda: 0.5, "d")
    assert len(makes) == 5
    del x
    assert kept() is None
