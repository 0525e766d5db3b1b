"""Every YAML composes, binds and can be built; every mistake is one line that names value, choice and override."""

from functools import cache
from pathlib import Path

import pytest

import nas_lightning as nl
from cases import CONF
from nas_lightning.config.compose import as_dict, checked, compose, groups, options, rewrite
from nas_lightning.config.declarations import constant
from nas_lightning.config.schema import PART_LISTS, PARTS, REFUSED_TRAINER_KEYS, check_read
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.grammar import sweep_members
from nas_lightning.training.workbench import Workbench

TABLES = sorted(f"when/{path.name}" for path in (CONF / "when").iterdir())
COMPOSED = {group for group in TABLES if group != "when/paper_data"}  # which is of three options
YAMLS = sorted((group, name) for group in [*groups(), *TABLES] for name in options(group))


def test_every_group_is_found():
    assert len(YAMLS) > 35
    assert {group for group, _ in YAMLS} == {group for group in groups() if options(group)} | set(TABLES)


def test_only_what_users_choose_from_is_offered():
    """Not Hydra's own groups, not the values for combinations, not what several YAMLs share."""
    assert {path.name for path in CONF.iterdir() if path.is_dir()} - set(groups()) == {"hydra", "when"}
    assert set(options("data")) == {path.stem for path in (CONF / "data").glob("*.yaml")}
    for word in ("method_dat=x", "when=x", "data_method=x"):
        with pytest.raises(nl.ConfigError, match=rf"{word}: there is no such key") as caught:
            nl.compose([word])
        assert "_data" not in str(caught.value)


@cache
def kinds_of_evaluations():
    """One evaluation on images of each set of keys, which is what another may have that the values are not for."""
    found = {name: nl.compose([f"evaluation={name}"]).evaluation for name in options("evaluation")}
    found = {name: keys for name, keys in found.items() if not constant(keys["_target_"], "inputs")}
    return sorted({frozenset({*map(str, keys), keys["_target_"]}): name for name, keys in found.items()}.values())


def cut(name):
    """Part a combination before the name of its data, which may hold an underscore."""
    data = max((one for one in options("data") if name.endswith(f"_{one}")), key=len)
    return name.removesuffix(f"_{data}"), "_", data


@pytest.mark.parametrize("name", options("when/space_data"))
def test_values_for_a_space_on_a_data_set_leave_every_evaluation_possible(name):
    """Another evaluation has other keys: a table has no layers."""
    space, _, data = cut(name)
    for evaluation in kinds_of_evaluations():
        config = nl.compose([f"space={space}", f"data={data}", f"evaluation={evaluation}"])
        assert Workbench(as_dict(config), RunFolder("unused")).part("evaluation") is not None


@pytest.mark.parametrize(
    ("group", "name"),
    [
        pytest.param(group, name, id=f"{group}/{name}", marks=pytest.mark.slow if group in COMPOSED else [])
        for group, name in YAMLS
        if "/" not in name
    ],
)
def test_every_yaml_composes_and_binds(group, name):
    """Composed into the main configuration, validated, and every part but the images is built.

    The papers' experiments: test_experiments. Values for combinations of two options are composed and checked in
    test_option_contents, too; their parts are built with the slow tests.
    """
    if group == "protocol":  # chosen by the data, never by itself
        group, override = "data", f"data={name}"
    elif group in PART_LISTS:
        override = f"+{group}={name}"
    else:
        override = f"{group}={name}"
    overrides = [override]
    if (group, name) == ("callbacks", "curvature"):  # there already
        overrides = []
    elif group == "proposer":
        overrides = ["method=evolution", f"proposer@candidates.proposer={name}"]
    elif group == "proxy":  # the analysis lists all
        overrides = ["analysis=proxies"]
    elif group == "when/method_data":
        method, _, data = cut(name)
        overrides = [f"method={method}", f"data={data}"]
    elif group == "when/space_data":
        space, _, data = cut(name)
        overrides = [f"space={space}", f"data={data}"]
    elif group == "when/paper_data":
        paper, space, data = name.rsplit("_", 2)
        overrides = [f"paper={paper}", f"space={space}", f"data={data}"]
    elif group in ("when/paper_hypergradient", "when/paper_perturbation", "when/paper_selector"):
        paper = next(paper for paper in options("paper") if name.startswith(f"{paper}_"))
        overrides = [f"paper={paper}", f"{group.rpartition('_')[2]}={name.removeprefix(f'{paper}_')}"]
    elif group == "when/method_scale":
        method, _, scale = name.rpartition("_")
        overrides = [f"method={method}", f"scale={scale}"]
    config = nl.compose(overrides)
    bench = Workbench(as_dict(config), RunFolder("unused"))
    for part in PARTS:
        if part != "data":
            bench.part(part)
    for parts in PART_LISTS:
        if parts != "logger":
            bench.build_named(parts)
    if group == "logger" and name in ("tensorboard", "mlflow"):  # extras
        pytest.importorskip(name)
    assert [logger.key for logger in bench.loggers] == [name] * (group == "logger" and name != "csv")
    if group == "proxy":
        assert name in bench.config.analysis["proxies"]
    if group == "proposer":
        bench.build("candidates.proposer", bench.config.candidates.proposer)
    for part in ("convert", "analysis"):
        if getattr(bench.config, part) is not None:
            bench.part(part)
    assert bench.config.task in options("task")


