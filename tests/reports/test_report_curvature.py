import re
from statistics import mean
from xml.etree import ElementTree

import pytest

from nas_lightning.reports import save_curvature

HEADER = "epoch,search_epoch,attempt,dominant_eigenvalue,smoothed,event,to_epoch,products,seconds\n"
SVG = "{http://www.w3.org/2000/svg}"
RAW, SMOOTHED = "#56b4e9", "#0072b2"


def write(path, *rows):
    """Rows are (epoch, search epoch, attempt, eigenvalue) and, where there are any, smoothed, event and epoch."""
    padded = [(*row, *[""] * (7 - len(row)), 30, 1.25) for row in rows]
    path.write_text(HEADER + "".join(",".join(map(str, row)) + "\n" for row in padded))
    return path


def plain(values, interval=2):
    return [(interval * index, interval * index, 0, value) for index, value in enumerate(values)]


def texts(path):
    return [text.strip() for text in re.findall(r">([^<>]+)</text>", path.read_text())]


def lines(path, colour):
    """The points of every line of a colour, in SVG units; the line in the legend is left out."""
    root = ElementTree.parse(path)
    legends = [group for group in root.iter(f"{SVG}g") if group.get("id", "").startswith("legend")]
    in_legend = {element for legend in legends for element in legend.iter()}
    found = []
    for element in root.iter(f"{SVG}path"):
        style = element.get("style", "")
        if element not in in_legend and f"fill: none; stroke: {colour};" in style:
            numbers = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", element.get("d"))]
            found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return found


def assert_drawn(line, expected, raw_line, raw):
    """A line lies at the expected data, in the scale that two points of the measured line fix."""
    first, last = min(raw, key=lambda p: p[1]), max(raw, key=lambda p: p[1])
    scales = []
    for axis in (0, 1):
        low, high = raw_line[raw.index(first)][axis], raw_line[raw.index(last)][axis]
        slope = (high - low) / (last[axis] - first[axis])
        scales.append((slope, low - slope * first[axis]))
    assert len(line) == len(expected)
    for point, target in zip(line, expected, strict=True):
        for axis, (slope, offset) in enumerate(scales):
            assert point[axis] == pytest.approx(slope * target[axis] + offset, abs=1e-3)


def test_control_wrote_its_averages(tmp_path):
    raw = [(0, 0.2), (2, 0.25), (4, 0.3), (6, 0.9), (8, 1.0), (10, 1.7)]
    smoothed = {6: 0.41, 8: 0.6, 10: 0.97}
    rows = [(epoch, epoch, 0, value, smoothed.get(epoch, "")) for epoch, value in raw]
    rows[-1] += ("stopped", 4)
    (path,) = save_curvature(write(tmp_path / "curvature.csv", *rows), tmp_path / "plots")
    assert path == tmp_path / "plots" / "curvature.svg"
    found = texts(path)
    for label in ("epoch", "dominant eigenvalue", "measured", "smoothed", "stopped: back to epoch 4"):
        assert found.count(label) == 1
    assert "mean of 5" not in found
    (measured,) = lines(path, RAW)
    assert_drawn(measured, raw, measured, raw)
    (thick,) = lines(path, SMOOTHED)
    assert_drawn(thick, list(smoothed.items()), measured, raw)


@pytest.mark.parametrize("has_column", [True, False])
def test_without_averages_the_mean_of_five_is_drawn_and_named(tmp_path, has_column):
    values = [0.2, 0.4, 0.3, 0.8, 0.3, 1.2, 0.9]
    if has_column:
        table = write(tmp_path / "curvature.csv", *plain(values))
    else:
        table = tmp_path / "curvature.csv"
        table.write_text(
            "epoch,dominant_eigenvalue\n" + "".join(f"{2 * index},{value}\n" for index, value in enumerate(values))
        )
    (path,) = save_curvature(table, tmp_path)
    assert texts(path).count("mean of 5") == 1
    assert "smoothed" not in texts(path)
    (measured,) = lines(path, RAW)
    raw = [(2.0 * index, value) for index, value in enumerate(values)]
    # (0.2+0.4+0.3+0.8+0.3)/5, (0.4+0.3+0.8+0.3+1.2)/5, (0.3+0.8+0.3+1.2+0.9)/5 at their centres
    (thick,) = lines(path, SMOOTHED)
    assert_drawn(thick, [(4, 0.4), (6, 0.6), (8, 0.7)], measured, raw)


