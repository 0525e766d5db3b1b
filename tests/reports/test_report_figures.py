"""The figures of many runs: what they are drawn from, and that they are left out where there is nothing."""

import json
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import nas_lightning as nl
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import ACCURACY
from nas_lightning.reports import collect
from nas_lightning.reports.correlations import (
    PAIRS,
    correlate,
    correlations,
    discretizations,
    draw_pair,
    drop_pair,
)
from nas_lightning.reports.costs import costs, draw_costs
from nas_lightning.reports.heatmaps import draw_mixing_over_time, read_mixing
from nas_lightning.reports.records import EVALUATION_SETTING, SETTING, Problems, gather, gather_analyses, settings
from nas_lightning.reports.report import best_runs
from nas_lightning.reports.spectra import draw_spectra
from nas_lightning.reports.style import Style, label, save
from nas_lightning.reports.trends import draw_eigenvalues, draw_regret, mean_over_runs
from reported import drop_of, report_analysis, report_run

NO_ENDS = pd.DataFrame({"run": [], "method": [], "regret": []})
COLUMNS = ("epoch", "attempt", "dominant_eigenvalue")


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def curvature_of(frame, problems=None):
    return gather(frame, "curvature.csv", COLUMNS, problems or Problems(), ("event",))


def test_mean_of_the_epochs_that_all_runs_have():
    rows = pd.DataFrame({"run": ["a", "a", "a", "b", "b"], "epoch": [0, 2, 4, 0, 2], "x": [0.1, 0.3, 0.9, 0.2, 0.7]})
    found = mean_over_runs(rows, "x")
    assert list(found.index) == [0, 2]  # b has ended before 4
    assert found["mean"].tolist() == pytest.approx([0.15, 0.5])
    assert found["std"].tolist() == pytest.approx([statistics.stdev([0.1, 0.2]), statistics.stdev([0.3, 0.7])])


def test_eigenvalues_have_a_panel_a_method_with_their_events(tmp_path):
    report_run(tmp_path / "a", 97.0, eigenvalues=[0.1, 0.2, 0.4], events={2: "stopped"})
    report_run(tmp_path / "b", 97.0, eigenvalues=[0.2, 0.3, 0.5], seed=1)
    report_run(tmp_path / "c", 96.0, method="darts_ada", eigenvalues=[0.1, 0.6], events={1: "rolled back"})
    rows = curvature_of(collect(str(tmp_path)))
    figure = draw_eigenvalues(rows, Style(rows["method"]), "curvature")
    assert titles(figure) == ["darts (n = 2, seeds 0–1)", "darts_ada (n = 1, seed 0)"]
    darts, ada = figure.axes
    mean = next(line for line in darts.lines if line.get_linewidth() == 2.2)
    assert mean.get_ydata() == pytest.approx([0.15, 0.25, 0.45])
    marks = {
        axes: [(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines if line.get_linestyle() == "None"]
        for axes in (darts, ada)
    }
    assert marks[darts] == [("X", 3, 0.4)]  # epochs count from one, as in all figures
    assert marks[ada] == [("v", 2, 0.6)]
    assert {"stopped", "rolled back", "a run"} <= set(texts(figure))


def test_no_line_goes_on_after_a_rollback():
    rows = pd.DataFrame(
        {
            "run": "a",
            "method": "ada",
            "epoch": [0, 1, 2, 3],
            "attempt": [0, 0, 1, 1],
            "dominant_eigenvalue": [1.0, 2, 3, 4],
        }
    )
    figure = draw_eigenvalues(rows, Style(["ada"]), "curvature")
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() == 0.7]
    assert [list(line.get_xdata()) for line in thin] == [[1, 2], [3, 4]]


def test_many_methods_have_many_panels():
    rows = pd.DataFrame(
        [
            {"run": f"{m}{s}", "method": f"m{m:02}", "epoch": e, "attempt": 0, "regret": float(m + s + e)}
            for m in range(26)
            for s in range(1)
            for e in range(-1, 3)
        ]
    )
    figure = draw_regret(rows, NO_ENDS, Style(rows["method"]), "regret")
    assert len([axes for axes in figure.axes if axes.axison]) == 24
    assert figure.axes[0].lines[-1].get_xdata().tolist() == [0, 1, 2, 3]  # epochs done


