import csv
import io
import json
import logging
import statistics
import time

import pandas as pd
import pytest
import yaml

from nas_lightning.core.errors import ConfigError
from nas_lightning.reports import collect, show, summarise, write
from nas_lightning.reports.groups import repeated
from nas_lightning.reports.tables import results
from reported import report_run

ACCURACIES = (97.11, 97.35, 96.88, 97.41)


def write_run(
    folder, accuracy=97.0, *, method="darts", seed=0, search=True, metric=None, digest=None, config=None, **evaluation
):
    folder.mkdir(parents=True)
    summary = {
        "task": "pipeline",
        "method": method,
        "space": "s3",
        "data": "cifar10",
        "seed": seed,
        "genotype": None,
        "search": {"epochs": 50, "seconds": 100.0 + seed, "val_accuracy": 80.0 + seed} if search else None,
        "selection": None,
        "evaluation": {
            "recipe": "cifar_16x20",
            "test_accuracy": accuracy,
            "params": 3_300_000 + 1000 * seed,
            "epochs": 600,
            "init_channels": 16,
            "layers": 20,
            **evaluation,
        },
    }
    if accuracy is None:
        summary["evaluation"] = None
    if metric:
        summary["objective"] = {"metric": metric, "unit": "percent", "direction": "max"}
    if digest:
        summary["config_hash"] = digest
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, accuracy in enumerate(ACCURACIES):
        write_run(tmp_path / "multirun" / "sweep" / f"darts-{seed}", accuracy, seed=seed)
    write_run(tmp_path / "outputs" / "2026-01-01" / "12-00-00", 98.0, method="drnas")
    return tmp_path


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def test_statistics(runs):
    row = only(summarise(collect("multirun/**")))
    assert (row["method"], row["space"], row["data"], row["recipe"]) == (
        "darts",
        "s3",
        "cifar10",
        "cifar_16x20",
    )
    assert (row["init_channels"], row["layers"], row["epochs"]) == (16, 20, 600)
    assert row["n"] == row["runs"] == 4
    assert row["test_accuracy_mean"] == pytest.approx(statistics.mean(ACCURACIES))
    assert row["test_accuracy_std"] == pytest.approx(statistics.stdev(ACCURACIES))
    assert row["test_accuracy_median"] == pytest.approx(statistics.median(ACCURACIES))
    assert row["test_accuracy_best"] == max(ACCURACIES)
    assert row["search_val_accuracy_mean"] == pytest.approx(81.5)
    assert row["search_seconds_mean"] == pytest.approx(101.5)
    assert row["params_millions_mean"] == pytest.approx(3.3015)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("multirun/**", 4),
        ("multirun", 4),
        ("multirun/", 4),
        ("multirun/*/", 4),
        ("**", 5),
        (".", 5),
        ("outputs/2026*/*", 1),
        ("outputs/2026-01-01/12-00-00", 1),
        ("outputs/2026-01-01/12-00-00/summary.json", 1),
        ("multirun/**/summary.json", 4),
        (["multirun/**", "outputs/**", "multirun/sweep/darts-0"], 5),
    ],
)
def test_patterns(runs, pattern, count):
    frame = collect(pattern)
    assert len(frame) == frame["run"].nunique() == count


def test_absolute_path_and_brackets(runs):
    write_run(runs / "runs[1]" / "a")
    assert len(collect(str(runs / "runs[1]"))) == 1
    assert len(collect(str(runs / "multirun" / "**"))) == 4