@pytest.mark.parametrize(("group", "name"), YAMLS, ids="/".join)
def test_every_yaml_says_what_it_is(group, name):
    assert len(options(group)[name]) > 15
    assert not options(group)[name].startswith("@")


def test_the_main_job_is_what_the_readme_says():
    assert nl.compose([]) == nl.compose(["task=pipeline", "method=darts", "space=s3", "data=digits"])


@pytest.mark.parametrize(
    ("data", "space", "recipe", "epochs"),
    [("cifar10", "darts", "cifar_36x20", 600), ("svhn", "darts", "cifar_16x8", 600), ("digits", "s3", "digits", 14)],
)
def test_protocol_follows_the_data(data, space, recipe, epochs):
    config = nl.compose([f"data={data}"])
    assert (config.space.name, config.evaluation.name, config.evaluation.epochs) == (space, recipe, epochs)
    assert nl.compose([f"data={data}", "space=s1", "evaluation=cifar_16x20"]).evaluation.layers == 20


def test_own_photos_have_a_rate_that_decides():
    """Of few steps; methods that bring a rate keep it, and a word on the command line wins."""
    assert nl.compose(["data=image_folder"]).search.arch.lr == 0.01
    assert nl.compose(["data=image_folder", "method=pc_darts"]).search.arch.lr == 6e-4
    assert nl.compose(["data=image_folder", "search.arch.lr=3e-4"]).search.arch.lr == 3e-4


def test_published_search_values():
    """Spec of the DARTS search on CIFAR-10."""
    search = nl.compose(["data=cifar10"]).search
    assert (search.epochs, search.batch_size, search.init_channels, search.layers) == (50, 64, 16, 8)
    weights, arch = search.weights, search.arch
    assert (weights.lr, weights.lr_min, weights.momentum, weights.weight_decay, weights.clip) == (
        0.025, 0.001, 0.9, 3e-4, 5.0,
    )  # fmt: skip
    assert (arch.lr, list(arch.betas), arch.weight_decay, arch.warmup_epochs) == (3e-4, [0.5, 0.999], 1e-3, 0)


FROZEN = [
    "seed",
    "engine",
    "genotype",
    "runs",
    "trusted",
    "search.epochs",
    "search.batch_size",
    "search.init_channels",
    "search.layers",
    "search.order",
    "search.snapshots",
    "search.weights.lr",
    "search.weights.lr_min",
    "search.weights.momentum",
    "search.weights.weight_decay",
    "search.weights.clip",
    "search.arch.lr",
    "search.arch.betas",
    "search.arch.weight_decay",
    "search.arch.warmup_epochs",
    "data.num_workers",
    "data.split",
    "data.val_fraction",
    "data.augment_val",
    "evaluation.epochs",
    "evaluation.batch_size",
    "evaluation.init_channels",
    "evaluation.layers",
    "evaluation.auxiliary",
    "evaluation.drop_path",
    "evaluation.cutout",
    "callbacks",
    "regularizer",
    "control",
    "logger",
    "trainer",
]


def test_frozen_keys_exist():
    from omegaconf import OmegaConf

    config = nl.compose([])
    missing = [key for key in FROZEN if OmegaConf.select(config, key, default="missing") == "missing"]
    assert missing == []