def test_methods_that_are_known_at_the_end_alone_have_a_level_line():
    rows = [{"run": "a", "method": "darts", "epoch": e, "attempt": 0, "regret": 5.0 - e} for e in range(-1, 4)]
    ends = [("a", "darts", 9.0), ("b", "darts_pt", 1.0), ("c", "darts_pt", 3.0)]
    ends = pd.DataFrame(ends, columns=["run", "method", "regret"])
    figure = draw_regret(pd.DataFrame(rows), ends, Style(["darts", "darts_pt"]), "regret")
    assert titles(figure) == ["darts (n = 1)", "darts_pt (n = 2, at the end)"]
    means = [next(line for line in axes.lines if line.get_linewidth() == 2.2) for axes in figure.axes]
    assert [line.get_linestyle() for line in means] == ["-", "--"]
    assert means[0].get_xydata().tolist() == [[0, 6], [1, 5], [2, 4], [3, 3], [4, 2]]  # its own end is not drawn
    assert means[1].get_xydata().tolist() == [[0, 2], [4, 2]]


def test_nothing_measured_is_no_figure(tmp_path):
    report_run(tmp_path / "a", 97.0)
    frame = collect(str(tmp_path))
    rows = curvature_of(frame)
    assert rows.empty
    assert draw_eigenvalues(rows, Style([]), "") is None
    nothing = pd.DataFrame({"run": ["a"], "method": ["x"], "epoch": [0], "attempt": [0], "regret": [math.nan]})
    assert draw_regret(nothing, NO_ENDS, Style(["x"]), "") is None
    frame = frame.assign(mean_eigenvalue=math.nan, test_error=3.0)
    assert [draw_pair(frame, pair, Style(["darts"])) for pair in PAIRS] == [None] * 3
    assert correlations([(pair, frame) for pair in PAIRS]) is None
    parts = ["search_seconds", "curvature_seconds", "selection_seconds", "evaluation_seconds"]
    unmeasured = frame.assign(**dict.fromkeys(parts, math.nan))
    assert costs(unmeasured) is None
    assert draw_costs(unmeasured) is None
    assert read_mixing(tmp_path / "a" / "genotypes.jsonl") == []


def test_correlation_against_its_definition():
    rng = np.random.default_rng(0)
    x = rng.normal(size=24)
    y = 0.8 * x + rng.normal(size=24)
    found = correlate([*x, math.nan, 1.0], [*y, 1.0, math.nan])
    assert found.n == 24
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    assert found.spearman == pytest.approx(1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (24 * (24**2 - 1)))
    # p of Student's t with n - 2 degrees of freedom, integrated by hand
    for r, p in ((found.pearson, found.pearson_p), (found.spearman, found.spearman_p)):
        t = abs(r) * math.sqrt(22 / (1 - r * r))
        grid = np.linspace(t, t + 200, 2_000_001)
        density = math.gamma(11.5) / (math.sqrt(22 * math.pi) * math.gamma(11)) * (1 + grid**2 / 22) ** -11.5
        assert p == pytest.approx(2 * np.trapezoid(density, grid), rel=1e-3)


@pytest.mark.parametrize(("x", "y"), [(range(7), range(7)), ([1] * 8, range(8)), ([], [])])
def test_no_correlation_of_few_or_constant_values(x, y):
    found = correlate(x, y)
    assert found.n == len(x)
    assert math.isnan(found.pearson)
    assert math.isnan(found.spearman_p)


def test_settings_are_correlated_apart(tmp_path):
    for seed in range(8):
        eigenvalue, accuracy = 0.1 * (seed + 1), 97.0 - seed
        report_run(tmp_path / f"a{seed}", accuracy, eigenvalues=[eigenvalue], seed=seed)
        report_run(tmp_path / f"b{seed}", 100 - accuracy, eigenvalues=[eigenvalue], seed=seed, data="cifar10")
    for seed in range(7):  # too few to say anything
        report_run(tmp_path / f"few{seed}", 50.0 + seed, eigenvalues=[9.0 + seed], seed=seed, space="s1")
    frame = collect(str(tmp_path)).assign(mean_eigenvalue=math.nan, test_error=math.nan)
    sheet = correlations([(pair, frame) for pair in PAIRS])
    cells = [[line[2], line[3], line[4]] for line in sheet.lines if line[0] == PAIRS[0].x[1]]
    assert cells == [["s3 · cifar10 · digits · 16/4/14", "8", "1.00"], ["s3 · digits · digits · 16/4/14", "8", "-1.00"]]
    figure = draw_pair(frame, PAIRS[0], Style(["darts"]))
    assert [title.splitlines()[0] for title in titles(figure)] == [f"{cell[0]}, seeds 0–7" for cell in cells]
    assert "n = 8" in titles(figure)[0]


