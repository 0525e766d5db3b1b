"""The stopping rule against eigenvalues of the original runs, and against plain readings of paper and released code."""

import json
import random

import pytest

from nas_lightning.curvature import EigenvalueStopping

EPOCHS = [*range(0, 50, 2), 49]
RUNS = {
    "S1, weight decay 3e-4, seed 1": """.179 .148 .170 .146 .121 .249 .231 .359 .225 .386 .208 .430 .508 .229 .410 .502
        .500 .250 .457 .517 .644 .459 .707 1.319 .527 .521""",
    "S1, weight decay 3e-4, seed 3": """.146 .208 .316 .197 .213 .183 .346 .203 .250 .171 .310 .305 .253 .261 .407 .592
        .596 .789 .733 .481 .365 .786 .913 .312 .880 1.064""",
    "S1, weight decay 81e-4, seed 1": """.123 .141 .090 .162 .115 .168 .172 .144 .129 .130 .204 .183 .180 .165 .267 .193
        .204 .125 .131 .202 .193 .172 .141 .229 .198 .220""",
}
"""Dominant eigenvalues in logs of RobustDARTS at epochs 0, 2, …, 48 and 49, to three decimals."""
STOPS = {
    "S1, weight decay 3e-4, seed 1": (22, 10),
    "S1, weight decay 3e-4, seed 3": (30, 18),
    "S1, weight decay 81e-4, seed 1": None,
}


def first_stop(criterion, epochs, values):
    for epoch, value in zip(epochs, values, strict=True):
        stop = criterion.update(epoch, value)
        if stop is not None:
            return epoch, stop
    return None


@pytest.mark.parametrize("run", RUNS)
def test_on_original_runs(run):
    values = [float(value) for value in RUNS[run].split()]
    assert len(values) == 26
    assert first_stop(EigenvalueStopping(), EPOCHS[:-1], values[:-1]) == STOPS[run]


def test_smoothed_values_of_the_first_run():
    criterion = EigenvalueStopping()
    first_stop(criterion, EPOCHS, [float(v) for v in RUNS["S1, weight decay 3e-4, seed 1"].split()])
    smoothed = dict(criterion.smoothed)  # golden values are of the unrounded eigenvalues
    assert smoothed[18] == pytest.approx(0.3217, abs=5e-4)
    assert smoothed[10] == pytest.approx(0.2214, abs=5e-4)
    assert list(smoothed) == list(range(0, 19, 2))
    assert smoothed[0] == pytest.approx((0.179 + 0.148 + 0.170) / 3)
    assert smoothed[2] == pytest.approx((0.179 + 0.148 + 0.170 + 0.146) / 4)


def released(values):
    """The rule as the released code states it, with nothing left variable: (epoch, stop epoch) or None."""
    averages = []
    for n in range(1, len(values) + 1):
        epoch = 2 * (n - 1)
        if n < 3:
            continue
        averages.append(sum(values[:n]) / n if n < 5 else sum(values[n - 5 : n]) / 5)
        if epoch >= 22 and averages[-1] > 1.3 * averages[-5]:
            return epoch, epoch - 12
    return None


def paper(values):
    """λ̄(i−5) / λ̄(i) < 0.75 with means over the last 5 epochs, as many as there are from the third on."""

    def mean(i):
        last = values[max(0, i - 4) : i + 1]
        return sum(last) / len(last)

    for i in range(7, len(values)):
        if mean(i - 5) / mean(i) < 0.75:
            return i, i - 5
    return None


def series(seed):
    """Noisy values that grow by up to a factor of six in fifty epochs, or do not."""
    rng = random.Random(seed)
    growth = rng.uniform(-0.2, 1.8)
    return [rng.uniform(0.5, 1.5) * 0.2 * 2.718 ** (growth * i / 25) for i in range(25)]


@pytest.mark.parametrize(("rule", "reference", "step"), [("released", released, 2), ("paper", paper, 1)])
def test_against_a_plain_reading(rule, reference, step):
    outcomes = []
    for seed in range(300):
        values = series(seed)
        expected = reference(values)
        assert first_stop(EigenvalueStopping.rule(rule), range(0, 25 * step, step), values) == expected
        outcomes.append(expected)
    assert len(set(outcomes)) > 8  # some stop early, some late, some never
    assert None in outcomes


def test_first_possible_stops():
    steep = [1.5**i for i in range(60)]
    assert first_stop(EigenvalueStopping(), range(0, 120, 2), steep) == (22, 10)
    assert first_stop(EigenvalueStopping.rule("paper"), range(60), steep) == (7, 2)


def test_the_default_is_the_released_rule():
    default, named = EigenvalueStopping(), EigenvalueStopping.rule("released")
    assert vars(default) == vars(named)
    with pytest.raises(ValueError, match="released, paper"):
        EigenvalueStopping.rule("published")


@pytest.mark.parametrize("window", [1, 2, 4, 7])
def test_other_windows_on_another_grid(window):
    """Every third epoch from 5 on: the centre of the window is a measured epoch."""
    criterion = EigenvalueStopping(window=window, delta=1, factor=1e9)
    for n in range(20):
        criterion.update(5 + 3 * n, float(n))
        if n < window // 2:
            assert criterion.smoothed == []
        else:
            first = max(0, n - window + 1)
            assert criterion.smoothed[-1] == (5 + 3 * (n - window // 2), pytest.approx((first + n) / 2))


def test_growth_from_nothing_is_none():
    """Neither two negative averages, whose ratio is above the factor when they fall, nor a nan stop."""
    falling = EigenvalueStopping(window=1, delta=1, start_epoch=0, offset=0)
    assert first_stop(falling, range(8), [-0.1, -0.2, -0.4, 0.0, 0.3, float("nan"), 0.3, 0.3]) is None
    assert falling.update(8, 0.4) == 8


def test_state_round_trip():
    """Through JSON, at any moment, and back to an earlier moment."""
    values = series(7)
    whole = EigenvalueStopping(start_epoch=0)
    states, decisions = [], []
    for n, value in enumerate(values):
        states.append(json.loads(json.dumps(whole.state_dict())))
        decisions.append(whole.update(2 * n, value))
    assert any(stop is not None for stop in decisions)
    resumed = EigenvalueStopping(start_epoch=0)
    for n in (0, 3, 20, 11):
        resumed.load_state_dict(states[n])
        assert [resumed.update(2 * m, values[m]) for m in range(n, 25)] == decisions[n:]
        assert resumed.smoothed == whole.smoothed
    states[0]["values"].append(1.0)
    assert len(resumed.state_dict()["values"]) == 25


@pytest.mark.parametrize("epoch", [4, 3])
def test_epochs_must_increase(epoch):
    criterion = EigenvalueStopping()
    criterion.update(4, 1.0)
    with pytest.raises(ValueError, match=f"epoch {epoch} was measured after epoch 4"):
        criterion.update(epoch, 1.0)
    assert criterion.update(5, 1.0) is None
    assert criterion.state_dict()["epochs"] == [4, 5]


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"window": 2.5}, {"delta": 0}, {"factor": 0.0}, {"start_epoch": -1}, {"offset": -1}]
)
def test_arguments_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EigenvalueStopping(**wrong)
