"""Run folders for the tests of reports: the files that a run leaves, with numbers that are chosen."""

import csv
import json

import yaml

from nas_lightning.core.objective import ACCURACY

S3_ROWS = 14


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def report_run(
    folder, value, *, goal=ACCURACY, method="darts", eigenvalues=(), events=None, regret=(), config=None, **parts
):
    """A run with a summary, and a table of what is given: a value an epoch; `value` is that of the goal on `test`."""
    folder.mkdir(parents=True)
    seed = parts.pop("seed", 0)
    summary = {
        "task": "pipeline",
        "method": method,
        "space": parts.pop("space", "s3"),
        "data": parts.pop("data", "digits"),
        "seed": seed,
        "genotype": None,
        "objective": goal.to_dict(),
        "search": {
            "epochs": 3,
            "seconds": 100.0,
            "curvature_seconds": 20.0,
            **goal.entries("val", parts.pop("val", 80.0)),
            "dominant_eigenvalue": eigenvalues[-1] if eigenvalues else None,
        },
        "selection": {"seconds": 5.0},
        "evaluation": {
            "recipe": parts.pop("recipe", "digits"),
            **goal.entries("test", value),
            "params": 200_000,
            "macs": 30_000_000,
            "epochs": 14,
            "init_channels": 16,
            "layers": 4,
            "seconds": 40.0,
        },
        "config_hash": parts.pop("digest", "aaaa"),
        **parts,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    events = events or {}
    if eigenvalues:
        rows = [
            {"epoch": e, "search_epoch": e, "attempt": 0, "dominant_eigenvalue": value, "event": events.get(e, "")}
            for e, value in enumerate(eigenvalues)
        ]
        write_table(folder / "curvature.csv", rows)
    if regret:
        rows = [{"epoch": e - 1, "attempt": 0, "test_accuracy": 90, "regret": value} for e, value in enumerate(regret)]
        write_table(folder / "trajectory.csv", rows)
    return folder


def report_analysis(folder, name, rows):
    """A finished analysis: a table, in which `run` alone must be given, and a summary."""
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"task": "analyse", "method": None, "analysis": {"name": name}}))
    labels = {"method": "darts", "space": "s3", "data": "digits", "seed": 0, "epoch": 3}
    write_table(folder / "analysis.csv", [labels | row for row in rows])
    return folder


def drop_of(run, drop, eigenvalue, **labels):
    """A row of `analysis=discretization`."""
    accuracies = {"val_accuracy": 90.0, "discrete_accuracy": 90.0 - drop, "drop": drop}
    return {"run": run, **accuracies, "dominant_eigenvalue": eigenvalue, **labels}
