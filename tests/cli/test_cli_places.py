"""Mistakes in a command are found before torch is imported: in fresh processes, by what they have loaded in the end.

One process imports the command line and is forked for each command.
"""

import json
import subprocess
import sys

import pytest

from nas_lightning.cli.places import check_places
from nas_lightning.config.compose import checked
from nas_lightning.core.errors import ConfigError
from nas_lightning.data import Arrays, ImageFolder, ImageNet16

CODE = """
import json, os, sys
import nas_lightning.cli.main as app
heavy = ("torch", "lightning", "wandb", "torchvision", "torchmetrics", "pandas", "matplotlib", "ray", "optuna")
for line in sys.stdin:
    words, folder, printed = json.loads(line)
    if os.fork():
        os.wait()
        print("ended", flush=True)
        continue
    os.chdir(folder)
    for number, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 0
    try:
        app.main(words)
    except SystemExit as end:
        code = end.code
    print(json.dumps([code, [name for name in heavy if name in sys.modules]]), file=sys.stderr)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run words in a folder; return the exit code, the heavy packages, and what was printed."""
    printed = [tmp_path_factory.mktemp("printed") / name for name in ("out", "err")]
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:

        def ask(words, folder):
            print(json.dumps([words, str(folder), [str(path) for path in printed]]), file=server.stdin, flush=True)
            assert server.stdout.readline() == "ended\n"
            out, err = (path.read_text() for path in printed)
            *told, last = err.splitlines()
            return *json.loads(last), told, out

        yield ask
        server.stdin.close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        # keys
        (["seeed=1"], "seeed=1: there is no such key; did you mean seed or "),
        (["regularizer.x.rate=1"], "regularizer.x.rate=1: there is no such key; "),
        (["trainer.foo=1"], "trainer.foo=1: unknown key; allowed: accelerator, "),
        (["+regularizer=drop_path", "+regularizer.drop_path.rate=1"], "regularizer.drop_path.rate=1: unknown key; "),
        (["space=s9"], "space=s9: no such option; nearest: "),
        (["--confg=job"], "--confg: unknown, did you mean --cfg"),
        # values of plain sections, alone and with one of a part
        (["seed=a"], "seed=a: must be a whole number; write seed=VALUE"),
        (["search.weights.lr=-1"], "search.weights.lr=-1: must be greater than 0.0; write search.weights.lr=VALUE"),
        (["data.num_workers=a"], "data.num_workers=a: must be a whole number; write data.num_workers=VALUE"),
        (["trainer.devices=1.5"], "trainer.devices=1.5: "),
        (["trainer.max_epochs=3"], "trainer.max_epochs=3: refused, use search.epochs and evaluation.epochs"),
        (["genotype=darts_v2"], "genotype=darts_v2: task=pipeline does not read it; use task=evaluate"),
        (
            ["seed=a", "evaluation.epochs=0"],
            "evaluation.epochs=0: must be at least 1; write ",
        ),
        (["-m", "seed=1,a"], "seed=a: must be a whole number; write seed=VALUE"),
        (["task=plan", "seed=a"], "seed=a: must be a whole number; write seed=VALUE"),
        (["task=plan", "seed=1,2", "plan.seconds=0"], "plan.seconds=0: must be greater than 0.0; write plan.se"),
        # arguments of parts
        (["+regularizer=drop_path", "regularizer.drop_path.maximum=a"], "regularizer.drop_path.maximum=a: must be a"),
        (["evaluation.epochs=a"], "evaluation.epochs=a: must be a whole number; write evaluation.epochs=VALUE"),
        (["callbacks.curvature.interval=0"], "callbacks.curvature.interval=0: must be at least 1; write "),
        (["logger=wandb", "logger.wandb.mode=x"], "logger.wandb.mode=x: allowed: 'online', 'offline' or 'disabled'"),
        (["data=cifar10", "data.download=3"], "data.download=3: must be true or false; write data.download=VALUE"),
        # paths
        (["--config-dir", "none"], "--config-dir=none: no such folder; "),
        (["resume=none"], "resume=none: there is no run ("),
        (["task=select", "run=none"], "run=none: there is no run ("),
        (["task=landscape", "run=none"], "run=none: there is no run ("),
        (["task=export", "run=none"], "run=none: there is no run ("),
        (["task=predict", "run=none", "images=."], "run=none: there is no run ("),
        (["task=evaluate", "genotype=none.json"], "genotype=none.json: cannot read none.json ("),
        (["data=image_folder", "data.path=none"], "no folder none; give data.path=FOLDER with FOLDER/<class>/*.jpg"),
        (["data=arrays", "data.path=none"], "data.path=none: no such file; give another file with data.path=FILE.npz"),
    ],
)
def test_refusals_import_nothing_heavy(words, told, tmp_path, outcome):
    code, heavy, lines, _ = outcome(words, tmp_path)
    assert (code, heavy) == (2, [])
    assert lines[-1].startswith(f"nas-lightning: {told}"), lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--cfg", "job"], ["--cfg", "job", "method=drnas", "logger=wandb", "data=cifar10"]])
def test_the_configuration_is_printed_without_torch(words, tmp_path, outcome):
    """Neither torch._dynamo nor torchmetrics' audio, in particular."""
    code, heavy, _, out = outcome(words, tmp_path)
    assert (code, heavy) == (0, [])
    assert "_target_: lightning.Trainer" in out


def test_a_part_of_ones_own_is_imported(tmp_path, outcome):
    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self, rate: float) -> None: ...\n")
    words = ["+regularizer.mine={_target_: mine.Mine, rate: a}", "trusted=[mine]"]
    code, heavy, (line,), _ = outcome(words, tmp_path)
    assert (code, heavy) == (2, [])
    assert line.endswith("regularizer.mine.rate=a: must be a number; write regularizer.mine.rate=VALUE")


@pytest.mark.parametrize("part", [Arrays, ImageFolder, ImageNet16])
def test_images_are_missed_in_the_words_of_their_part(part, tmp_path):
    path = str(tmp_path / "none")
    with pytest.raises(ConfigError) as late:
        part(path).prepare()
    options = {Arrays: "arrays", ImageFolder: "image_folder", ImageNet16: "imagenet16_120"}
    with pytest.raises(ConfigError) as early:
        check_places(checked([f"data={options[part]}", f"data.path={path}"]))
    assert str(early.value) == str(late.value)


@pytest.mark.slow
def test_what_is_there_is_left_to_its_reader(tmp_path):
    for name in ("file", "file.py", "network.json"):
        (tmp_path / name).write_text("{}")
    for words in (
        ["data=arrays", f"data.path={tmp_path}"],
        ["data=arrays"],
        ["task=evaluate", f"genotype={tmp_path}/file.py:Mine"],
        ["task=evaluate", "genotype=darts_v2"],
        ["task=evaluate", "genotype=|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"],
        ["task=export", f"run={tmp_path}"],
        ["task=predict", "run=none", "images=none"],
        ["task=analyse", "analysis=skip_gap", "run=none/**"],
        ["task=report", "runs=none"],
    ):
        check_places(checked(words))
