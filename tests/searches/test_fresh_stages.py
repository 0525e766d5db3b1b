"""Fresh stages: searches in a row that share nothing but decisions."""

import json

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.schedules import cosine
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.searches.check import check_search
from nas_lightning.spaces.operations import Zero
from nas_lightning.tasks import run as tasks
from nas_lightning.training.workbench import Workbench
from staged_parts import (
    Look,
    NotedRadius,
    checkpoint,
    column,
    cut,
    forget,
    overrides_of,
    run,
    same,
    same_outcome,
    table,
    undrawn,
)

pytestmark = pytest.mark.xdist_group("fresh")  # in one worker, which makes what they share once
QUOTE = '"'  # Hydra writes lists without
OPTIONS = "control.progressive_shrinking.options"
PARTS = [
    "method=darts",
    "+control=progressive_shrinking",
    "search.snapshots=1",
    "search.arch.warmup_epochs=1",
    "perturbation._target_=staged_parts.NotedRadius",
    "search.weights.lr_min=0.0",
]


def stages(*overrides, epochs=2, fresh=True):
    """Three stages of 3, 4 and 3 cells, wider in the last; further overrides of each."""
    sizes = [{}, {"search.layers": 4}, {"search.init_channels": 4}]
    listed = [
        {"name": name, "epochs": epochs, "fresh": fresh, "overrides": size | more}
        for name, size, more in zip("abc", sizes, overrides, strict=True)
    ]
    return [f"search.epochs={3 * epochs}", f"search.stages={json.dumps(listed).replace(QUOTE, '')}"]


@pytest.fixture(scope="module")
def overrides(images_file):
    return [*overrides_of(images_file), *PARTS, *stages({}, {OPTIONS: 2}, {OPTIONS: 1})]


@pytest.fixture(scope="module")
def whole(overrides, tmp_path_factory):
    """A finished run of three stages of two epochs, the state at the start of each epoch, and the radii."""
    forget()
    folder = tmp_path_factory.mktemp("fresh") / "whole"
    summary = run(overrides, folder)
    return folder, overrides, dict(Look.starts), summary, dict(NotedRadius.seen)


def bench_of_words(words, folder):
    return Workbench(as_dict(nl.compose(words)), RunFolder(folder))


# What is carried --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_stage_is_a_search_started_there_with_its_seed_and_decisions(whole, tmp_path):
    """Weights, buffers and architecture parameters are those of a module that knows no stage before."""
    bench = bench_of_words(whole[1], tmp_path / "unused")
    planned = stages_of(bench)
    assert [stage.first_epoch for stage in planned] == [0, 2, 4]
    assert len({stage.seed for stage in planned}) == 3
    assert planned[0].seed == bench.config.seed
    for stage in planned[1:]:
        kept = whole[2][stage.first_epoch]["decisions"]["kept"]
        alone = Workbench(
            stage.config.with_values({"seed": stage.seed, "search.stages": None}, "test"), RunFolder(tmp_path / "alone")
        )
        (only,) = stages_of(alone)
        module = build_module(alone, only, kept)
        assert same(dict(module.state_dict()), dict(whole[2][stage.first_epoch]["module"]))
        assert same(module.arch, whole[2][stage.first_epoch]["arch"])
        assert whole[2][stage.first_epoch]["sgd"] == {}
        assert whole[2][stage.first_epoch]["adam"] == {}


def test_nothing_but_decisions_reaches_the_next_stage(whole, images_file, tmp_path):
    """Another first stage, with the same decisions: the second is the same to the bit."""
    folders = []
    for name, lr in (("a", 0.025), ("b", 0.1)):
        forget()
        folders.append(tmp_path / name)
        run(
            [
                *overrides_of(images_file),
                *PARTS,
                "search.epochs=4",
                f"search.stages=[{{name: a, epochs: 2, overrides: {{search.weights.lr: {lr}}}}},"
                " {name: b, epochs: 2, fresh: true, overrides: {search.layers: 4}}]",
            ],
            folders[-1],
        )
    first, second = (table(folder, "metrics") for folder in folders)
    assert first[1] != second[1]
    assert first[2:] == second[2:]
    a, b = map(checkpoint, folders)
    assert all(same(a[key], b[key]) for key in ("state_dict", "optimizer_states"))
    assert same(a["search"]["arch"], b["search"]["arch"])


def test_the_strongest_options_of_the_stage_before_are_kept(whole):
    """Two of three by its last architecture parameters, then one; the new parameters are noise around 0."""
    for epoch, number in ((2, 2), (4, 1)):
        end = checkpoint(whole[0], f"epoch={epoch}")["search"]
        for name, arch in end["arch"].items():
            kept, before = whole[2][epoch]["decisions"]["kept"][name], end["decisions"]["kept"][name]
            for row in range(5):
                allowed = [option for option in range(3) if before[row, option]]
                strongest = sorted(allowed, key=lambda option, row=row, arch=arch: -float(arch[row, option]))
                if number == 2 or strongest[0] != 0:  # `none` alone is no operation
                    assert kept[row].nonzero().flatten().tolist() == sorted(strongest[:number])
            assert kept.sum() == 5 * number
    assert max(float(a.abs().max()) for a in whole[2][4]["arch"].values()) < 0.01


