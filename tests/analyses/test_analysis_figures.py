"""The figures say what the tables say: texts and colours of the SVG."""

import re

import pytest

from nas_lightning.analyses.figures import (
    save_discretization,
    save_shuffling,
    save_skip_gap,
    save_spectrum,
    save_strength,
)


def texts(path):
    return [text.strip() for text in re.findall(r">([^<>]+)</text>", path.read_text())]


def edge(row, options, weights, accuracies, selectable=None):
    selectable = selectable or [True] * len(options)
    columns = zip(options, weights, accuracies, selectable, strict=True)
    return [
        {"choice": "normal", "row": row, "source": row, "node": 5, "option": option, "weight": weight}
        | {"accuracy": accuracy, "selectable": counts}
        for option, weight, accuracy, counts in columns
    ]


def test_strength(tmp_path):
    rows = edge(0, ["skip_connect", "sep_conv_3x3"], [0.6, 0.4], [88.0, 90.5])
    rows += edge(1, ["none", "sep_conv_3x3"], [0.9, 0.1], [99.0, 90.0], [False, True])
    path = save_strength(rows, tmp_path / "plots")
    assert path == tmp_path / "plots" / "strength.svg"
    found = texts(path)
    for word in ("normal cell, 0 → 5", "normal cell, 1 → 5", "skip_connect", "0.600", "90.50", "99.00"):
        assert word in found, word
    assert any("accuracy on val (%)" in text for text in found)
    svg = path.read_text().lower()
    # One bar a panel is dark, those that no genotype may hold are grey.
    assert [svg.count(f"fill: {colour}") for colour in ("#0072b2", "#d55e00", "#d0d0d0")] == [2, 2, 2]
    assert save_strength(rows, tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("number", [1, 5])
def test_strength_of_any_number_of_rows(tmp_path, number):
    rows = [line for row in range(number) for line in edge(row, ["skip_connect"], [1.0], [50.0])]
    found = texts(save_strength(rows, tmp_path))
    assert sum("normal cell" in text for text in found) == number
    assert found.count("mean mixing weight") == (1 if number <= 4 else 2)


def test_shuffling(tmp_path):
    rows = [
        {"network": network, "swapped": what, "repetition": number, "test_accuracy": str(value)}
        for network, what, values in (
            ("supernet", "nothing", [88.4]),
            ("supernet", "edges and weights", [80.0, 82.0, 84.0]),
            ("vgg", "nothing", [92.7]),
            ("vgg", "layers", [10.0, 10.0]),
        )
        for number, value in enumerate(values)
    ]
    found = texts(save_shuffling(rows, tmp_path))
    for word in ("88.4", "82.0 ± 2.0", "92.7", "10.0 ± 0.0", "test accuracy (%)", "as it is", "edges and weights"):
        assert word in found, word


@pytest.mark.parametrize("runs", [1, 3, 12])
def test_skip_gap(tmp_path, runs):
    rows = [
        {"run": f"run {run}", "epoch": epoch, "skip_gap": 0.01 * epoch, "val_accuracy": 10.0 * epoch}
        for run in range(runs)
        for epoch in range(5)
    ]
    path = save_skip_gap(rows, tmp_path)
    found = texts(path)
    for word in ("epochs of the search", "accuracy of the supernet on val (%)"):
        assert word in found
    # One run needs no legend, and twelve would be more than there are markers.
    assert sum(text.startswith("run ") for text in found) == (3 if runs == 3 else 0)


def test_skip_gap_of_a_single_epoch(tmp_path):
    path = save_skip_gap([{"run": "a", "epoch": 0, "skip_gap": 0.1, "val_accuracy": 10.0}], tmp_path)
    assert "epochs of the search" in texts(path)


def test_spectrum(tmp_path):
    rows = [
        {"run": run, "method": method, "eigenvalue": value}
        for run, method in (("a", "darts"), ("b", "darts"), ("c", "drnas"))
        for value in (-0.5, 0.1, 0.4)
    ]
    found = texts(save_spectrum(rows, tmp_path / "plots"))
    for word in ("darts (n = 2)", "drnas (n = 1)", "rank by absolute value", "eigenvalue"):
        assert word in found, word


def test_discretization(tmp_path):
    rows = [
        {"method": "darts", "space": "s3", "data": "digits", "seed": seed, "val_accuracy": 90.0}
        | {"discrete_accuracy": 90.0 - drop, "drop": drop, "dominant_eigenvalue": value}
        for seed, drop, value in ((0, 10.0, 0.25), (1, 30.0, None))
    ]
    path = save_discretization(rows, tmp_path / "plots")
    assert path == tmp_path / "plots" / "discretization.svg"
    found = [text for text in texts(path) if "seed" in text]
    assert found == ["darts, s3, digits, seed 1", "darts, s3, digits, seed 0 (λ = 0.25)"]  # the largest drop on top
