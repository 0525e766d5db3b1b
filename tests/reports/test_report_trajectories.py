"""Regret and curvature in one figure: means and standard errors against numpy, axes, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from nas_lightning.reports.style import Style
from nas_lightning.reports.trajectories import draw_trajectories, mean_and_error

REGRET = {"darts": [[9.0, 6.0, 8.0], [7.0, 5.0, 9.0]], "sdarts_rs": [[9.0, 3.0, 1.0], [8.0, 4.0, 2.5]]}
CURVATURE = {"darts": [[0.1, 0.4, 1.2], [0.2, 0.5, 1.0]], "sdarts_rs": [[0.1, 0.1, 0.2], [0.1, 0.2, 0.3]]}


def frame(values, column):
    return pd.DataFrame(
        [
            {"run": f"{method}{seed}", "method": method, "seed": seed, "epoch": epoch, column: value}
            for method, runs in values.items()
            for seed, run in enumerate(runs)
            for epoch, value in enumerate(run)
        ]
    )


def drawn(regret=None, curvature=None):
    regret = frame(REGRET, "regret") if regret is None else regret
    curvature = frame(CURVATURE, "dominant_eigenvalue") if curvature is None else curvature
    return draw_trajectories(regret, curvature, Style(["darts", "sdarts_rs"]), "nasbench1shot1_1 · cifar10")


def test_means_and_standard_errors():
    found = mean_and_error(frame({"darts": REGRET["darts"]}, "regret"), "regret")
    runs = np.array(REGRET["darts"])
    assert found["mean"].tolist() == pytest.approx(runs.mean(axis=0).tolist())
    assert found["error"].tolist() == pytest.approx((runs.std(axis=0, ddof=1) / 2**0.5).tolist())


def test_the_mean_ends_with_the_first_run_that_ends():
    rows = frame({"darts": [[9.0, 6.0, 8.0], [7.0]]}, "regret")
    assert mean_and_error(rows, "regret").index.tolist() == [0]


def test_regret_is_solid_and_curvature_dashed_on_its_own_axis():
    left, right = drawn().axes
    for axes, values, line in ((left, REGRET, "-"), (right, CURVATURE, "--")):
        assert [one.get_linestyle() for one in axes.lines] == [line] * 2
        # The least regret at the end comes first.
        for one, method in zip(axes.lines, ["sdarts_rs", "darts"], strict=True):
            assert one.get_ydata().tolist() == pytest.approx(np.mean(values[method], axis=0).tolist())
            assert one.get_xdata().tolist() == [1, 2, 3]
    assert [one.get_color() for one in left.lines] == [one.get_color() for one in right.lines]
    assert (left.get_ylabel(), right.get_ylabel()) == ("regret (% accuracy)", "dominant eigenvalue (dashed)")


def test_what_a_rollback_leaves_counts_once():
    again = pd.DataFrame([{"run": "darts0", "method": "darts", "seed": 0, "epoch": 2, "regret": 2.0}])
    figure = drawn(regret=pd.concat([frame(REGRET, "regret"), again]))
    assert figure.axes[0].lines[1].get_ydata()[-1] == pytest.approx((2.0 + 9.0) / 2)


def test_methods_without_both_are_left_out_and_nothing_is_no_figure():
    curvature = frame({"darts": CURVATURE["darts"]}, "dominant_eigenvalue")
    assert len(drawn(curvature=curvature).axes[0].lines) == 1
    assert drawn(curvature=curvature.head(0)) is None
    assert drawn(regret=frame(REGRET, "regret").assign(regret=np.nan)) is None
