"""RobustDARTS beside its code: where 150 series stop, second-order steps with an eigenvalue, steps with drop-path."""

import math

import torch

import nas_lightning as nl
from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core import draws
from released_code import deviation, deviations, formula_batches, module_of, released, train

NUMBERS = released("robust_darts")
SETUP = NUMBERS["setup"]
KEYS = ("arch", "weights", "momentum", "lr")


def value(series, i):
    return 0.3 + 0.1 * math.sin(0.7 * series + 0.9 * i) + (i / 25) ** (1 + series % 5) * 0.06 * (series % 7)


def stop_of(series):
    rule = nl.EigenvalueStopping(window=5, delta=4, factor=1.3, start_epoch=10, offset=8)
    for i, epoch in enumerate(range(0, 50, 2)):
        back_to = rule.update(epoch, value(series, i))
        if back_to is not None:
            return [epoch, back_to]
    return None


def test_every_series_stops_where_the_released_code_stops():
    assert [stop_of(series) for series in range(len(NUMBERS["stops"]))] == NUMBERS["stops"]


def test_second_order_steps_in_s2_and_the_dominant_eigenvalue_after_them(tmp_path):
    module, _ = module_of(["method=darts_2nd", "space=s2"], SETUP, tmp_path)
    trainer, rows = train(module, formula_batches(SETUP, 2), SETUP, 2)
    worst = deviations(rows, NUMBERS["s2"], KEYS)
    assert max(worst.values()) < 1e-9, worst
    # The last arch batch, statistics of the batch, weight decay included.
    module.supernet.train()
    for exact in (True, False):
        found = CurvatureTracking(exact=exact).measured(trainer, module).dominant_eigenvalue
        assert deviation(found, NUMBERS["eigenvalue"]) < 1e-9


def test_first_order_steps_in_s1_with_drop_path(tmp_path, monkeypatch):
    keyed, passes = draws.keyed, []

    def recorded(seed, step, pass_name, rank=0):
        passes.append((step, pass_name))
        return keyed(seed, step, pass_name, rank)

    def keep_mask(x, keep, what, cell, row):
        step, pass_name = passes[-1]
        # Nothing is dropped in the first epoch, so the released code drew nothing there.
        number = 2 * (step - SETUP["per_epoch"]) + ["outer", "weights"].index(pass_name)
        j = torch.arange(x.shape[0], dtype=torch.float64)
        return (torch.sin(j * 1.9 + 0.7 * number + 0.37 * cell + 0.23 * row) > -0.5).double().view(-1, 1, 1, 1)

    monkeypatch.setattr(draws, "keyed", recorded)
    monkeypatch.setattr(draws, "keep_mask", keep_mask)
    drop_path = ["+regularizer=drop_path", f"regularizer.drop_path.maximum={SETUP['maximum']}"]
    module, _ = module_of(["method=darts", "space=s1", *drop_path], SETUP, tmp_path)
    _, rows = train(module, formula_batches(SETUP, 2), SETUP, 2)
    worst = deviations(rows, NUMBERS["s1"], KEYS)
    assert max(worst.values()) < 1e-9, worst
