"""Overrides that a refused configuration advises, followed one by one: each is accepted, up to the first epoch.

No run is trained. `started` builds and checks every part as a run does before its first epoch.
"""

import pytest

import nas_lightning as nl
from conftest import write_images
from followed import alternatives
from nas_lightning.config.compose import checked, rewrite
from nas_lightning.config.overriding import key_of
from nas_lightning.config.schema import check_read
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.genotype import given_genotype
from nas_lightning.tasks.phases import start
from nas_lightning.training.workbench import Workbench

pytestmark = pytest.mark.xdist_group("advice of refusals")
ARRAYS = ["data=arrays", "data.path=mine.npz", "space=s3", "trainer=cpu", "~callbacks.curvature"]
TINY = ["search.batch_size=8", "search.init_channels=4", "search.layers=3", "search.epochs=3", "evaluation.layers=3"]
TINY += ["evaluation.init_channels=4", "evaluation.batch_size=8", "evaluation.auxiliary=0", "evaluation.cutout=0"]
STOPPING = ["+control=curvature_stopping", "callbacks.curvature.interval=2"]
ROLLBACK = ["+control=adaptive_rollback", "control.adaptive_rollback.window=1", "search.epochs=20"]
GREEDY = ["method=sgas", "control.greedy_decisions.first_epoch=1"]
SKIP = ["+regularizer=skip_noise"]
MEMBERS = ["candidates.key=seed", "candidates.values=2"]
READING = ["+selector@readings.other=perturbation"]
TABLE = ["evaluation=tabular_s5", "space=s5", "data=digits"]

COMPOSED = {
    "search.weights.momentum=0.9": ["search.weights.nesterov=true", "search.weights.momentum=0"],
    "search.arch.warmup_epochs=0": ["search.arch.warmup_epochs=3", "search.epochs=3"],
    "landscape.steps=11": ["task=landscape", "run=x", "landscape.steps=10"],
    "trainer.precision=bf16-mixed": ["trainer.precision=16-mixed"],
    "+regularizer.mine._target_=nas_lightning.regularizers.Cutout": [
        "+regularizer._target_=nas_lightning.regularizers.Cutout"
    ],
    "task=export": ["run=x"],
    "task=report": ["runs=x"],
    "task=evaluate": ["genotype=darts_v2"],
    "+regularizer.mine._target_=nas_lightning.regularizers.Cutout ": ["+regularizer.mine.length=1"],
    "~regularizer.mine": ["+regularizer.mine.length=1"],
    "callbacks.curvature.images=3": ["callbacks.curvature.images=0"],
    "search.init_channels=4": ["search.init_channels=3"],
}
"""By the advice, one word of it, commands that are refused as they are composed."""
STARTED = {
    "graph=auto": ["graph=required"],
    "evaluation.graph=auto": ["evaluation.graph=required"],
    "evaluation.momentum=0.9": ["evaluation.nesterov=true", "evaluation.momentum=0"],
    "trainer.max_time=00:12:00:00": ["trainer.max_time=soon"],
    "trainer.accelerator=cpu": ["trainer.accelerator=mps"],
    "trainer.strategy=ddp": ["trainer.strategy=fsdp", "trainer.devices=2"],
    "trainer.sync_batchnorm=false": ["trainer.strategy=ddp", "trainer.devices=2", "trainer.sync_batchnorm=true"],
    "control.adaptive_rollback.offset=1": [*ROLLBACK, "control.adaptive_rollback.offset=0"],
    "callbacks.curvature.interval=1": [*STOPPING, "control.curvature_stopping.rule=paper"],
    "control.greedy_decisions.first_epoch=2": [*GREEDY, "search.arch.warmup_epochs=2"],
    "control.greedy_decisions.first_epoch=0": ["method=sgas", "control.greedy_decisions.first_epoch=9"],
    "~control.curvature_stopping": ["method=random_search", *STOPPING],
    "~control.curvature_stopping ": ["method=rs_ws", *STOPPING],
    "selector=random_search": ["hypergradient=none"],
    "relaxation=softmax": ["relaxation=uniform", "hypergradient=first_order"],
    "perturbation=none": ["method=gdas", "perturbation=random"],
    "evaluation.cutout=4": ["evaluation.cutout=99"],
    "regularizer.cutout.length=4": ["+regularizer=cutout", "regularizer.cutout.length=99"],
    "regularizer.skip_noise.std=0.2": [*SKIP, "regularizer.skip_noise.std=0", "regularizer.skip_noise.learnable=true"],
    "+regularizer=op_noise": ["method=noisy_darts", "space=s4"],
    "perturbation.maximum=0.3": ["perturbation=random", "perturbation.start=0.3", "perturbation.maximum=0.1"],
    "selector.finalists=3": ["selector=random_search", "selector.finalists=9", "selector.candidates=3"],
    "search.init_channels=8": ["method=pc_darts", "search.init_channels=6"],
    "search.stem=cifar": ["space=nasbench201", "search.stem=imagenet"],
    "search.batch_size=10": ["search.batch_size=99"],
    "candidates.key=seed": ["candidates.values=2"],
    "candidates.epochs=2": [*MEMBERS, "candidates.epochs=1", "evaluation.warmup_epochs=1"],
    "evaluation@candidates.evaluation=digits": [*MEMBERS, *TABLE],
    "+selector@readings.other=perturbation": ["+selector@readings.darts=perturbation"],
    "~readings.other": ["method=random_search", *READING],
    "candidates.key=null": [*MEMBERS, *READING],
    "evaluation.draws=10": [*TABLE, "evaluation.draws=0"],
    "evaluation.draws=3": [*TABLE, "evaluation.random_baseline=3"],
    "space=s5": [*TABLE, "space=s3"],
    "evaluation.dataset=cifar10": ["evaluation=tabular", "data=digits", "space=nasbench201"],
    "objective.metric=accuracy": [*TABLE, "objective=balanced"],
    "genotype=darts_v2": ["task=evaluate", "space=darts"],
    "space=darts": ["task=evaluate", "genotype=darts_v2"],
}
"""Likewise, commands that are refused as their parts are built and checked."""
GIVEN = {
    "images=VALUE": "images=3",
    "init_channels=VALUE": "init_channels=4",
    "NAME=SELECTOR": "other=perturbation",
    "package.Class": "nas_lightning.regularizers.Cutout",
}
"""What a user writes in the place of words in capitals."""
REPLACED = (
    "+regularizer._target_=nas_lightning.regularizers.Cutout",
    "+selector@readings.darts=perturbation",
    "evaluation.random_baseline=3",
)
"""Words in whose place a line puts others."""


