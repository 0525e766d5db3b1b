"""Schedules against the golden values of the original logs and against the formulas of the released code."""

import itertools
import math

import pytest

from nas_lightning.core import schedules


@pytest.mark.parametrize(("epoch", "value"), [(0, 0.025), (1, 0.0249763), (25, 0.013), (49, 0.00102368), (50, 0.001)])
def test_cosine_of_the_search(epoch, value):
    assert schedules.cosine(epoch, 50, 0.025, 0.001) == pytest.approx(value, rel=3e-6)
    assert schedules.learning_rate("cosine", epoch, 50, 0.025, 0.001) == pytest.approx(value, rel=3e-6)


def test_cosine_of_the_evaluation_ends_at_zero():
    values = [schedules.cosine(epoch, 600, 0.025) for epoch in range(601)]
    assert values[0] == 0.025
    assert values[300] == pytest.approx(0.0125)
    assert values[600] == pytest.approx(0, abs=1e-17)
    assert all(a > b for a, b in itertools.pairwise(values))


def test_cosine_against_its_recursion():
    # cos((e+1)x) = 2 cos(x) cos(ex) - cos((e-1)x): no cosine of the epoch is evaluated.
    step = 2 * math.cos(math.pi / 50)
    before, now = math.cos(math.pi / 50), 1.0
    for epoch in range(50):
        assert schedules.cosine(epoch, 50, 3.0, 1.0) == pytest.approx(2 + now, abs=1e-12)
        before, now = now, step * now - before


@pytest.mark.parametrize(("epoch", "value"), [(0, 0.0), (1, 0.0040816), (25, 0.102041), (49, 0.2)])
def test_drop_path_in_search_reaches_its_maximum(epoch, value):
    assert schedules.drop_path_in_search(epoch, 50, 0.2) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("epoch", "value"), [(0, 0.0), (300, 0.1), (599, 0.199667)])
def test_drop_path_in_evaluation_never_reaches_its_maximum(epoch, value):
    assert schedules.drop_path_in_evaluation(epoch, 600, 0.2) == pytest.approx(value, rel=3e-6)


def test_drop_path_of_a_single_epoch():
    assert schedules.drop_path_in_search(0, 1, 0.2) == 0
    assert schedules.drop_path_in_evaluation(0, 1, 0.2) == 0


def test_exponential_of_imagenet():
    value = 0.1
    for epoch in range(250):
        assert schedules.learning_rate("exponential", epoch, 250, 0.1) == pytest.approx(value, rel=1e-10)
        value *= 0.97
    assert schedules.exponential(200, 250, 0.1, end=0.05) == 0.05


# Batch 1024: lr 0.5, 250 epochs, 5 of warm-up. Body: 0.5·(245-e)/245; last five: 0.5·(250-e)/(245·5).
IMAGENET = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5, 5: 0.5 * 240 / 245, 6: 0.5 * 239 / 245, 100: 0.5 * 145 / 245}
IMAGENET |= {244: 0.5 / 245, 245: 0.5 * 5 / 1225, 246: 0.5 * 4 / 1225, 247: 0.5 * 3 / 1225}
IMAGENET |= {248: 0.5 * 2 / 1225, 249: 0.5 * 1 / 1225}


@pytest.mark.parametrize("epoch", IMAGENET)
def test_linear_of_imagenet(epoch):
    value = schedules.learning_rate("linear", epoch, 250, 0.5, warmup_epochs=5)
    assert value == pytest.approx(IMAGENET[epoch], rel=1e-12)


def test_linear_has_equal_steps_and_a_tail_of_a_fifth():
    values = [schedules.linear(epoch, 250, 1.0) for epoch in range(251)]
    for epoch in range(244):
        assert values[epoch] - values[epoch + 1] == pytest.approx(1 / 245)
    assert values[244] == pytest.approx(values[245])
    for epoch in range(245, 250):
        assert values[epoch] - values[epoch + 1] == pytest.approx(1 / 245 / 5)
    assert values[250] == 0


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_linear_of_a_run_shorter_than_its_tail(epochs):
    values = [schedules.linear(epoch, epochs, 1.0, 0.0) for epoch in range(epochs + 1)]
    assert values == pytest.approx([1 - epoch / epochs for epoch in range(epochs + 1)])


@pytest.mark.parametrize("name", sorted(schedules.SCHEDULES))
def test_every_schedule_starts_at_its_start_and_warms_up(name):
    assert schedules.learning_rate(name, 0, 20, 0.4) == pytest.approx(0.4)
    warm = [schedules.learning_rate(name, epoch, 20, 0.4, warmup_epochs=4) for epoch in range(4)]
    assert warm == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert schedules.learning_rate(name, 4, 20, 0.4, warmup_epochs=4) == pytest.approx(
        schedules.learning_rate(name, 4, 20, 0.4)
    )