WRONG = {
    "wrong key": (["search.epohcs=3"], r"search\.epohcs=3: there is no such key; did you mean search\.epochs"),
    "added wrong key": (["+search.epohcs=3"], r"search\.epohcs=3: unknown key; did you mean search\.epochs"),
    "wrong key of a part": (["+relaxation.std=3"], r"relaxation\.std=3: unknown key; .*init_std"),
    "wrong type": (["search.epochs=many"], r"search\.epochs=many: must be a whole number; write search\.epochs=VALUE"),
    "text for a list": (["tags=first"], r"tags=first: must be a list, \[a,b\]; write tags=\[first\]$"),
    "an open bracket": (["seed=1", "tags=[a"], r"^tags=\[a: cannot be read; a bracket or quote may be missing"),
    "fraction for a count": (["search.epochs=2.5"], r"search\.epochs=2\.5: must be a whole number"),
    "text for a flag": (["search.weights.nesterov=1"], r"search\.weights\.nesterov=1: must be true or false"),
    "negative epochs": (["search.epochs=-1"], r"search\.epochs=-1: must be at least 1"),
    "odd channels": (["search.init_channels=7"], r"search\.init_channels=7: must be a multiple of 2"),
    "odd channels of the evaluation": (["evaluation.init_channels=7"], r"evaluation\.init_channels=7: must be a mul"),
    "fraction of one": (["data.val_fraction=1.0"], r"data\.val_fraction=1\.0: must be less than 1"),
    "negative fraction": (["data.val_fraction=-0.1"], r"data\.val_fraction=-0\.1: must be at least 0"),
    "momentum": (["search.weights.momentum=1.5"], r"search\.weights\.momentum=1\.5: must be less than 1"),
    "no part": (
        ["method=setn", "relaxation.weights=null"],
        r"^relaxation\.weights=null: must be a part.*weights\._target_",
    ),
    "a number for a part": (["method=setn", "relaxation.weights=7"], r"^relaxation\.weights=7: must be a part"),
    "three betas": (["search.arch.betas=[1,2,3]"], r"search\.arch\.betas"),
    "order": (["search.order=both"], r"search\.order=both: allowed: 'arch_first' or 'weights_first'"),
    "engine": (["engine=warp"], r"engine=warp: allowed: 'auto', 'fast' or 'reference'"),
    "unknown op": (["space.operations=[sep_conv_9x9]"], r"unknown operation sep_conv_9x9; allowed: none, max_pool"),
    "unknown method": (["method=dart"], r"method=dart: no such option; nearest: darts, .*; allowed: .*, darts, "),
    "unknown space": (["space=s33"], r"space=s33: no such option; nearest: s3"),
    "unknown data": (["data=cifar"], r"data=cifar: no such option; nearest: cifar10"),
    "unknown trainer key": (["trainer.precison=16"], r"trainer\.precison=16: unknown key; did you mean trainer\.prec"),
    "half precision": (["trainer.precision=16-mixed"], r"trainer\.precision=16-mixed: .*use trainer\.precision=bf16"),
    "untrusted target": (["+callbacks.x._target_=os.getcwd"], r"targets come from .*trusted=\[os\]"),
    "target that is not there": (["+callbacks.x._target_=nas_lightning.Nope"], r"nas_lightning\.Nope: no such class"),
    "list without a name": (["+callbacks._target_=nas_lightning.X"], r"callbacks is a list of named parts"),
    "warm-up as long as the search": (["search.arch.warmup_epochs=99"], r"would never be trained"),
    "syntax": (["search.epochs"], r"search\.epochs"),
    "seed too large": (["seed=4294967296"], r"seed=4294967296: must be at most"),
    "infinite rate": (["search.weights.lr=.inf"], r"search\.weights\.lr=inf|search\.weights\.lr"),
    "rate that rises": (["search.weights.lr_min=10"], r"search\.weights\.lr_min=10.*at most search\.weights\.lr"),
    "nesterov without momentum": (["search.weights.nesterov=true", "search.weights.momentum=0"], r"needs momentum"),
    "double precision": (["trainer.precision=64-true"], r"trainer\.precision=64-true: allowed: 32-true, bf16-mixed"),
    "no batches": (["trainer.limit_train_batches=0"], r"nothing would be trained"),
    "nothing but none": (["space.operations=[none]"], r"offered nothing but none"),
    "operation twice": (["space.operations=[skip_connect,skip_connect]"], r"contains duplicates"),
    "one operation as text": (["space.operations=sep_conv_3x3"], r"space\.operations=sep_conv_3x3: .{0,120}$"),
    "runs as a number": (["runs=3"], r"runs=3: must be text or must be a list, \[a,b\]; write runs=VALUE"),
    "group without option": (["space=null"], r".+"),
    "unknown experiment": (["experiment=foo"], r"experiment=foo: no such option"),
    "unknown table": (
        ["experiment=robustdarts/tabel1"],
        r"experiment=robustdarts/tabel1: .*nearest: robustdarts/table1, .*allowed: robustdarts/figure1, .*table6$",
    ),
    "paper without a table": (["experiment=robustdarts"], r"nearest: robustdarts/.*allowed: .*robustdarts/…, "),
    "key of a plan": (["task=plan", "plan.measur=false"], r"did you mean plan\.measure"),
    "part of an empty list": (["+logger=foo"], r"logger=foo: .*\+logger\.foo\._target_=PACKAGE\.CLASS"),
    "unknown part of a list": (
        ["+callbacks=foo"],
        r"callbacks=foo: .*allowed: curvature, .*\+callbacks\.foo\._target_=",
    ),
    "part that is there": (["+callbacks=curvature"], r"callbacks\.curvature is in the list already"),
    "bad sweep name": (["sweep=a/b"], r"sweep=a/b"),
    "unknown analysis": (["analysis=strenght"], r"analysis=strenght: no such option; nearest: strength"),
    "rows of the analysis": (["analysis=strength", "analysis.rows=some"], r"analysis\.rows=some: .*allowed: 'all'"),
    "depth of a network": (["analysis=shuffling", "analysis.networks.vgg.depth=2"], r"depth=2: must be at least 3"),
    **{f"trainer.{key}": ([f"trainer.{key}=1"], rf"trainer\.{key}=1: refused, ") for key in REFUSED_TRAINER_KEYS},
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(case, tmp_path):
    overrides, words = WRONG[case]

    def compose_and_build():
        return Workbench(as_dict(nl.compose(overrides)), RunFolder(tmp_path)).space  # the space checks its own values

    with pytest.raises(nl.ConfigError, match=words) as caught:
        compose_and_build()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["genotype=darts_v2"], r"genotype=darts_v2: task=pipeline does not read it; use task=evaluate$"),
        (["task=evaluate", "run=F"], r"run=F: task=evaluate does not read it; use task=select or task=analyse or "),
        (["runs=[a,b]"], r"runs=…: task=pipeline does not read it; use task=report or task=analyse"),
        (["task=search", "analysis=strength"], r"analysis=…: task=search does not read it; use task=analyse$"),
    ],
)
def test_keys_of_another_task(words, told):
    with pytest.raises(nl.ConfigError, match=told):
        check_read(checked(words))
    check_read(checked(["task=evaluate", "genotype=darts_v2"]))