SLOW = (
    *("task=export", "evaluation.graph=auto", "evaluation.momentum=0.9", "~control.curvature_stopping "),
    *("search.stem=cifar", "candidates.epochs=2", "evaluation@candidates.evaluation=digits", "evaluation.draws=3"),
    *("space=s5", "perturbation.maximum=0.3", "selector.finalists=3"),
)
"""Others take the same way in less time."""


def cases(table):
    """Return the parameters of a table, the slow ones marked."""
    marks = {expected: [pytest.mark.slow] if expected in SLOW else [] for expected in table}
    return [pytest.param(expected, words, id=expected, marks=marks[expected]) for expected, words in table.items()]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advice")
    write_images(folder / "mine.npz")
    return folder


def composed(words):
    config = checked(rewrite(words))
    check_read(config)
    return config


def started(words, folder):
    bench = Workbench(composed(words), RunFolder(folder))
    if bench.config.task == "evaluate":
        given_genotype(bench)
    start(bench)


def with_advice(words, advice):
    """Return the command with the advised words: in the place of those of the same keys, or at its end."""
    keys = {key_of(word) for word in advice if not word.startswith("+")}
    kept = [word for word in words if word.startswith("+") or key_of(word) not in keys]
    return [*(word for word in kept if word not in REPLACED), *advice]


def advised(error, expected):
    """Return the alternatives that a refusal advises, as a user writes them; one of them holds the expected word."""
    line = str(error)
    for placeholder, value in GIVEN.items():
        line = line.replace(placeholder, value)
    found = alternatives(line)
    assert expected.strip() in [word for words in found for word in words], line
    return found


def around(words):
    """Return a command of tiny images and networks with these words, which win."""
    keys = {key_of(word) for word in words}
    base = TINY if "evaluation" not in keys else TINY[:4]
    if "data" not in keys:
        base = [*ARRAYS, *base]
    if any("control=" in word for word in words):
        base = [word for word in base if word != "~callbacks.curvature"]
    return [*(word for word in base if key_of(word) not in keys), *words]


@pytest.mark.parametrize(("expected", "words"), cases(COMPOSED))
def test_what_composing_advises_is_accepted(expected, words):
    with pytest.raises(nl.ConfigError) as refused:
        composed(words)
    for advice in advised(refused.value, expected):
        composed(with_advice(words, advice))


@pytest.mark.parametrize(("expected", "words"), cases(STARTED))
def test_what_the_start_advises_is_accepted(expected, words, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    words = around(words)
    with pytest.raises(nl.ConfigError) as refused:
        started(words, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    for number, advice in enumerate(advised(refused.value, expected)):
        started(with_advice(words, advice), tmp_path / str(number))
