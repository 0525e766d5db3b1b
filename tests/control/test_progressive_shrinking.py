"""Progressive learning in real runs: a second stage with fewer operations and more channels."""

import copy
import json

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core import draws
from nas_lightning.core.schedules import cosine, restarted
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import build_module, stages_of
from nas_lightning.searches.check import check_search
from nas_lightning.spaces.operations import FactorizedReduce
from nas_lightning.spaces.widening import plan_widening, widen
from nas_lightning.tasks import run as tasks
from nas_lightning.training.workbench import Workbench
from staged_parts import (
    Look,
    checkpoint,
    column,
    cut,
    edges_of,
    forget,
    overrides_of,
    run,
    same,
    same_outcome,
    table,
    undrawn,
)

pytestmark = pytest.mark.xdist_group("progressive")  # in one worker, which makes what they share once
OPTIONS, DIVISOR = "control.progressive_shrinking.options", "regularizer.partial_channels.divisor"
PARTS = [
    "method=darts",
    "relaxation=dirichlet",
    "+regularizer=partial_channels",
    f"{DIVISOR}=4",
    "+control=progressive_shrinking",
    "search.init_channels=8",
    "search.snapshots=1",
]


def stages(first, second, changes=f"{OPTIONS}: 2, {DIVISOR}: 2"):
    overrides = f"{{name: all, epochs: {first}}},{{name: two, epochs: {second}, overrides: {{{changes}}}}}"
    return [f"search.epochs={first + second}", f"search.stages=[{overrides}]"]


@pytest.fixture(scope="module")
def overrides(images_file):
    return [*overrides_of(images_file), *PARTS, "search.arch.warmup_epochs=1", *stages(3, 3)]


@pytest.fixture(scope="module")
def whole(overrides, tmp_path_factory):
    """A finished run of two stages of three epochs, and the state at the start of each epoch."""
    forget()
    folder = tmp_path_factory.mktemp("progressive") / "whole"
    run(overrides, folder)
    return folder, overrides, dict(Look.starts)


@pytest.fixture(scope="module")
def modules(overrides, tmp_path_factory):
    """Fresh modules of both stages."""
    folder = RunFolder(tmp_path_factory.mktemp("progressive") / "modules")
    bench = Workbench(as_dict(nl.compose(overrides)), folder)
    return [build_module(bench.variant(stage.config), stage) for stage in stages_of(bench)]


# Fewer options ----------------------------------------------------------------------------------------------------


def test_the_strongest_options_are_kept(whole):
    """Two of three, by the architecture parameters at the end of the first stage; nothing is decided."""
    end = checkpoint(whole[0], "epoch=3")["search"]["arch"]
    for name, arch in end.items():
        kept = whole[2][3]["decisions"]["kept"][name]
        for row in range(5):
            strongest = sorted(range(3), key=lambda option, row=row, arch=arch: -float(arch[row, option]))[:2]
            assert kept[row].nonzero().flatten().tolist() == sorted(strongest)
        assert not whole[2][3]["decisions"]["decided"][name].any()
        assert whole[2][2]["decisions"]["kept"][name].all()
    dropped = {(~whole[2][3]["decisions"]["kept"][name][row]).nonzero().item() for name in end for row in range(5)}
    assert len(dropped) > 1  # not the same option everywhere
    assert same(whole[2][3]["decisions"], whole[2][5]["decisions"])
    assert same(whole[2][3]["decisions"], checkpoint(whole[0])["search"]["decisions"])


def test_architecture_and_moments_go_on(whole):
    end = checkpoint(whole[0], "epoch=3")
    assert same(whole[2][3]["arch"], end["search"]["arch"])
    assert same(whole[2][3]["adam"], end["optimizer_states"][1]["state"])


def test_warm_up_of_each_stage(whole):
    arch = [whole[2][epoch]["arch"] for epoch in range(6)] + [checkpoint(whole[0])["search"]["arch"]]
    assert [same(arch[epoch], arch[epoch + 1]) for epoch in range(6)] == [True, False, False, True, False, False]
    adam = [whole[2][epoch]["adam"] for epoch in range(6)]
    assert same(adam[3], adam[4])
    assert not same(adam[4], adam[5])