def test_runs_that_have_finished_nothing_say_so(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text('{"task": "search", "method": "darts", "search": null}')
    message = (
        r"finds no run, only what cannot be compared: .*/a \(nothing is finished: .*\), and 1 more; give run folders"
    )
    with pytest.raises(ConfigError, match=message) as error:
        collect(str(tmp_path))
    assert "\n" not in str(error.value)


def test_candidates_never_count(runs):
    run = runs / "multirun" / "sweep" / "darts-0"
    write_run(run / "candidates" / "0")
    write_run(run / "candidates" / "1" / "deeper")
    assert len(collect("multirun/**")) == 4
    assert len(collect(str(run))) == 1
    with pytest.raises(ConfigError, match="finds no run"):
        collect("multirun/sweep/*/candidates/*")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1, 2]",
        b"3",
        b'{"accuracy": 3}',
        b'{"method": {"name": "darts"}}',
        b'{"method": "darts", "search": 3}',
        b'{"method": "darts", "evaluation": {"test_accuracy": "high"}}',
    ],
)
def test_foreign_json_is_skipped_and_named(runs, caplog, content):
    foreign = runs / "multirun" / "foreign"
    foreign.mkdir()
    (foreign / "summary.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert len(collect("multirun/**")) == 4
    assert [str(foreign / "summary.json") in record.getMessage() for record in caplog.records] == [True]
    assert "\n" not in caplog.text.strip()


def test_other_tasks_are_passed_over_in_silence(runs, caplog):
    report = runs / "multirun" / "report"
    report.mkdir()
    content = {"task": "report", "method": "darts", "search": None, "evaluation": None}
    (report / "summary.json").write_text(json.dumps(content))
    assert len(collect("multirun/**")) == 4
    assert not caplog.records


@pytest.mark.parametrize("patterns", ["nothing/**", ["multirun/**", "nothing/**"]])
def test_pattern_that_finds_nothing(runs, patterns):
    with pytest.raises(ConfigError, match=r"runs='nothing/\*\*' finds no run.*example runs='multirun/\*\*'") as error:
        collect(patterns)
    assert "\n" not in str(error.value)


def test_no_pattern():
    with pytest.raises(ConfigError, match="runs is empty"):
        collect([])


def test_groups(runs):
    write_run(runs / "multirun" / "other" / "small", 90.0, init_channels=8)
    write_run(runs / "multirun" / "other" / "recipe", 91.0, recipe="cifar_36x20")
    write_run(runs / "multirun" / "other" / "searched", None, method="sdarts")
    write_run(runs / "multirun" / "other" / "evaluated", 96.0, method="published", search=False)
    summary = summarise(collect("**"))
    assert sorted(summary["runs"]) == [1, 1, 1, 1, 1, 4]
    same = summary[(summary["recipe"] == "cifar_16x20") & (summary["init_channels"] == 16)]
    assert list(same["method"]) == ["drnas", "darts", "published"]  # best mean first
    searched = only(summary[summary["method"] == "sdarts"])
    assert (searched["runs"], searched["n"]) == (1, 0)
    assert searched["search_val_accuracy_mean"] == 80.0
    assert pd.isna(searched["test_accuracy_mean"])
    assert pd.isna(only(summary[summary["method"] == "published"])["search_seconds_mean"])


def test_files(runs):
    paths = write(summarise(collect("**")), runs / "report")
    assert [path.name for path in paths] == ["report.md", "report.csv"]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in paths[0].read_text().splitlines()]
    header, rule, best, darts = lines
    assert set(map(len, lines)) == {len(header)}
    assert all(set(cell) <= {"-", ":"} for cell in rule)
    assert best[:7] == ["drnas", "s3", "cifar10", "cifar_16x20", "16/20/600", "1", "98.00 ± –"]
    mean, std = statistics.mean(ACCURACIES), statistics.stdev(ACCURACIES)
    assert darts[5:] == ["4", f"{mean:.2f} ± {std:.2f}", "97.23", "97.41", "81.50", "3.30", "101.5"]

    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["n"] for row in rows] == ["1", "4"]
    assert rows[0]["test_accuracy_std"] == ""
    assert float(rows[1]["test_accuracy_std"]) == pytest.approx(std)
    assert float(rows[1]["test_accuracy_median"]) == pytest.approx(statistics.median(ACCURACIES))
    assert rows[1]["layers"] == "20"


@pytest.mark.parametrize("width", [40, 100])
def test_show_is_never_cut_short(runs, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    show(summarise(collect("**")), out)
    text = out.getvalue()
    parts = ["drnas", "darts", "98.00", "97.41", "s3", "cifar10", "cifar_16x20", "16/20/600"]
    for part in [*parts, "97.19 ± 0.24"]:
        assert part in text
    assert "…" not in text


def configuration(seed=0, **parts):
    """A configuration of which the ignored parts differ from seed to seed."""
    return {
        "seed": seed,
        "threads": seed,
        "sweep": f"s{seed}",
        "genotype": str(seed),
        "runs": str(seed),
        "trusted": [str(seed)],
        "task": f"t{seed}",
        "search": {"epochs": 50, "arch": {"lr": 0.003, "betas": [0.5, 0.999]}},
        "hypergradient": {"_target_": "nas_lightning.hypergradients.FirstOrder"},
        "data": {"num_workers": seed, "root": str(seed), "path": str(seed), "download": str(seed)},
        "trainer": {"devices": seed},
        "logger": {"csv": {"_target_": f"l{seed}"}} if seed else {},
        "callbacks": {"look": {"_target_": f"c{seed}"}} if seed else {},
        **parts,
    }


def variants(frame):
    """Variant -> runs in its row."""
    summary = summarise(frame)
    assert summary["variant"].is_unique
    return dict(zip(summary["variant"], summary["runs"], strict=True))


def tables(summary, folder):
    """The text of report.md, report.csv and of the printed table."""
    out = io.StringIO()
    show(summary, out)
    return *(path.read_text() for path in write(summary, folder)), out.getvalue()


def test_two_hypergradients_are_two_rows(tmp_path):
    unrolled = {"_target_": "nas_lightning.hypergradients.Unrolled", "epsilon": 0.01}
    for seed, (first, second) in enumerate([(96.0, 97.0), (96.5, 97.25)]):
        config = configuration(seed)
        write_run(tmp_path / f"first{seed}", first, seed=seed, metric="accuracy", digest="aaaa", config=config)
        config = configuration(seed + 5, hypergradient=unrolled)
        write_run(tmp_path / f"second{seed}", second, seed=seed, metric="accuracy", digest="bbbb", config=config)
    summary = summarise(collect(str(tmp_path)))
    columns = ["variant", "config_hash", "metric", "runs", "n", "test_accuracy_mean"]
    expected = [
        ["hypergradient._target_=Unrolled, hypergradient.epsilon=0.01", "bbbb", "accuracy", 2, 2, 97.125],
        ["hypergradient._target_=FirstOrder", "aaaa", "accuracy", 2, 2, 96.25],
    ]
    assert summary[columns].to_numpy().tolist() == expected
    markdown, table, printed = tables(summary, tmp_path / "report")
    assert "| variant |" in markdown.splitlines()[0]
    assert "metric" not in markdown
    assert "metric accuracy" in printed
    for text in (markdown, printed):
        assert all(text.count(row[0]) == 1 for row in expected)
        assert "aaaa" not in text
    rows = list(csv.DictReader(table.splitlines()))
    assert [[row[name] for name in columns[:3]] for row in rows] == [row[:3] for row in expected]


@pytest.mark.parametrize("digest", ["aaaa", None])
def test_one_hash_shows_no_variant(tmp_path, digest):
    for seed in range(3):  # configurations would differ, but are not asked
        config = configuration(search={"epochs": seed})
        write_run(tmp_path / f"darts{seed}", seed=seed, digest=digest, config=config)
    write_run(tmp_path / "drnas", method="drnas", digest="cccc", config=configuration())
    summary = summarise(collect(str(tmp_path)))
    assert sorted(summary["runs"]) == [1, 3]
    assert list(summary["variant"]) == ["", ""]
    markdown, table, printed = tables(summary, tmp_path / "report")
    assert "variant" not in markdown + printed
    assert "metric" not in markdown + printed
    rows = {row["method"]: row for row in csv.DictReader(table.splitlines())}
    assert {name: (row["variant"], row["config_hash"]) for name, row in rows.items()} == {
        "darts": ("", digest or ""),
        "drnas": ("", "cccc"),
    }


def test_different_metrics_are_never_pooled(tmp_path):
    metrics = ["accuracy", "balanced_accuracy", "accuracy", None]
    for index, metric in enumerate(metrics):
        write_run(tmp_path / f"run{index}", 90.0 + index, seed=index, metric=metric, digest="aaaa")
    summary = summarise(collect(str(tmp_path)))
    assert list(summary["metric"].fillna("none")) == ["accuracy", "balanced_accuracy", "none"]
    assert list(summary["runs"]) == [2, 1, 1]
    assert list(summary["test_accuracy_mean"]) == [91.0, 91.0, 93.0]
    assert list(summary["variant"]) == ["", "", ""]
    markdown, table, printed = tables(summary, tmp_path / "report")
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    assert [line[header.index("metric")] for line in lines] == ["accuracy", "balanced_accuracy", "–"]
    assert [row["metric"] for row in csv.DictReader(table.splitlines())] == ["accuracy", "balanced_accuracy", ""]
    assert "balanced_accuracy" in printed


def test_variant_falls_back_to_the_hash(tmp_path):
    write_run(tmp_path / "a", digest="aaaa", config=configuration())
    write_run(tmp_path / "b", digest="bbbb")
    assert variants(collect(str(tmp_path))) == {"aaaa": 1, "bbbb": 1}  # one is not enough to compare
    write_run(tmp_path / "c", digest="cccc", config=configuration(search={"epochs": 25}))
    write_run(tmp_path / "d", digest="dddd", config=[1, 2])
    (write_run(tmp_path / "e", digest="eeee") / "config.yaml").write_bytes(b"{\xff")
    write_run(tmp_path / "f", config=configuration(search={"epochs": 1}))
    write_run(tmp_path / "g")
    assert variants(collect(str(tmp_path))) == {
        "search.epochs=50, search.arch.lr=0.003, search.arch.betas=[…": 1,
        "search.epochs=25": 1,
        "bbbb": 1,
        "dddd": 1,
        "eeee": 1,
        "no hash": 2,
    }


def test_equal_configurations_are_named_by_hash(tmp_path):
    for seed, digest in enumerate(["aaaa", "bbbb"]):
        write_run(tmp_path / digest, digest=digest, config=configuration(seed))
    assert variants(collect(str(tmp_path))) == {"aaaa": 1, "bbbb": 1}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{"search": {"order": None}}, {"search": {"order": True}}], ["search.order=null", "search.order=true"]),
        ([{"regularizer": {}}, {"regularizer": {"x": {"beta": 1.0}}}], ["regularizer={}", "regularizer.x.beta=1.0"]),
        ([{}, {"engine": "compiled"}], ["hash0", "engine=compiled"]),  # nothing to write of what is missing
        ([{"selector": {"_target_": "a.Top"}}, {"selector": {"_target_": "b.Top"}}], ["hash0", "hash1"]),
        ([{"search": {"note": "x" * 70 + end}} for end in "ab"], ["hash0", "hash1"]),
        (  # too long: what most of them share is left out
            [
                {"search": {"weight_decay_of_the_weights": 0.1, "layers_of_the_network": 8, "epochs": 50} | other}
                for other in ({}, {"epochs": 5}, {"layers_of_the_network": 2}, {"weight_decay_of_the_weights": 0.9})
            ],
            [
                "search.weight_decay_of_the_weights=0.1, search.layers_of_th…",
                "search.epochs=5",
                "search.layers_of_the_network=2",
                "search.weight_decay_of_the_weights=0.9",
            ],
        ),
        (
            [{"search": {"note": end + "x" * 70}} for end in "ab"],
            [f"search.note={end}{'x' * 46}…" for end in "ab"],
        ),
    ],
)
def test_variant_text(tmp_path, parts, expected):
    for index, part in enumerate(parts):
        write_run(tmp_path / str(index), 99 - index, digest=f"hash{index}", config=configuration(index, **part))
    summary = summarise(collect(str(tmp_path)))
    assert list(summary["variant"]) == expected
    assert summary["variant"].str.len().max() <= 60


def test_configurations_are_read_only_where_needed(tmp_path, monkeypatch):
    """One of each hash, and only under labels with several; a thousand runs would take seconds otherwise."""
    for seed in range(20):
        write_run(tmp_path / f"darts{seed}", digest="ab"[seed % 2], config=configuration(search={"epochs": seed % 2}))
        write_run(tmp_path / f"drnas{seed}", method="drnas", digest="c", config=configuration())
    read, load = [], yaml.load
    monkeypatch.setattr(yaml, "load", lambda text, Loader: read.append(text) or load(text, Loader))
    summary = summarise(collect(str(tmp_path)))
    assert len(read) == 2
    variant = dict(zip(summary["config_hash"], summary["variant"], strict=True))
    assert variant == {"a": "search.epochs=0", "b": "search.epochs=1", "c": ""}


def test_a_thousand_runs_in_seconds(tmp_path):
    for index in range(1000):
        run = write_run(tmp_path / f"sweep{index % 10}" / f"run{index}", 90 + index % 7, seed=index)
        (run / "plots").mkdir()
        (run / "plots" / "cell_normal.svg").touch()
    start = time.perf_counter()
    row = only(summarise(collect(str(tmp_path / "**"))))
    assert time.perf_counter() - start < 5
    assert row["n"] == 1000
    assert row["test_accuracy_mean"] == pytest.approx(statistics.mean(90 + index % 7 for index in range(1000)))


NORMAL = [[2, "skip_connect", 0], [2, "sep_conv_3x3", 1], [3, "skip_connect", 0], [3, "max_pool_3x3", 2]]
OPTIONAL = ["dominant eigenvalue", "skip %"]


def amend(folder, **parts):
    """Changes parts of a run's summary; dictionaries are merged into what is there."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    for name, part in parts.items():
        summary[name] = {**(summary.get(name) or {}), **part} if isinstance(part, dict) else part
    path.write_text(json.dumps(summary))
    return folder


def genotype(**cells):
    return {"space": "darts", "cells": cells, "concat": {name: [2, 3] for name in cells}}


def test_curvature_and_skip_share(tmp_path):
    first = write_run(tmp_path / "first", 97.0)
    amend(first, search={"dominant_eigenvalue": 0.25, "curvature_seconds": 12.0}, selection={"seconds": 0.5})
    amend(first, genotype=genotype(normal=NORMAL, reduce=[[2, "sep_conv_3x3", 0]]))  # 2 of 4 edges
    second = write_run(tmp_path / "second", 96.0, seed=1)
    amend(second, search={"dominant_eigenvalue": 1.0, "curvature_seconds": 15.0}, selection={"seconds": 2.5})
    amend(second, genotype=genotype(reduce=[[2, "skip_connect", 0]], normal=NORMAL[1:]))  # 1 of 3
    write_run(tmp_path / "third", 95.0, seed=2)  # has none of them, and does not count in the means
    frame = collect(str(tmp_path)).set_index("seed")
    names = ["dominant_eigenvalue", "skip_share", "curvature_seconds", "selection_seconds"]
    assert frame.loc[0, names].tolist() == [0.25, 50.0, 12.0, 0.5]
    assert frame.loc[1, names].tolist() == pytest.approx([1.0, 100 / 3, 15.0, 2.5])
    assert frame.loc[2, names].isna().all()

    summary = summarise(frame.reset_index())
    row = only(summary)
    assert row[[f"{name}_mean" for name in names]].tolist() == pytest.approx([0.625, 125 / 3, 13.5, 1.5])
    assert list(summary.columns)[-4:] == [f"{name}_mean" for name in names]
    markdown, table, printed = tables(summary, tmp_path / "report")
    header, _, line = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    assert header[-3:] == ["search s", *OPTIONAL]
    assert line[-2:] == ["0.625", "41.7"]
    assert "0.625" in printed
    assert "41.7" in printed
    (values,) = csv.DictReader(table.splitlines())
    assert [float(values[f"{name}_mean"]) for name in names] == pytest.approx([0.625, 125 / 3, 13.5, 1.5])


def test_runs_with_and_without_the_cost_of_retraining(tmp_path):
    """Older summaries tell less; they still stand in one group."""
    cost = {
        "seconds": 9.0,
        "images_per_second": 100.0,
        "peak_memory_mib": 500.0,
        "device": "cpu",
        "precision": "32-true",
    }
    amend(write_run(tmp_path / "new", 97.0), evaluation=cost, search={**cost, "peak_memory_mib": None})
    write_run(tmp_path / "old", 96.0, seed=1)
    summary = summarise(collect(str(tmp_path)))
    assert only(summary)["n"] == 2
    assert only(summary)["test_accuracy_mean"] == 96.5


@pytest.mark.parametrize(
    "found",
    [
        None,
        genotype(),
        genotype(normal=[]),
        genotype(cell=[[1, "skip_connect", 0]]),  # NAS-Bench-201 has no normal cell
        {"space": "macro", "choices": {"widths": [16, 32]}},
    ],
)
def test_no_normal_cell_has_no_skip_share(tmp_path, found):
    amend(write_run(tmp_path / "run"), genotype=found)
    assert pd.isna(only(collect(str(tmp_path)))["skip_share"])


def test_a_cell_without_skip_connections_has_a_share(tmp_path):
    amend(write_run(tmp_path / "run"), genotype=genotype(normal=[[2, "sep_conv_3x3", 0]]))
    summary = summarise(collect(str(tmp_path)))
    assert only(summary)["skip_share_mean"] == 0
    assert "| 0.0 |" in tables(summary, tmp_path / "report")[0]


def test_damaged_genotype_is_named(tmp_path, caplog):
    write_run(tmp_path / "good")
    damaged = amend(write_run(tmp_path / "damaged"), genotype=genotype(normal=[[2, "skip_connect"]]))
    assert len(collect(str(tmp_path))) == 1
    assert [str(damaged) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("parts", "title", "name"),
    [
        ({}, None, None),
        ({"search": {"dominant_eigenvalue": 0.5}}, OPTIONAL[0], "dominant_eigenvalue_mean"),
        ({"genotype": genotype(normal=NORMAL)}, OPTIONAL[1], "skip_share_mean"),
    ],
)
def test_columns_without_any_value_are_not_shown(tmp_path, parts, title, name):
    amend(write_run(tmp_path / "darts", 97.0), **parts)
    write_run(tmp_path / "drnas", 96.0, method="drnas")
    markdown, table, printed = tables(summarise(collect(str(tmp_path))), tmp_path / "report")
    header, _, one, other = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    assert [column for column in header if column in OPTIONAL] == ([title] if title else [])
    assert len(one) == len(other) == len(header)
    assert one[-1] != "–"
    assert (other[-1] == "–") is (title is not None)
    columns = table.splitlines()[0].split(",")
    names = ("dominant_eigenvalue_mean", "skip_share_mean")
    assert [column for column in columns if column in names] == ([name] if name else [])
    assert columns[-2:] == ["curvature_seconds_mean", "selection_seconds_mean"]
    assert ("eigenvalue" in printed, "skip" in printed) == (title == OPTIONAL[0], title == OPTIONAL[1])


def test_what_a_table_of_accuracies_adds(runs):
    """Means of rank and random search over the runs of a group; no such columns and no note without them."""
    for seed, rank in enumerate((3, 8)):
        found = {"regret": 1.0, "rank": rank, "random_search_accuracy": 92.5}
        write_run(runs / "looked_up" / f"{seed}", 93.0, seed=seed, recipe="tabular", **found)
    summary = summarise(collect("looked_up/**"))
    row = only(summary)
    assert (row["rank_mean"], row["random_search_accuracy_mean"], row["regret_mean"]) == (5.5, 92.5, 1.0)
    sheet = results(summary)
    line = dict(zip(sheet.header, sheet.lines[0], strict=True))
    assert (line["rank"], line["random search %"], line["regret"]) == ("5.5", "92.50", "1.00")
    assert "evaluation.draws" in sheet.note
    plain = results(summarise(collect("multirun/**")))
    assert not {"rank", "random search %"} & set(plain.header)
    assert "evaluation.draws" not in plain.note


def test_architectures_that_a_partial_table_lacks(runs):
    """They are counted, and the means are over the others."""
    for seed, accuracy in enumerate((93.0, None, None)):
        listed = accuracy is not None
        found = {"in_table": listed, "regret": 1.0 if listed else None, "regret_published": 1.5 if listed else None}
        write_run(runs / "looked_up" / f"{seed}", seed=seed, recipe="tabular", test_accuracy=accuracy, **found)
    sheet = results(summarise(collect("looked_up/**")))
    line = dict(zip(sheet.header, sheet.lines[0], strict=True))
    cells = ("n", "regret", "published regret", "not in the table")
    assert [line[name] for name in cells] == ["1 of 3", "1.00", "1.50", "2"]
    assert not {"published regret", "not in the table"} & set(results(summarise(collect("multirun/**"))).header)


def test_random_genotypes_stand_beside_the_accuracy(runs):
    """Runs of one evaluation share their random genotypes; some have none."""
    told = {"random_baseline": {"number": 3, "mean": 91.25, "std": 0.5, "members": []}}
    write_run(runs / "compared" / "0", 93.0, seed=0, **told)
    write_run(runs / "compared" / "1", 94.0, seed=1)
    summary = summarise(collect("compared/**"))
    row = only(summary)
    assert (row["random_baseline_mean"], row["random_baseline_std"], row["n"]) == (91.25, 0.5, 2)
    sheet = results(summary)
    assert sheet.header[sheet.header.index("best") + 1] == "random % ± std"
    assert sheet.lines[0][sheet.header.index("random % ± std")] == "91.25 ± 0.50"
    assert "evaluation.random_baseline" in sheet.note
    plain = results(summarise(collect("multirun/**")))
    assert "random % ± std" not in plain.header
    assert "evaluation.random_baseline" not in plain.note


def test_a_seed_that_counts_twice_is_told(tmp_path):
    report_run(tmp_path / "a", 90.0, seed=0)
    report_run(tmp_path / "b", 91.0, seed=1)
    report_run(tmp_path / "evaluated", 90.0, seed=0)
    report_run(tmp_path / "other", 92.0, seed=0, digest="bbbb")
    report_run(tmp_path / "searched", None, seed=0)
    ((folder, reason),) = repeated(collect(str(tmp_path)))
    assert folder == str(tmp_path / "evaluated")
    assert reason == f"repeats the seed of {tmp_path / 'a'} with the same configuration; both are counted"