def test_all_problems_are_reported_together():
    with pytest.raises(nl.ConfigError, match=r"search\.epochs=0.*search\.layers=0"):
        nl.compose(["search.epochs=0", "search.layers=0"])


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_wrong_key_in_an_experiment_file(tmp_path):
    text = "# @package _global_\nsearch:\n  epohcs: 3\n"
    folder = write(tmp_path, "experiment/mine.yaml", text)
    with pytest.raises(nl.ConfigError, match=r"search\.epohcs=3: unknown key; did you mean search\.epochs"):
        nl.compose(["experiment=mine"], config_dir=folder)


def test_experiment_of_ones_own(tmp_path):
    text = "# @package _global_\ndefaults:\n  - override /space: s1\n\nsearch:\n  epochs: 3\n"
    folder = write(tmp_path, "experiment/mine.yaml", text)
    config = nl.compose(["experiment=mine"], config_dir=folder)
    assert (config.space.name, config.search.epochs) == ("s1", 3)
    assert nl.compose(["experiment=mine", "search.epochs=4"], config_dir=folder).search.epochs == 4


@pytest.mark.parametrize("experiment", ["nasbench201_benchmark", "noisydarts/table3"])
@pytest.mark.parametrize("hypergradient", ["first_order", "unrolled", "unrolled_exact"])
def test_the_benchmarks_second_order_steps_the_architecture_first_by_a_plain_step(experiment, hypergradient):
    """Also in experiments that build on its protocol; what is given on the command line wins."""
    words = [f"experiment={experiment}", "method=darts", f"hypergradient={hypergradient}", "data=cifar10"]
    second_order = hypergradient != "first_order"
    found = nl.compose(words)
    assert found.search.order == ("arch_first" if second_order else "weights_first")
    assert found.search.weights.nesterov
    assert found.hypergradient.get("virtual_step") == ("plain" if second_order else None)
    assert nl.compose([*words, "search.order=weights_first"]).search.order == "weights_first"


