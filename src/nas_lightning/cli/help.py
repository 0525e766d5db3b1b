"""What a newcomer sees: `--help` and `task=list`."""

from rich.console import Console
from rich.table import Table

from nas_lightning.config import compose as composing

EXAMPLES = (
    ("run.py", "search and evaluate with the built-in digits, in under two minutes"),
    ("run.py task=list", "the options of every group"),
    ("run.py space=s2 seed=1", "another space, another seed"),
    ("run.py method=darts data=cifar10 data.download=true trainer=gpu", "the published CIFAR-10 search"),
    ("run.py method=sdarts_rs +regularizer=drop_path", "another method, and a part that it does not have"),
    ("run.py method=darts candidates.key=seed candidates.values=[1,2,3,4]", "the best of four searches"),
    ("run.py task=evaluate genotype=darts_v2 space=darts data=cifar10", "train a published genotype"),
    ("run.py task=select run=outputs/DATE/TIME selector=perturbation", "another selector on that supernet"),
    ("run.py task=export run=outputs/DATE/TIME", "the trained network for other programs: PyTorch, ONNX, weights"),
    ("run.py task=predict run=outputs/DATE/TIME images=PHOTOS", "label images with it"),
    ("run.py data=image_folder data.path=PHOTOS", "your own photos, one folder a class"),
    ("run.py -m seed=0,1,2", "a sweep; then: run.py task=report runs='multirun/**'"),
    ("run.py -m experiment=sweep_digits hydra/launcher=joblib", "two methods with two seeds, several runs at once"),
    ("run.py trainer=ddp logger=wandb", "all GPUs; told to Weights & Biases, offline where there is no key"),
    ("run.py task=plan experiment=robustdarts/table1", "runs, steps and hours of a paper's sweep; nothing is trained"),
    ("run.py resume=outputs/DATE/TIME", "continue a run where it was cut off"),
    ("run.py --cfg job", "the whole configuration, without running"),
)


def show_help(config_dir: str | None = None) -> None:
    """Usage, groups, frozen keys, examples."""
    console = Console()
    console.print("[bold]nas_lightning[/bold]: differentiable neural architecture search\n")
    console.print("usage: python run.py \\[-m] \\[--config-dir DIR] \\[KEY=VALUE …]\n", highlight=False)
    table = Table(title="groups: GROUP=OPTION", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("group")
    table.add_column("options", overflow="fold")
    for group in composing.groups():
        options = composing.options(group, config_dir)
        if options:
            table.add_row(group, ", ".join(options))
    console.print(table)
    console.print(
        "\nvalues: KEY=VALUE, for instance seed=1 search.epochs=20 search.weights.lr=0.05 evaluation.epochs=100"
        "\n        trainer.ARGUMENT=VALUE passes any argument of Lightning's Trainer"
        "\n        +regularizer=NAME, +callbacks=NAME, … add a named part; `--cfg job` shows every key\n",
        highlight=False,
        markup=False,
    )
    _examples(console)
    console.print("\nexit codes: 0 done, 2 a mistake in the command, 130 interrupted, 1 a fault", highlight=False)


def show_list(config_dir: str | None = None) -> None:
    """Every option of every group, with one line each."""
    console = Console()
    for group in composing.groups():
        options = composing.options(group, config_dir)
        if not options:
            continue
        table = Table(title=group, title_justify="left", title_style="bold", box=None, show_header=False)
        table.add_column(width=22, no_wrap=True)
        table.add_column(overflow="fold")
        for name, line in options.items():
            table.add_row(name, line)
        console.print(table)
        console.print()
    _examples(console)


def _examples(console: Console) -> None:
    table = Table(title="examples", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for command, meaning in EXAMPLES:
        table.add_row(f"python {command}", meaning)
    console.print(table)