def test_costs_are_means_by_method(tmp_path):
    for seed, seconds in enumerate((100.0, 300.0)):
        run = report_run(tmp_path / str(seed), 97.0, seed=seed)
        content = json.loads((run / "summary.json").read_text())
        content["search"]["seconds"] = seconds
        (run / "summary.json").write_text(json.dumps(content))
    report_run(tmp_path / "dear", 97.0, method="dear", search={"seconds": 900.0, "val_accuracy": 1.0})
    frame = collect(str(tmp_path))
    assert list(costs(frame).lines) == [
        ["darts", "s3", "digits", "2", "200.0", "20.0", "5.0", "40.0", "265.0"],
        ["dear", "s3", "digits", "1", "900.0", "–", "5.0", "40.0", "945.0"],
    ]
    (axes,) = draw_costs(frame).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["darts", "dear"]  # the dearest on top
    assert axes.get_xlabel() == "minutes"
    ends = [
        max(bar.get_x() + bar.get_width() for bar in axes.patches if round(bar.get_y() + 0.36) == y) for y in (0, 1)
    ]
    assert ends == pytest.approx([265 / 60, 945 / 60])


def test_mixing_weights_over_time():
    choice = nl.build_space(nl.compose(["space=s1"])).choices["normal"]
    lines = [
        {"epoch": epoch, "attempt": int(epoch > 0), "mixing": {"normal": [[0.5 - w, 0.5 + w]] * choice.num_rows}}
        for epoch, w in ((-1, 0.0), (0, 0.1), (1, 0.2))
    ]
    figure = draw_mixing_over_time(lines, choice, "darts: normal")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.images}
    assert set(panels) >= {"skip_connect", "dil_conv_3x3", "sep_conv_3x3"}
    shown = panels["dil_conv_3x3"].images[0].get_array()
    assert shown[0].tolist() == pytest.approx([0.5, 0.6, 0.7])  # the first edge: skip_connect or dil_conv_3x3
    assert np.isnan(shown.filled(np.nan)[1]).all()  # the second does not offer it
    assert [tick.get_text() for tick in panels["skip_connect"].get_xticklabels()] == ["0", "1", "2"]
    assert len(panels["skip_connect"].lines) == 1  # a new attempt
    with pytest.raises(ConfigError, match="not 14 rows of 2"):
        draw_mixing_over_time([{"epoch": 0, "mixing": {"normal": [[1.0, 0.0]]}}], choice, "")


def test_damaged_tables_are_named_and_passed_over(tmp_path):
    good = report_run(tmp_path / "good", 97.0, eigenvalues=[0.1, 0.2])
    bad = report_run(tmp_path / "bad", 97.0, eigenvalues=[0.1])
    (bad / "curvature.csv").write_text("epoch,attempt,dominant_eigenvalue\n0,0,high\n")
    other = report_run(tmp_path / "other", 97.0, eigenvalues=[0.1])
    (other / "curvature.csv").write_text("foreign,columns\n1,2\n")
    with (good / "curvature.csv").open("a") as file:
        file.write("2,2,0,0.")  # cut off by a kill
    problems = Problems()
    rows = curvature_of(collect(str(tmp_path)), problems)
    assert set(rows["run"]) == {str(good)}
    assert rows["dominant_eigenvalue"].tolist() == [0.1, 0.2]
    ((folder, reason),) = problems.found
    assert folder == str(bad)
    assert reason.startswith("curvature.csv: ValueError")


def test_settings_come_by_number_of_runs(tmp_path):
    report_run(tmp_path / "a", 97.0, space="s1")
    for seed in range(2):
        report_run(tmp_path / f"b{seed}", 96.0 + seed, seed=seed)
    report_run(tmp_path / "c", 99.0, method="drnas")
    frame = collect(str(tmp_path))
    assert [title for title, _ in settings(frame, SETTING, 9)] == ["s3 · digits", "s1 · digits"]
    assert len(settings(frame, EVALUATION_SETTING, 1)) == 1
    best = best_runs(frame)
    assert best[["method", "space", "test_accuracy"]].to_numpy().tolist() == [
        ["drnas", "s3", 99.0],
        ["darts", "s3", 97.0],
        ["darts", "s1", 97.0],
    ]
    assert len(best_runs(frame, 2)) == 2


def test_methods_keep_their_colours_and_differ():
    names = [f"m{index:02}" for index in range(40)]
    style = Style(names)
    assert len({(to_hex(style.colour(name)), style.marker(name)) for name in names}) == 40