def test_four_measurements_have_no_mean_of_five(tmp_path):
    (path,) = save_curvature(write(tmp_path / "curvature.csv", *plain([0.1, 0.2, 0.4, 0.3])), tmp_path)
    assert "measured" in texts(path)
    assert "mean of 5" not in texts(path)
    assert lines(path, SMOOTHED) == []


def test_attempts_are_lines_of_their_own(tmp_path):
    first, second = [0.1, 0.2, 0.3, 0.4, 0.5, 1.5], [0.3, 0.2, 0.2, 0.3, 0.5]
    rows = [(epoch, epoch, 0, value) for epoch, value in enumerate(first)]
    rows[-1] += ("", "rolled back", 2)
    rows += [(6 + index, 3 + index, 1, value) for index, value in enumerate(second)]
    rows[-1] += ("", "stopped", 5)
    (path,) = save_curvature(write(tmp_path / "curvature.csv", *rows), tmp_path)
    found = texts(path)
    # The second label counts search epochs, which after a rollback are others than the axis shows.
    assert found.count("rolled back: back to epoch 2") == 1
    assert found.count("stopped: back to search epoch 5") == 1
    assert found.count("measured") == found.count("mean of 5") == 1
    before, after = lines(path, RAW)
    raw = list(enumerate(first))
    assert_drawn(before, raw, before, raw)
    assert_drawn(after, [(6 + index, value) for index, value in enumerate(second)], before, raw)
    one, other = lines(path, SMOOTHED)
    assert_drawn(one, [(2, mean(first[:5])), (3, mean(first[1:]))], before, raw)
    assert_drawn(other, [(8, mean(second))], before, raw)


def test_marker_stands_at_the_event(tmp_path):
    raw = [(0, 0.5), (4, 0.8), (8, 2.0), (9, 1.0)]
    rows = [(epoch, epoch, 0, value) for epoch, value in raw]
    rows[2] += ("", "rolled back", 0)
    (path,) = save_curvature(write(tmp_path / "curvature.csv", *rows), tmp_path)
    (measured,) = lines(path, RAW)
    markers = re.findall(
        r'<path d="M ([\d.]+) [\d.]+ *\n?L ([\d.]+) [\d.]+ *\n?"[^>]*stroke-dasharray', path.read_text()
    )
    ((top, bottom),) = markers
    assert float(top) == float(bottom) == pytest.approx(measured[2][0], abs=1e-3)


def test_event_without_an_epoch(tmp_path):
    (path,) = save_curvature(write(tmp_path / "curvature.csv", (0, 0, 0, 0.5, "", "stopped")), tmp_path)
    assert "stopped" in texts(path)


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    values = [0.1, "nan", 0.2, "inf", "", 0.3, 0.6, 0.8]
    (path,) = save_curvature(write(tmp_path / "curvature.csv", *plain(values)), tmp_path)
    raw = [(0, 0.1), (4, 0.2), (10, 0.3), (12, 0.6), (14, 0.8)]
    (measured,) = lines(path, RAW)
    assert_drawn(measured, raw, measured, raw)
    (thick,) = lines(path, SMOOTHED)
    assert_drawn(thick, [(10, 0.4)], measured, raw)


@pytest.mark.parametrize("content", ["", HEADER, "epoch,products\n0,30\n", "epoch,dominant_eigenvalue\n0,nan\n"])
def test_nothing_measured_no_figure(tmp_path, content):
    table = tmp_path / "curvature.csv"
    table.write_text(content)
    assert save_curvature(table, tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()


def test_no_table_no_figure(tmp_path):
    assert save_curvature(tmp_path / "curvature.csv", tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()


def test_same_table_same_bytes(tmp_path):
    table = write(tmp_path / "curvature.csv", *plain([0.1, 0.2]), (4, 4, 0, 0.9, "", "stopped", 0))
    (one,), (other,) = save_curvature(table, tmp_path / "a"), save_curvature(table, tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