def test_what_was_dropped_is_not_computed(whole, modules):
    """Its weights and buffers stay as they were widened; those of the others move. It weighs exactly nothing."""
    start, end = whole[2][3]["module"], checkpoint(whole[0])["state_dict"]
    kept = whole[2][3]["decisions"]["kept"]
    moved = {True: [], False: []}
    for index, cell in enumerate(modules[1].supernet.cells):
        for row, edge in enumerate(cell.edges):
            for option, operation in enumerate(edge.operations):
                for key in operation.state_dict():
                    name = f"supernet.cells.{index}.edges.{row}.operations.{option}.{key}"
                    taken = bool(kept[cell.choice.name][row, option])
                    moved[taken].append(not torch.equal(start[name], end[name]))
    assert len(moved[False]) > 20
    assert not any(moved[False])
    assert all(moved[True])
    lines = [json.loads(line) for line in (whole[0] / "genotypes.jsonl").read_text().splitlines()]
    for line in lines:
        for name, weights in line["mixing"].items():
            mixing = torch.tensor(weights)
            torch.testing.assert_close(mixing.sum(dim=1), torch.ones(5))
            if line["epoch"] >= 3:
                assert (mixing[~kept[name]] == 0).all()
            else:
                assert (mixing > 0).all()


def test_the_genotype_holds_what_was_kept(whole):
    kept = checkpoint(whole[0])["search"]["decisions"]["kept"]
    space = nl.build_space(nl.compose(whole[1]))
    for name, edges in edges_of(RunFolder(whole[0]).genotype()).items():
        choice = space.choices[name]
        rows = {
            (source, node): row for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        }
        for edge, op in edges.items():
            assert kept[name][rows[edge], choice.options[rows[edge]].index(op)]
    assert not (whole[0] / "decisions.csv").exists()  # no edge was decided


# More channels ----------------------------------------------------------------------------------------------------


def supernet_part(state):
    return {name[9:]: value for name, value in state.items() if name.startswith("supernet.")}


def test_weights_and_buffers_are_widened(whole, modules):
    """By the plan of the run's seed; what a convolution had is the first block of what it has."""
    plan = plan_widening(modules[0].supernet, modules[1].supernet, draws.seeded_generator(0, "widening", 1))
    before = supernet_part(checkpoint(whole[0], "epoch=3")["state_dict"])
    after = supernet_part(whole[2][3]["module"])
    assert same(dict(widen(before, plan)), dict(after))
    behind_halves = {
        f"{name}.norm.{key}"
        for name, module in modules[1].supernet.named_modules()
        if isinstance(module, FactorizedReduce) and ".operations." in f".{name}."
        for key in ("running_mean", "running_var")
    }
    assert behind_halves
    grown = 0
    for name, old in before.items():
        new = after[name]
        grown += new.shape != old.shape
        if name not in behind_halves:
            assert torch.equal(new[tuple(slice(size) for size in old.shape)], old)
        else:
            half = len(old) // 2
            assert torch.equal(new[:half], old[:half])
            assert torch.equal(new[2 * half : 3 * half], old[half:])
    assert grown > 50
    assert {before[name].shape for name in before if "stem" in name} == {after[n].shape for n in after if "stem" in n}


def test_momentum_is_widened_with_its_weights(whole, modules):
    plan = plan_widening(modules[0].supernet, modules[1].supernet, draws.seeded_generator(0, "widening", 1))
    names = [name for name, _ in modules[0].supernet.named_parameters()]
    old = checkpoint(whole[0], "epoch=3")["optimizer_states"][0]["state"]
    buffers = {names[index]: entry["momentum_buffer"] for index, entry in old.items()}
    found = {names[index]: entry["momentum_buffer"] for index, entry in whole[2][3]["sgd"].items()}
    assert [name for name, _ in modules[1].supernet.named_parameters()] == names
    assert found.keys() == set(names)
    assert same(widen(buffers, plan), found)
    shapes = {name: weight.shape for name, weight in modules[1].supernet.named_parameters()}
    assert all(buffer.shape == shapes[name] for name, buffer in found.items())
    assert any(buffer.shape != buffers[name].shape for name, buffer in found.items())
    assert all(buffer.abs().sum() > 0 for buffer in found.values())


# The learning rate ------------------------------------------------------------------------------------------------


def test_the_rate_follows_one_cosine_over_both_stages(whole):
    expected = [0.025, 0.0233923, 0.019, 0.013, 0.007, 0.0026077]  # half a cosine from 0.025 towards 0.001
    assert column(whole[0], "lr") == pytest.approx(expected, rel=1e-5)
    assert column(whole[0], "lr") == pytest.approx([cosine(epoch, 6, 0.025, 0.001) for epoch in range(6)])
    assert column(whole[0], "epoch", int) == column(whole[0], "search_epoch", int) == list(range(6))


def recursion(epochs, border, start, end):
    """What torch's scheduler does when a new optimizer at the full rate takes over its state: the released code."""

    def new(last=None):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=end)
        if last is not None:
            scheduler.load_state_dict(last)
            optimizer.param_groups[0]["lr"] = start
        return optimizer, scheduler

    optimizer, scheduler = new()
    rates = []
    for epoch in range(epochs):
        if epoch == border:
            optimizer, scheduler = new(copy.deepcopy(scheduler.state_dict()))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("end", [0.0, 0.001])