def test_dropped_options_are_not_built(whole, tmp_path):
    bench = bench_of_words(whole[1], tmp_path / "unused")
    stage = stages_of(bench)[1]
    kept = whole[2][2]["decisions"]["kept"]
    module = build_module(bench.variant(stage.config), stage, kept)
    assert len(module.supernet.cells) == 4
    full = build_module(bench.variant(stage.config), stage)
    saved = [0, 0]
    for cell, of_all in zip(module.supernet.cells, full.supernet.cells, strict=True):
        for row, edge in enumerate(cell.edges):
            for option, operation in enumerate(edge.operations):
                size = sum(weight.numel() for weight in of_all.edges[row].operations[option].parameters())
                there = bool(kept[cell.choice.name][row, option])
                saved[there] += size
                assert sum(weight.numel() for weight in operation.parameters()) == (size if there else 0)
                assert there or type(operation) is Zero
    assert saved[False] > 0
    numbers = [sum(weight.numel() for weight in one.supernet.parameters()) for one in (full, module)]
    assert numbers[0] - numbers[1] == saved[False]


def test_the_genotype_holds_what_was_kept(whole):
    kept = checkpoint(whole[0])["search"]["decisions"]["kept"]
    space = nl.build_space(nl.compose(whole[1]))
    for name, edges in RunFolder(whole[0]).genotype().cells.items():
        choice = space.choices[name]
        places = list(zip(choice.nodes, choice.sources, strict=True))
        for node, op, source in edges:
            row = places.index((node, source))
            assert kept[name][row, choice.options[row].index(op)]


# Memory of controls -------------------------------------------------------------------------------------------------


def test_operations_that_have_stopped_learn_again(images_file, tmp_path):
    """All stop at the first step of the first stage; the second builds one for each edge, which none has stopped."""
    key = "control.operation_stopping"
    words = [*overrides_of(images_file), "method=darts", "+control=progressive_shrinking",
             "+control@control.operation_stopping=operation_stopping",
             f"{key}.threshold=1", f"{key}.window=1", "search.snapshots=1", "search.epochs=3",
             "search.stages=[{name: a, epochs: 1},"
             f" {{name: b, epochs: 2, fresh: true, overrides: {{search.layers: 4, {OPTIONS}: 1,"
             f" {key}.threshold: -1, {key}.window: 100}}}}]"]  # fmt: skip
    forget()
    run(words, tmp_path / "run")
    first, second = (
        checkpoint(tmp_path / "run", f"epoch={epoch}")["callbacks"]["OperationStopping"] for epoch in (1, 2)
    )
    assert len(first["stopped"]) == 3 * 5  # the separable convolution of each edge of three cells
    assert second["stopped"] == []
    assert second["sums"]
    assert column(tmp_path / "run", "operations_stopped") == [15, 0, 0]
    start, end = (Look.starts[epoch]["module"] for epoch in (1, 2))
    of_operations = [name for name in start if ".edges." in name and name.endswith("weight")]
    assert of_operations
    assert not any(torch.equal(start[name], end[name]) for name in of_operations)


def test_stability_is_over_the_epochs_of_the_stage(images_file, tmp_path):
    """The first epoch of a fresh stage has no other one that its distributions could be like."""
    key = "control.greedy_decisions"
    words = [*overrides_of(images_file), "method=darts", "+control=greedy_decisions", f"{key}.first_epoch=1",
             f"{key}.criterion=importance_certainty_stability", f"{key}.batch_growth=3", "search.snapshots=1",
             "search.epochs=4", "search.stages=[{name: a, epochs: 2}, {name: b, epochs: 2, fresh: true}]"]  # fmt: skip
    forget()
    run(words, tmp_path / "run")
    seen = [checkpoint(tmp_path / "run", f"epoch={epoch}")["callbacks"]["GreedyDecisions"] for epoch in (1, 2, 3, 4)]
    assert [{len(found) for found in one["seen"].values()} for one in seen] == [{1}, {2}, {1}, {2}]
    assert [one["num_decided"] for one in seen] == [0, 1, 1, 2]  # decisions stay
    assert {size for epoch, size, _ in Look.sizes if epoch == 2} == {11, 9}
    forget()
    cut(words, tmp_path / "cut", ("search", 3, 0))
    same_outcome(tmp_path / "run", tmp_path / "cut")


# Schedules --------------------------------------------------------------------------------------------------------