def test_snas_of_drnas_code_reaches_its_temperature_after_the_last_epoch():
    relaxation = nl.compose(["experiment=drnas/nasbench201", "method=snas"]).relaxation
    assert (relaxation.start, relaxation.end, relaxation.end_reached) == (10.0, 1.0, "after_last")


@pytest.mark.parametrize("experiment", ["nasbench201_benchmark", "noisydarts/table3_sampling"])
@pytest.mark.parametrize("method", ["rsps", "setn", "gdas"])
def test_the_benchmark_scores_cells_on_a_batch_of_512_test_images(experiment, method):
    found = nl.compose([f"experiment={experiment}", f"method={method}", "data=cifar10"])
    scored = method != "gdas"
    assert found.data.augment_val is not scored
    assert (found.selector.get("batches"), found.selector.get("batch_size")) == ((1, 512) if scored else (None, None))
    plain = nl.compose([f"method={method}", "data=cifar10"])
    assert (plain.data.augment_val, plain.selector.get("batch_size")) == (True, None)
    if scored:
        assert nl.compose([f"experiment={experiment}", f"method={method}", "selector.batches=8"]).selector.batches == 8


@pytest.mark.parametrize(
    ("experiment", "method"),
    [
        *((sweep, m) for sweep in ("cifar10", "table3_1") for m in ("darts_pt", "sdarts_rs_pt", "darts", "sgas_pt")),
        *((sweep, "darts_pt_fixed_alpha") for sweep in ("s1_s4", "nasbench201", "figure3_1")),
        ("cifar10_magnitude", "darts_pt"),
    ],
)
def test_masks_of_darts_pts_tables_see_shuffled_images(experiment, method):
    found = nl.compose([f"experiment=darts_pt/{experiment}", f"method={method}"]).selector
    plain = nl.compose([f"method={method}"]).selector
    masks = method not in ("darts", "sgas_pt")  # which select by magnitude
    assert (found.get("reshuffle"), plain.get("reshuffle")) == ((True, False) if masks else (None, None))


def test_values_of_ones_own_for_a_combination(tmp_path):
    """Found by name; another method's are taken by naming its file."""
    folder = write(tmp_path, "when/method_data/darts_svhn.yaml", "# @package _global_\nsearch:\n  epochs: 3\n")
    write(folder, "when/method_data/gdas_svhn.yaml", "# @package _global_\ndefaults: [pc_darts_cifar10]\n")
    assert nl.compose(["data=svhn"], config_dir=folder).search.epochs == 3
    assert nl.compose(["data=cifar10"], config_dir=folder).search.epochs == 50
    found = nl.compose(["method=gdas", "data=svhn"], config_dir=folder).search
    assert (found.batch_size, found.arch.warmup_epochs) == (256, 15)


@pytest.mark.parametrize("table", [table.removeprefix("when/") for table in TABLES])
def test_values_at_the_old_place_are_refused(tmp_path, table):
    folder = write(tmp_path, f"{table}/darts_svhn.yaml", "# @package _global_\nsearch:\n  epochs: 3\n")
    with pytest.raises(nl.ConfigError, match=rf"--config-dir=.*: {table} is read from when/{table}; move the folder"):
        nl.compose(["data=svhn"], config_dir=folder)


def test_missing_config_dir():
    with pytest.raises(nl.ConfigError, match="no such folder"):
        nl.compose([], config_dir="nowhere")


def test_lists_of_named_parts_add_up(tmp_path):
    """Adding a part by `+callbacks=NAME` or by a file never drops another."""
    timer = "_target_: lightning.pytorch.callbacks.Timer\n"
    folder = write(tmp_path, "callbacks/timer.yaml", timer)
    write(folder, "callbacks/device.yaml", "_target_: lightning.pytorch.callbacks.DeviceStatsMonitor\n")
    write(folder, "experiment/mine.yaml", f"# @package _global_\ncallbacks:\n  third:\n    {timer}")
    words = ["+callbacks=timer", "+callbacks=device", "experiment=mine"]
    config = nl.compose([*words, "+callbacks.fourth._target_=lightning.pytorch.callbacks.Timer"], config_dir=folder)
    assert set(config.callbacks) == {"curvature", "timer", "device", "third", "fourth"}
    left = nl.compose([*words, "~callbacks.timer"], config_dir=folder).callbacks
    assert set(left) == {"curvature", "device", "third"}