def test_labels_are_no_formulas(tmp_path):
    rows = pd.DataFrame(
        {"run": ["a"], "method": ["$\\bad{$ <b>"], "epoch": [0], "attempt": [0], "dominant_eigenvalue": [0.1]}
    )
    figure = draw_eigenvalues(rows, Style(rows["method"]), "a $ title")
    svg, png = save(figure, tmp_path / "figures", "x")
    assert "&lt;b&gt;" in svg.read_text()
    assert "<b>" not in svg.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert label("x" * 99).endswith("…")


DISCRETIZATION = drop_pair(ACCURACY, "discretization")
DROPS = ("val_accuracy", "drop", "discrete_accuracy", "dominant_eigenvalue")


def test_of_each_run_the_latest_analysis_of_the_latest_epoch_counts(tmp_path):
    report_run(tmp_path / "run", 97.0)
    early = [drop_of("a", 5.0, 0.1, epoch=50), drop_of("b", 7.0, 0.2, epoch=20), drop_of("c", 8.0, "")]
    report_analysis(tmp_path / "1", "discretization", early)
    report_analysis(
        tmp_path / "2", "discretization", [drop_of("a", 6.0, 0.1, epoch=50), drop_of("b", 9.0, 1, epoch=10)]
    )
    report_analysis(tmp_path / "3", "spectrum", [{"run": "a", "eigenvalue": 1.0}])
    problems = Problems()
    rows = gather_analyses(collect(str(tmp_path)), "discretization", DROPS, problems)
    assert rows[["run", "drop", "epoch"]].to_numpy().tolist() == [["b", 7.0, 20.0], ["c", 8.0, 3.0], ["a", 6.0, 50.0]]
    assert math.isnan(rows["dominant_eigenvalue"].iloc[1])
    assert not problems.found
    (tmp_path / "2" / "analysis.csv").write_bytes(b"run,method,space,data,epoch,eigenvalue\n\xff,,,,1,1\n")
    (tmp_path / "2" / "summary.json").write_text('{"task": "analyse", "analysis": {"name": "spectrum"}}')
    assert len(gather_analyses(collect(str(tmp_path)), "spectrum", ("eigenvalue",), problems)) == 1
    assert [folder for folder, _ in problems.found] == [str(tmp_path / "2")]


def test_drops_against_the_curvature(tmp_path):
    report_run(tmp_path / "run", 97.0)
    x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.9]
    y = [10.0, 30.0, 20.0, 40.0, 50.0, 60.0, 70.0, 80.0]
    rows = [drop_of(str(number), drop, value) for number, (value, drop) in enumerate(zip(x, y, strict=True))]
    rows += [drop_of("other", 1.0, 0.5, method="drnas", space="s2"), drop_of("unmeasured", 99.0, "")]
    report_analysis(tmp_path / "a", "discretization", rows)
    frame = gather_analyses(collect(str(tmp_path)), "discretization", DROPS, Problems())
    figure = draw_pair(frame, DISCRETIZATION, Style(frame["method"]))
    (title,) = titles(figure)
    expected = f"Pearson r = {np.corrcoef(x, y)[0, 1]:.2f} ", "Spearman ρ = 0.98 ", "s3 · digits, seed 0\n", "n = 8"
    assert all(text in title for text in expected), title
    (points,) = figure.axes[0].collections
    assert points.get_offsets().tolist() == [list(pair) for pair in zip(x, y, strict=True)]
    (line,) = correlations([(DISCRETIZATION, frame)]).lines
    assert line[2:5] == ["s3 · digits", "8", f"{np.corrcoef(x, y)[0, 1]:.2f}"]
    sheet = discretizations(frame)
    assert [line[:4] for line in sheet.lines] == [["darts", "s3", "digits", "9"], ["drnas", "s2", "digits", "1"]]
    drops = [*y, 99.0]
    assert sheet.lines[0][4] == "90.00"
    assert sheet.lines[0][6] == f"{statistics.mean(drops):.2f} ± {statistics.stdev(drops):.2f}"
    assert discretizations(frame.iloc[:0]) is None


def test_spectra_show_the_largest_by_absolute_value():
    rows = pd.DataFrame({"run": "a", "method": "darts", "eigenvalue": [-0.5, -0.1, 0.0, 0.2, 1.0]})
    rows = pd.concat([rows, pd.DataFrame({"run": ["b"], "method": ["drnas"], "eigenvalue": [2.0]})])
    figure = draw_spectra(rows, Style(rows["method"]), "spectra", largest=3)
    assert titles(figure) == ["darts (n = 1)", "drnas (n = 1)"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dots] == [([1, 2, 3], [1.0, -0.5, 0.2])]