def test_schedules_start_again(whole):
    rates = [cosine(epoch, 2, 0.025) for epoch in (0, 1)]
    assert column(whole[0], "lr") == pytest.approx(3 * rates)
    assert column(whole[0], "search_epoch", int) == column(whole[0], "epoch", int) == list(range(6))
    arch = [whole[2][epoch]["arch"] for epoch in range(6)]
    assert [same(arch[epoch], arch[epoch + 1]) for epoch in (0, 2, 4)] == [True] * 3  # the warm-up of each
    assert sorted(whole[4]) == pytest.approx([0.03, 0.165])  # never that of a third epoch
    steps = [whole[2][epoch]["steps"] for epoch in range(6)]
    assert steps == sorted(set(steps))  # they key the draws, which do not come again


def test_a_stage_that_is_not_fresh_continues_the_last_fresh_one(overrides, tmp_path):
    listed = [{"name": n, "epochs": 1, "fresh": n in "bd"} for n in "abcd"]
    changes = ["search.epochs=4", "search.arch.warmup_epochs=0"]
    changes.append(f"search.stages={json.dumps(listed).replace(QUOTE, '')}")
    bench = bench_of_words([*overrides, *changes], tmp_path / "unused")
    planned = stages_of(bench)
    assert [stage.root for stage in planned] == [0, 1, 1, 3]
    assert [stage.schedule_start for stage in planned] == [0, 1, 1, 3]
    assert [stage.config.search.epochs for stage in planned] == [1, 2, 2, 1]
    assert planned[1].seed == planned[2].seed
    assert [stage.fresh for stage in planned] == [True, True, False, True]


def test_without_a_fresh_stage_the_configuration_is_that_of_the_run(overrides, tmp_path):
    bench = bench_of_words(
        [*overrides, "search.epochs=2", "search.stages=[{name: a, epochs: 1}, {name: b, epochs: 1}]"],
        tmp_path / "unused",
    )
    assert all(stage.config is bench.config for stage in stages_of(bench))
    assert all(stage.seed == bench.config.seed for stage in stages_of(bench))


# Kills, selection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [
        ("search", 3, 1),
        *(pytest.param(at, marks=pytest.mark.slow) for at in (("search", 1, 0), ("search", 2, 0), ("search", 5, 0))),
    ],
)
def test_a_kill_in_any_stage_changes_nothing(whole, tmp_path, at):
    """Within a stage, and before anything of it is kept, where it is entered again from the end of the one before."""
    forget()
    cut(whole[1], tmp_path / "cut", at)
    same_outcome(whole[0], tmp_path / "cut")


def test_selection_from_a_finished_search_builds_what_its_stage_built(whole, tmp_path):
    forget()
    words = ["task=select", "trusted=[staged_parts]", "selector=perturbation", f"run={whole[0]}", "epoch=4",
             "selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"]  # fmt: skip
    with undrawn():
        tasks.run_task(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    assert same(dict(Look.starts[4]["module"]), dict(checkpoint(whole[0], "epoch=4")["state_dict"]))
    kept = whole[2][2]["decisions"]["kept"]
    assert same(checkpoint(tmp_path / "run")["search"]["built"], kept)
    for row in table(tmp_path / "run"):
        if row["kind"] == "operation":
            assert row["option"] != "none"


# Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([f"{OPTIONS}=2"], "nothing is learned when the first stage starts"),
        (stages({}, {}, {}, epochs=1), "the architecture would never be trained"),
        (stages({}, {}, {}, fresh=False), "only regularizer.partial_channels.divisor may change"),
        (stages({}, {"search.epochs": 3}, {}), "make search.epochs their sum"),
        (["~control.progressive_shrinking", "+control=best_epoch", *stages({}, {}, {})], "cannot roll back"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(overrides, tmp_path, change, told):
    with pytest.raises(nl.ConfigError, match=told) as error:
        check_search(bench_of_words([*overrides, *change], tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_optimizers_may_differ_where_no_moments_are_taken_over(overrides, tmp_path):
    adam = {"search.weights.optimizer": "adam", "search.weights.momentum": 0.0}
    check_search(bench_of_words([*overrides, *stages({}, adam, {})], tmp_path / "run"))


def test_narrowed_spaces_compute_what_masks_compute():
    """The supernet without an option equals the whole one with that option inactive, once their weights are equal."""
    space = nl.build_space(nl.compose(["space=s3", "space.num_nodes=2"]))
    kept = {name: choice.mask.clone() for name, choice in space.choices.items()}
    for row in range(5):
        for name in kept:
            kept[name][row, row % 3] = False
    whole_net, narrow = (
        one.supernet(init_channels=2, layers=3, engine="reference").double() for one in (space, space.narrowed(kept))
    )
    narrow.load_state_dict({key: whole_net.state_dict()[key] for key in narrow.state_dict()})
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    mixing = {name: torch.rand(5, 3, dtype=torch.float64) for name in kept}
    expected = whole_net(x, mixing, kept)
    assert torch.equal(narrow(x, mixing, kept), expected)
    assert torch.equal(narrow(x, mixing), expected)
    for engine in ("fast", "auto"):
        other = space.narrowed(kept).supernet(init_channels=2, layers=3, engine=engine).double()
        other.load_state_dict(narrow.state_dict())
        torch.testing.assert_close(other(x, mixing), expected)
