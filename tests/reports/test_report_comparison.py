"""Methods against a baseline: pairs by seed, p values, Holm's correction, what is refused."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.reports.comparison import compare, holm, note, smallest_p, write
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

DARTS = [4.0, 3.0, 5.0, 2.5, 6.0]
BETTER = [1.0, 2.0, 1.5, 2.0, 1.0]  # differences −3, −1, −3.5, −0.5, −5
MIXED = [4.5, 2.0, 5.0, 4.5, 3.0]  # differences +0.5, −1, 0, +2, −3


def frame_of(values, column="regret"):
    rows = [
        {
            "run": f"{method}{seed}",
            "method": method,
            "seed": float(seed),
            "test_accuracy": 95 - value,
            "regret": value if column == "regret" else np.nan,
            **{
                "space": "s5",
                "data": "digits",
                "judged_on": "digits",
                "judge": None,
                "table": "s5_digits",
                "recipe": "tabular",
                "metric": "accuracy",
            },
            **{"init_channels": 8.0, "layers": 3.0, "epochs": 8.0},
        }
        for method, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    return pd.DataFrame(rows)


def signed_rank_p(differences):
    """Every assignment of signs, counted: the definition, not scipy's."""
    nonzero = [d for d in differences if d]
    ranks = stats.rankdata(np.abs(nonzero))
    centre = ranks.sum() / 2
    observed = abs(sum(r for r, d in zip(ranks, nonzero, strict=True) if d > 0) - centre)
    sums = [
        abs(sum(r for r, s in zip(ranks, signs, strict=True) if s) - centre)
        for signs in product((0, 1), repeat=len(ranks))
    ]
    return sum(one >= observed - 1e-9 for one in sums) / len(sums)


def test_against_the_definitions():
    table = compare(frame_of({"darts": DARTS, "better": BETTER, "mixed": MIXED}), "darts").set_index("method")
    assert list(table.index) == ["better", "mixed", "darts"]  # best mean first
    assert set(table["value"]) == {"regret"}
    for method, values in (("better", BETTER), ("mixed", MIXED)):
        row, differences = table.loc[method], np.subtract(values, DARTS)
        assert (row["n"], row["pairs"]) == (5, 5)
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["std"] == pytest.approx(np.std(values, ddof=1))
        assert row["difference_mean"] == pytest.approx(differences.mean())
        assert row["difference_std"] == pytest.approx(differences.std(ddof=1))
        assert row["t_p"] == pytest.approx(stats.ttest_rel(values, DARTS).pvalue)
        assert row["wilcoxon_p"] == pytest.approx(signed_rank_p(differences))
    assert table.loc["better", "wilcoxon_p"] == pytest.approx(smallest_p(5)) == 0.0625
    assert table.loc["better", "wilcoxon_holm"] == pytest.approx(0.125)
    assert pd.isna(table.loc["darts", "pairs"])


def test_without_ties_it_is_scipys_exact_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=9), rng.normal(size=9)
    found = compare(frame_of({"darts": a, "x": b}), "darts").set_index("method").loc["x"]
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon(b - a, method="exact").pvalue, abs=1e-5)


def test_holm_by_hand():
    """0.01·4, then 0.02·3, then 0.03·2 which may not fall, then 0.5."""
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    adjusted = holm([0.01, float("nan"), 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])


def test_only_shared_seeds_are_pairs_and_equal_values_are_no_evidence():
    frame = frame_of({"darts": DARTS, "same": DARTS, "few": BETTER[:2]})
    table = compare(frame, "darts").set_index("method")
    assert table.loc["few", "pairs"] == 2
    assert table.loc["few", "difference_mean"] == pytest.approx(-2.0)
    assert table.loc["same", "difference_mean"] == 0
    assert pd.isna(table.loc["same", "wilcoxon_p"])
    assert pd.isna(table.loc["same", "t_holm"])


def test_test_error_where_there_is_no_regret():
    table = compare(frame_of({"darts": DARTS, "x": BETTER}, "none"), "darts").set_index("method")
    assert set(table["value"]) == {"test_error"}
    assert table.loc["x", "mean"] == pytest.approx(np.mean(BETTER) + 5)


