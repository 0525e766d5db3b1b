"""A W&B workspace that compares methods over seeds: `python docs/wandb/dashboard.py ENTITY [PROJECT]`.

Needs the extra `dashboard` and a key of W&B. Runs are grouped by method and space: every line is a mean over seeds, its
band the standard deviation.
"""

import sys

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

CURVES = {
    "Search": [
        "search/val_accuracy",
        "search/train_loss",
        "search/arch_loss",
        "search/val_loss",
        "search/entropy/normal",
        "search/skip_share/normal",
        "search/dominant_eigenvalue",
        "search/smoothed_eigenvalue",
    ],
    "Schedules": [
        "search/lr",
        "search/weight_decay",
        "search/epsilon",
        "search/drop_path",
        "search/cutout",
        "search/temperature",
    ],
    "Evaluation": ["evaluation/test_accuracy", "evaluation/train_loss", "evaluation/train_accuracy"],
}
"""Curves by section, each against the epoch of its phase."""
POOL = {
    "pool/regret": "pool/images_spent",
    "pool/best_accuracy": "pool/images_spent",
    "pool/at_level_0": "pool/size",
    "pool/at_level_1": "pool/size",
    "pool/epochs_spent": "pool/size",
}
"""Curves of searches over a pool: values against their cost in images, what stands at a level against its size."""
RESULTS = ("evaluation/test_accuracy", "search/val_accuracy", "evaluation/params", "search/seconds")
"""Bars over methods."""
DRAWINGS = ("search/cell_normal", "search/cell_reduce", "search/mixing_normal", "search/mixing_reduce")


def workspace(entity: str, project: str) -> ws.Workspace:
    """The workspace, not saved yet."""
    results = [
        wr.BarPlot(title=name, metrics=[name], groupby=wr.Config("method"), groupby_aggfunc="mean") for name in RESULTS
    ]
    sections = [ws.Section(name="Results", panels=results, is_open=True)]
    axes = {title: {name: f"{name.split('/')[0]}/epoch" for name in names} for title, names in CURVES.items()}
    for title, names in {**axes, "Pool": POOL}.items():
        curves = [
            wr.LinePlot(
                title=name,
                x=axis,
                y=[name],
                groupby=wr.Config("method"),
                groupby_aggfunc="mean",
                groupby_rangefunc="stddev",
            )
            for name, axis in names.items()
        ]
        sections.append(ws.Section(name=title, panels=curves, is_open=title != "Schedules"))
    drawings = [wr.MediaBrowser(title=name, media_keys=[name]) for name in DRAWINGS]
    sections.append(ws.Section(name="Cells and mixing weights", panels=drawings))
    runs = ws.RunsetSettings(
        groupby=[expr.Config("method"), expr.Config("space.name")],
        filters=[expr.Metric("JobType") != "candidate"],
        pinned_columns=[f"summary:{name}" for name in RESULTS[:2]],
    )
    return ws.Workspace(
        entity=entity, project=project, name="Methods by seeds", sections=sections, runset_settings=runs
    )


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: python docs/wandb/dashboard.py ENTITY [PROJECT]")
    print(workspace(sys.argv[1], *(sys.argv[2:] or ["nas-lightning"])).save().url)
