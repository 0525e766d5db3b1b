"""P-DARTS and P-SDARTS: sizes of the published stages, what each of them is configured with, and their cost."""

import pytest
import torch

import nas_lightning as nl
from cases import build_space
from nas_lightning.config.compose import as_dict
from nas_lightning.core.functional import count_parameters
from nas_lightning.core.schedules import cosine
from nas_lightning.data.stand_in import without_reading
from nas_lightning.planning.count import count
from nas_lightning.regularizers import SkipDropout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import bench_of, build_module, stages_of, stand_in
from nas_lightning.searches.check import check_search
from nas_lightning.searches.memory import _predicted
from nas_lightning.searches.optimizers import weights_learning_rate
from nas_lightning.training.workbench import Workbench

FIVE = ("none", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
THREE = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")


def bench_of_words(*words):
    bench = Workbench(as_dict(nl.compose([*words, "data=cifar10", "task=search"])), RunFolder("unused"))
    bench.data = without_reading(bench.source)
    return bench


@pytest.mark.parametrize(
    ("layers", "options", "expected"),
    [(5, None, 1_275_834), (11, None, 2_585_146), (17, None, 3_894_202), (11, FIVE, 2_136_474), (17, THREE, 1_861_402)],
)
def test_published_sizes_of_the_stages(layers, options, expected):
    space = build_space("darts")
    if options is not None:
        among = lambda choice: sum(choice.where(op) for op in options).bool()  # noqa: E731
        space = space.narrowed({name: among(choice) for name, choice in space.choices.items()})
    assert count_parameters(space.supernet(layers=layers)) == expected


def test_stages_are_those_published():
    bench = bench_of_words("method=p_darts")
    found = [
        (
            stage.config.search.layers,
            stage.config.search.epochs,
            stage.config.search.batch_size,
            stage.config.search.init_channels,
            stage.config.control["progressive_shrinking"]["options"],
            stage.config.regularizer["skip_dropout"]["probability"],
            stage.fresh,
        )
        for stage in stages_of(bench)
    ]
    assert found == [
        (5, 25, 96, 16, None, 0.1, True),
        (11, 25, 96, 16, 5, 0.4, True),
        (17, 25, 96, 16, 3, 0.7, True),
    ]
    last = stages_of(bench)[-1]
    rates = [weights_learning_rate(last.config.search, epoch, 0) for epoch in range(25)]
    assert rates == pytest.approx([cosine(epoch, 25, 0.025, 0.0) for epoch in range(25)])
    arch = last.config.search.arch
    assert (arch.lr, arch.betas, arch.weight_decay, arch.warmup_epochs, arch.clip) == (6e-4, (0.5, 0.999), 1e-3, 10, 5)


@pytest.mark.parametrize(("method", "first", "last"), [("p_sdarts_rs", 0.03, 0.2892), ("p_sdarts_adv", 0.03, 0.2892)])
def test_the_radius_grows_over_the_epochs_of_each_stage(method, first, last):
    words = ["search.init_channels=2", "search.arch.warmup_epochs=0"]
    bench = bench_of_words(f"method={method}", *words)
    for stage in stages_of(bench):
        module = build_module(bench_of(bench, stage), stage)
        radii = []
        for epoch in (stage.first_epoch, stage.last_epoch - 1):
            module.progress.search_epoch = epoch
            radii.append(module.epsilon)
        assert radii == pytest.approx([first, last])


def test_dropout_follows_the_epochs_of_its_stage():
    bench = bench_of_words("method=p_darts", "search.init_channels=2")
    stage = stages_of(bench)[1]
    module = build_module(bench_of(bench, stage), stage)
    part = module.regularizers["skip_dropout"]
    assert isinstance(part, SkipDropout)
    found = []
    for epoch in (25, 34, 35, 49):
        module.progress.search_epoch = epoch
        part.at_epoch(module.progress.position)
        found.append(round(part.current, 4))
    assert found == [0.384, 0.24, 0.4, 0.0243]


@pytest.mark.slow
def test_a_plan_times_each_stage_by_its_own_size():
    bench = bench_of_words("method=p_darts")
    work = count(bench)
    steps = -(-25_000 // 96)
    assert (work.total("weight step"), work.total("search step")) == (30 * steps, 45 * steps)
    assert len(work.probes) == 3
    assert work.total("curvature") == 38 + 1  # after every second epoch, and after the last of each stage: 24, 49, 74
    sizes = {}
    for parts, stage in work.probes.values():
        module = stand_in(parts, stage)
        sizes[stage.index] = (
            len(module.supernet.cells),
            *(int(k.sum(1).max()) for k in module.decisions.kept.values()),
        )
        if stage.index:
            whole = count_parameters(build_module(parts, stage).supernet)
            assert count_parameters(module.supernet) < 0.95 * whole
    assert sizes == {0: (5, 8, 8), 1: (11, 5, 5), 2: (17, 3, 3)}


FIRST = "{name: a, epochs: 25, overrides: {search.layers: 3}}"
NARROW = "{name: b, epochs: 25, fresh: true, overrides: {control.progressive_shrinking.options: 3, search.layers: 3}}"
NARROWER = "{name: c, epochs: 25, overrides: {control.progressive_shrinking.options: 2, search.layers: 3}}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["selector=perturbation", f"search.stages=[{FIRST},{NARROW}]", "search.epochs=50"], 3),
        ([f"search.stages=[{FIRST},{NARROW},{NARROWER}]"], 2),
    ],
)
def test_what_continues_a_narrowed_stage_is_predicted_as_narrow(words, options):
    """The weights of three operations, of which a continued stage may compute fewer; the others are not built."""
    bench = bench_of_words("method=p_darts", "search.init_channels=2", "space.num_nodes=2", *words)
    root, stage = stages_of(bench)[-2:]
    assert (root.fresh, stage.fresh, stage.root) == (True, False, root.index)
    modules = [stand_in(bench_of(bench, one), one) for one in (root, stage)]
    sizes = [count_parameters(module.supernet) for module in modules]
    assert sizes[0] == sizes[1] < 0.95 * count_parameters(build_module(bench_of(bench, stage), stage).supernet)
    kept = [{int(number) for rows in module.decisions.kept.values() for number in rows.sum(1)} for module in modules]
    assert kept == [{3}, {options}]
    parts = bench_of(bench, stage)
    assert _predicted(parts, stage, torch.device("cpu"))[1] == 4 * sizes[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["space=s4"], "no edge of space=s4 offers skip_connect"),
        (["+control=best_epoch"], "best_epoch"),
        (["search.layers=4"], None),
    ],
)
def test_refusals(words, told):
    bench = bench_of_words("method=p_darts", *words, "search.init_channels=2")
    if told is None:
        check_search(bench)
        return
    with pytest.raises(nl.ConfigError, match=told) as error:
        check_search(bench)
    assert "\n" not in str(error.value)