def test_the_released_restart(end):
    rates = recursion(50, 25, 0.1, end)
    curve = [cosine(epoch, 50, 0.1, end) for epoch in range(50)]
    assert rates[:25] == pytest.approx(curve[:25])
    assert [restarted(rate, curve[25], 0.1, end) for rate in curve[25:]] == pytest.approx(rates[25:])
    assert rates[25] == 0.1
    if not end:
        assert rates[26] == pytest.approx(0.0937, abs=5e-5)
        assert rates[25:] == pytest.approx([2 * rate for rate in curve[25:]])


def test_a_restart_in_a_run(images_file, tmp_path):
    """Without anything else that changes between the stages."""
    forget()
    run(
        [*overrides_of(images_file), "method=darts", "search.weights.restart=true", *stages(1, 2, "")],
        tmp_path / "run",
    )
    assert column(tmp_path / "run", "lr") == pytest.approx(recursion(3, 1, 0.025, 0.001))
    assert same(Look.starts[1]["decisions"], Look.starts[0]["decisions"])
    assert Look.starts[1]["sgd"] != {}  # the moments go on
    assert checkpoint(tmp_path / "run")["search"]["stage"] == 1


# Kills and selection ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("at", [("search", 4, 1), ("search", 3, 0)])  # within the stage; before anything of it is kept
def test_a_kill_in_the_second_stage_changes_nothing(whole, tmp_path, at):
    forget()
    cut(whole[1], tmp_path / "cut", at)
    same_outcome(whole[0], tmp_path / "cut")


def select(overrides, folder):
    with undrawn():
        tasks.run_task(
            as_dict(nl.compose(["task=select", "trusted=[staged_parts]", "selector=perturbation", *overrides])),
            RunFolder(folder),
        )


def test_selection_of_the_second_stage_chooses_among_what_is_left(whole, tmp_path):
    forget()
    select([f"run={whole[0]}", "selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"], tmp_path / "run")
    kept = checkpoint(whole[0])["search"]["decisions"]["kept"]
    space = nl.build_space(nl.compose(whole[1]))
    for row in table(tmp_path / "run"):
        if row["kind"] == "operation":
            options = space.choices[row["choice"]].options[int(row["row"])]
            measured = {part.split(" ")[0] for part in row["measured"].split(", ")}
            left = {op for op, yes in zip(options, kept[row["choice"]][int(row["row"])], strict=True) if yes}
            assert measured == left - {"none"}
    assert same(dict(Look.starts[6]["module"]), dict(checkpoint(whole[0])["state_dict"]))


def test_selection_of_the_first_stage_has_its_channels(whole, tmp_path):
    """The configuration of the stage that the supernet is of, also where it is resumed."""
    forget()
    overrides = ["task=select", "trusted=[staged_parts]", "selector=perturbation", f"run={whole[0]}", "epoch=2",
                 "selector.tune_epochs=1", "selector.epochs=2", "selector.batches=1"]  # fmt: skip
    cut(overrides, tmp_path / "run", ("selection", 3, 0))
    saved = checkpoint(whole[0], "epoch=2")
    assert same(dict(Look.starts[2]["module"]), dict(saved["state_dict"]))
    last = checkpoint(tmp_path / "run")
    assert {n: v.shape for n, v in last["state_dict"].items()} == {n: v.shape for n, v in saved["state_dict"].items()}
    operations = [row for row in table(tmp_path / "run") if row["kind"] == "operation"]
    assert len(operations) == 10
    assert all(
        {part.split(" ")[0] for part in r["measured"].split(", ")} == {"skip_connect", "sep_conv_3x3"}
        for r in operations
    )


# Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([f"{OPTIONS}=2"], f"{OPTIONS}=2: nothing is learned when the first stage starts"),
        (stages(3, 3, f"{DIVISOR}: 8"), "may only become smaller"),
        (stages(3, 3, f"{DIVISOR}: 3"), r"partial_channels.*\(in stage "),
        (stages(3, 3, "search.init_channels: 16"), "only regularizer.partial_channels.divisor may change"),
        (stages(3, 3, "control.shrinking.options: 2"), "control.shrinking.options=2, but there is no such key"),
        ([*stages(3, 3), "search.epochs=7"], "make search.epochs their sum"),
        ([*stages(3, 3, f"{OPTIONS}: 0")], OPTIONS),
        (["+control=adaptive_rollback"], "final decisions.*~control.adaptive_rollback"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(overrides, tmp_path, change, told):
    with pytest.raises(nl.ConfigError, match=told) as error:
        check_search(Workbench(as_dict(nl.compose([*overrides, *change])), RunFolder(tmp_path / "run")))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
