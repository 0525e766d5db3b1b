"""`--help`."""

from rich.console import Console
from rich.table import Table

from nas_lightning.config import compose as composing
from nas_lightning.core.terminal import screen

EXAMPLES = {
    "first steps": (
        ("run.py", "search and evaluate on the built-in digits, in under two minutes on a CPU"),
        ("run.py task=list", "describe every option of every group"),
        ("run.py task=list method=darts_pt", "describe one part: keys, defaults, sources, example"),
        ("run.py space=s2 seed=1", "choose another search space and seed"),
        ("run.py data=image_folder data.path=PHOTOS", "search on your own photos, a folder for each class"),
        ("run.py method=darts --cfg job", "print the whole configuration without running it"),
    ),
    "searches": (
        ("run.py method=darts data=cifar10 data.download=true trainer=gpu", "run the published CIFAR-10 search"),
        ("run.py method=sdarts_rs +regularizer=drop_path", "choose another method and add a regularizer"),
        ("run.py method=darts candidates.key=seed candidates.values=[1,2,3,4]", "keep the best of four searches"),
        ("run.py trainer=ddp logger=wandb", "use all GPUs and log to Weights & Biases (offline without a key)"),
        ("run.py resume=outputs/DATE/TIME", "resume an interrupted run"),
    ),
    "finished runs and published genotypes": (
        ("run.py task=evaluate genotype=darts_v2 space=darts data=cifar10", "train a published genotype from scratch"),
        ("run.py task=select run=outputs/DATE/TIME selector=perturbation", "apply another selector to a supernet"),
        ("run.py task=export run=outputs/DATE/TIME", "export the trained network: PyTorch, ONNX, weights"),
        ("run.py task=predict run=outputs/DATE/TIME images=PHOTOS", "label images with the trained network"),
    ),
    "sweeps": (
        ("run.py -m seed=0,1,2", "run three seeds"),
        ("run.py task=report runs='multirun/**'", "compare the runs of a sweep: tables, figures, a page"),
        ("run.py -m experiment=sweep_digits hydra/launcher=joblib", "run two methods with two seeds in parallel"),
        ("run.py task=plan experiment=robustdarts/table1", "estimate runs, steps and hours without training"),
    ),
}
"""Commands and their effects, by section."""


def show_help(config_dir: str | None = None) -> None:
    """Print usage, examples, groups with their options, values and exit codes."""
    console = screen()
    console.print("[bold]nas_lightning[/bold]: differentiable neural architecture search\n")
    console.print(
        "usage: python run.py \\[GROUP=OPTION …] \\[KEY=VALUE …] \\[-m] \\[--config-dir DIR]\n", highlight=False
    )
    console.print(
        "  GROUP=OPTION      choose a part, such as method=darts; groups: see below"
        "\n  KEY=VALUE         set one value, such as search.epochs=20"
        "\n  -m                run a sweep over comma-separated values, such as seed=0,1,2"
        "\n  --config-dir DIR  add a folder with configurations of your own"
        "\n  --cfg job         print the configuration, every key with its value, and stop"
        "\n\nResults are written to outputs/DATE/TIME, those of a sweep to multirun/.\n",
        highlight=False,
        markup=False,
    )
    _examples(console)
    table = Table(title="groups: GROUP=OPTION", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("group")
    table.add_column("options", overflow="fold")
    for group in composing.groups():
        options = composing.options(group, config_dir)
        if options:
            # Experiments have folders: one word for each, or a hundred names would hide the other groups.
            words = dict.fromkeys(f"{name.partition('/')[0]}/…" if "/" in name else name for name in options)
            table.add_row(group, ", ".join(words))
    console.print(table)
    console.print(
        "\n`python run.py task=list` describes them all, task=list GROUP one group,"
        "\ntask=list GROUP=OPTION one part: keys, defaults, meanings, paper, code, example."
        "\n\nvalues: KEY=VALUE"
        "\n  search.epochs=20 search.weights.lr=0.05   settings of the search"
        "\n  evaluation.epochs=100                     settings of the final training"
        "\n  trainer.ARGUMENT=VALUE                    any argument of Lightning's Trainer"
        "\n  +regularizer=NAME, +callbacks=NAME        add a part to a list of parts"
        "\n\nexit codes: 0 done, 1 a fault, 2 a mistake in the command, 130 interrupted",
        highlight=False,
        markup=False,
    )


def _examples(console: Console) -> None:
    for section, examples in EXAMPLES.items():
        console.print(f"examples: {section}", style="italic", highlight=False)
        for command, effect in examples:
            # A line each, not broken by the width of the terminal, so that commands can be copied.
            console.print(f"  # {effect}\n  python {command}", highlight=False, markup=False, soft_wrap=True)
        console.print()