def test_every_trainer_argument_passes():
    config = nl.compose(["trainer.max_time=00:01:00:00", "trainer.fast_dev_run=true", "trainer.profiler=simple"])
    assert (config.trainer.max_time, config.trainer.fast_dev_run) == ("00:01:00:00", True)


def test_rewriting_is_idempotent():
    """Lightning starts further ranks with the words of the first, rewritten already."""
    words = ["trainer.devices=2", "+regularizer=x", "seed=1"]
    assert rewrite(rewrite(words)) == rewrite(words)


def test_members_of_a_sweep_show_each_value_once():
    members = sweep_members(["seed=0,1,2", "space=s1,s2", "engine=reference"])
    assert len(members) == 1 + 2 + 1
    assert {word for member in members for word in member} >= {"seed=2", "space=s2"}


def test_compose_inside_a_running_hydra_job_leaves_it_alone():
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(CONF), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose(["seed=4"])
        assert GlobalHydra.instance().hydra is before


def test_a_benchmark_string_needs_only_the_shells_quotes():
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    assert nl.compose(["space=nasbench201", f"genotype={text}"]).genotype == text


PUBLISHED_SEARCHES = {
    # channels, cells, epochs, batch, rates of weights and architecture, warm-up of the architecture
    ("pc_darts", "cifar10"): (16, 8, 50, 256, 0.1, 0.0, 6e-4, 15),
    ("pc_sdarts_rs", "cifar10"): (16, 8, 50, 256, 0.1, 0.0, 6e-4, 15),
    ("pc_darts", "imagenet"): (16, 8, 50, 1024, 0.5, 0.0, 6e-3, 35),
    ("pc_sdarts_adv", "imagenet"): (16, 8, 50, 1024, 0.5, 0.0, 6e-3, 35),
    ("drnas_progressive", "cifar10"): (36, 20, 50, 64, 0.1, 0.0, 6e-4, 10),
    ("drnas_progressive", "imagenet"): (48, 14, 50, 512, 0.5, 0.0, 6e-3, 10),
    ("sgas", "cifar10"): (16, 8, 50, 64, 0.025, 0.001, 3e-4, 0),
    ("darts_pt", "cifar10"): (16, 8, 50, 64, 0.025, 0.001, 3e-4, 0),
}


@pytest.mark.parametrize(("method", "data"), PUBLISHED_SEARCHES)
def test_published_searches_of_the_methods(method, data):
    search = nl.compose([f"method={method}", f"data={data}"]).search
    weights, arch = search.weights, search.arch
    found = (search.init_channels, search.layers, search.epochs, search.batch_size)
    found += (weights.lr, weights.lr_min, arch.lr, arch.warmup_epochs)
    assert found == PUBLISHED_SEARCHES[method, data]


def test_published_values_of_the_parts():
    pc = nl.compose(["method=pc_darts", "data=cifar10"])
    assert (pc.regularizer.partial_channels.divisor, pc.space.name) == (4, "darts")
    assert nl.compose(["method=pc_darts", "data=imagenet"]).regularizer.partial_channels.divisor == 2
    gdas = nl.compose(["method=gdas", "data=cifar10"])
    assert (gdas.relaxation.start, gdas.relaxation.end, gdas.search.layers) == (10.0, 0.1, 5)
    assert nl.compose(["method=snas", "data=cifar10"]).relaxation.end == 1.0
    greedy = nl.compose(["method=sgas", "data=cifar10"]).control.greedy_decisions
    assert (greedy.first_epoch, greedy.interval, greedy.batch_growth, greedy.history) == (9, 5, 8, 4)
    for data, divisors in (("cifar10", (6, 4)), ("imagenet", (6, 3))):
        config = nl.compose(["method=drnas_progressive", f"data={data}"])
        overrides = config.search.stages[1].overrides
        found = (config.regularizer.partial_channels.divisor, overrides["regularizer.partial_channels.divisor"])
        assert found == divisors
        assert overrides["control.progressive_shrinking.options"] == 4
    recipe = nl.compose(["evaluation=cifar_drnas"]).evaluation
    assert (recipe.batch_size, recipe.drop_path, recipe.epochs) == (64, 0.3, 600)
    assert nl.compose(["evaluation=cifar_pc_darts"]).evaluation.drop_path == 0.3