def test_written(tmp_path):
    table = compare(frame_of({"darts": DARTS, "better": BETTER}), "darts")
    markdown, csv = write(table, tmp_path)
    lines = markdown.read_text().splitlines()
    assert lines[0].startswith("| method | n | rank | regret ± std | pairs | difference ± std | detectable |")
    assert lines[2] == "| better | 5 | 1.0 | 1.50 ± 0.50 | 5 | -2.60 ± 1.85 | 3.11 | 0.062 | 0.062 | 0.035 | 0.035 |"
    assert lines[3] == "| darts | 5 | 2.0 | 4.10 ± 1.43 | – | – | – | – | – | – | – |"
    assert "With 5 pairs the signed-rank test gives no p below 0.0625" in lines[-1]
    assert len(pd.read_csv(csv)) == 2
    assert "only the t test" not in note(table.assign(pairs=10))


def test_several_spaces_are_corrected_one_by_one():
    frame = frame_of({"darts": DARTS, "better": BETTER, "x": BETTER})
    table = compare(pd.concat([frame, frame.assign(space="s4")]), "darts")
    assert len(table) == 6
    assert table["wilcoxon_holm"].min() == pytest.approx(0.125)  # two comparisons in each space
    assert "for 2 comparisons within a space and data set none below 0.125" in note(table)
    assert "nothing can be tested" in note(compare(frame_of({"darts": DARTS, "x": DARTS}), "darts"))


def test_a_table_counts_and_not_the_images_of_the_search():
    darts, pool = frame_of({"darts": DARTS}), frame_of({"evolution": BETTER})
    # The pool reads no images, so it may name any; its regret is of the same table.
    table = compare(pd.concat([darts, pool.assign(data="synthetic", judge="table")]), "darts")
    assert list(table["pairs"].fillna(0)) == [5, 0]
    apart = compare(pd.concat([darts, frame_of({"darts": MIXED, "drnas": BETTER}).assign(data="synthetic")]), "darts")
    assert list(apart["data"]) == ["digits", "synthetic", "synthetic"]
    # Two data sets of one table, or two tables, are two settings.
    for column, other in (("judged_on", "cifar100"), ("table", "mine.csv")):
        pool["judge"] = "table"
        apart = compare(pd.concat([darts, pool, frame_of({"darts": MIXED}).assign(**{column: other})]), "darts")
        assert len(apart.groupby(["judged_on", "table"])) == 2, column


def test_a_space_without_the_baseline_is_named_and_left_out(caplog):
    frame = frame_of({"darts": DARTS, "x": BETTER})
    other = frame_of({"x": BETTER}).assign(space="s4")
    table = compare(pd.concat([frame, other]), "darts")
    assert list(table["space"]) == ["s5", "s5"]
    assert "no runs of it on s4 · digits · digits · s5_digits · tabular: nothing is compared there" in caplog.text


def test_mistakes():
    frame = frame_of({"darts": DARTS, "x": BETTER})
    with pytest.raises(
        ConfigError,
        match=r"baseline=drnas: there are no runs of it on s5 · digits · digits · s5_digits · tabular; allow",
    ):
        compare(frame, "drnas")
    with pytest.raises(ConfigError, match=r"baseline=darts: x has two runs of seed 0"):
        compare(pd.concat([frame, frame[frame["method"] == "x"]]), "darts")


def test_from_the_command_line(tmp_path, capsys):
    """`task=report baseline=…` over run folders."""
    for method, values in {"darts": DARTS, "better": BETTER}.items():
        for seed, value in enumerate(values):
            folder = tmp_path / "runs" / f"{method}{seed}"
            folder.mkdir(parents=True)
            evaluation = {"recipe": "tabular", "test_accuracy": 95 - value, "regret": value}
            summary = {"task": "pipeline", "method": method, "space": "s5", "data": "digits", "seed": seed}
            (folder / "summary.json").write_text(json.dumps(summary | {"evaluation": evaluation}))
    config = nl.compose(["task=report", f"runs={tmp_path}/runs", "baseline=darts"])
    run_task(as_dict(config), RunFolder(tmp_path / "report"))
    assert "difference ± std" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "report" / "comparison.csv").set_index("method")
    assert found.loc["better", "difference_mean"] == pytest.approx(-2.6)
    assert pd.read_csv(tmp_path / "report" / "report.csv").set_index("method").loc["darts", "regret_mean"] == 4.1
    page = (tmp_path / "report" / "report.html").read_text()
    assert 'id="comparison"' in page
    assert "-2.60 ±" in page[page.index('id="comparison"') :]
