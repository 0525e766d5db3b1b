"""The figure of the architecture after each epoch: its lines, its limits, its words."""

import pytest

from nas_lightning.reports import trajectory
from nas_lightning.reports.trajectory import save_trajectory


def rows(values, attempts=None):
    attempts = attempts or [0] * len(values)
    return [
        {"epoch": epoch - 1, "attempt": attempt, "test_accuracy": value}
        for epoch, (value, attempt) in enumerate(zip(values, attempts, strict=True))
    ]


@pytest.fixture
def figure(monkeypatch, tmp_path):
    def draw(*arguments):
        kept = []
        monkeypatch.setattr(trajectory, "save_svg", lambda figure, path: kept.append(figure) or path)
        assert save_trajectory(*arguments, "cifar10_test_200", tmp_path / "plots") == tmp_path / "plots/trajectory.svg"
        return kept[0]

    return draw


def test_lines(figure):
    drawn = figure(rows([90.0, 91.0, None, 80.0, 85.0], [0, 0, 0, 1, 1]), 93.0, 94.37)
    first, second, chosen, best = drawn.axes[0].lines
    assert list(first.get_xdata()) == [0, 1, 2]  # epochs done
    assert list(first.get_ydata())[:2] == [90.0, 91.0]
    assert list(second.get_xdata()) == [3, 4]
    assert (list(chosen.get_xdata()), list(chosen.get_ydata())) == ([4], [93.0])
    assert set(best.get_ydata()) == {94.37}
    first, second, chosen = drawn.axes[1].lines  # the regret, by hand
    assert list(first.get_ydata())[:2] == pytest.approx([4.37, 3.37])
    assert list(second.get_ydata()) == pytest.approx([14.37, 9.37])
    assert list(chosen.get_ydata()) == pytest.approx([1.37])
    assert len(drawn.axes) == 2  # no validation error was measured
    words = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert words == ["derived architecture", "selected: 93.00 %", "best in the table: 94.37 %"]


@pytest.mark.parametrize("values", [[90.0], [94.37, 94.37], [10.0, 94.0], [None, 50.0]])
def test_everything_is_within_the_axes(figure, values):
    drawn = figure(rows(values), values[-1], 94.37)
    low, high = drawn.axes[0].get_ylim()
    assert all(low < value < high for value in [*filter(None, values), 94.37])


def test_written_file(tmp_path):
    path = save_trajectory(rows([90.0, 91.0]), None, 94.37, "cifar10_test_200", tmp_path)
    text = path.read_text()
    assert "cifar10_test_200" in text
    assert "selected" not in text


def test_validation_error_has_an_axis_of_its_own(figure):
    measured = [row | {"val_error": error} for row, error in zip(rows([90.0, 91.0]), [None, 12.5], strict=True)]
    drawn = figure(measured, None, 94.37)
    (line,) = drawn.axes[2].lines
    assert list(line.get_ydata())[1] == 12.5
    assert "validation error of the one-shot model" in [text.get_text() for text in drawn.legends[0].get_texts()]


def test_random_search_is_a_level_line(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(trajectory, "save_svg", lambda figure, path: kept.append(figure) or path)
    save_trajectory(rows([90.0, 91.0]), None, 94.37, "x", tmp_path, draws=7, random_search=92.5)
    line = kept[0].axes[0].lines[-1]
    assert set(line.get_ydata()) == {92.5}
    assert line.get_label() == "random search, best of 7: 92.50 % expected"
    low, high = kept[0].axes[0].get_ylim()
    assert low < 92.5 < high
